"""Router's messages to its core types and back. Requests are validated here and trusted behind."""
