"""Realtime APIs of providers: a WebSocket to one of them, whose frames are relayed as they are."""
