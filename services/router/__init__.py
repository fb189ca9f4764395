"""
Decides what to try for a request, and in which order.

Owns gateways and their settings; routes and limits will live here too. Does no provider I/O and never
refuses a caller: it says what the gateway demands, and the edge acts on it.
"""
