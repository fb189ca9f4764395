"""
The edge's disk spool: log entries wait here until the ledger has them.

Nothing that was accepted is lost when the ledger is away or this process is killed: an intent is on disk
before a request runs, its final entry before the last byte goes to the client, and both stay there until the
ledger has acknowledged the entry. Knows neither HTTP nor the request pipeline.
"""
