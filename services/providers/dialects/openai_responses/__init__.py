"""OpenAI responses, without a store."""
