"""
The edge: HTTP and typed gRPC in, services of ours out.

Owns the client's connection and the request pipeline. Never holds a provider key at rest and never decides
a route.
"""
