"""
The provider service: one adapter for each provider's API.
"""
