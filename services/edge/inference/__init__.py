"""The typed front door over gRPC."""
