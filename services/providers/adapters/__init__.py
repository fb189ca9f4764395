"""
One module for each way of speaking to a provider.
"""
