"""
The cache: keeps answers and finds them again.

Owns the responses and their keys. Never knows a provider, never crosses accounts or gateways. Calls nobody;
is called by the edge, for which any failure here is a miss.
"""
