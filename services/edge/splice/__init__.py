"""
Mid-stream failover, as pure state machines on bytes.

`observe` (dialects.py) follows what the client gets, `Joiner` (joiner.py) makes a fallback's stream go on
from there, and `continuation_request` (continuation.py) asks a fallback to do so.
"""
