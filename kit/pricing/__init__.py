"""
What requests cost: one table of prices, one way to add them up, for whoever has to name an amount.
"""
