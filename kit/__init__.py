"""
Shared runtime of all services.

Knows no service: what one service alone needs lives with that service.
"""
