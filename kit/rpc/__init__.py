"""gRPC as all services use it: servers, clients, the inline channel, deadlines and errors."""
