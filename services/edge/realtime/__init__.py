"""Realtime APIs of providers: a client's WebSocket that leads to one of a provider's."""
