"""Cohere's chat API, version 2, as a target."""
