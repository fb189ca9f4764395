"""The universal endpoint as messages on a WebSocket: several requests at a time on one connection."""
