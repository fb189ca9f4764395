"""
The ledger: keeps what happened and what it cost.

Owns log entries, their bodies, usage and cost. Never sits on a request's path. Calls nobody; the edge records
and reads, the command line reads.
"""
