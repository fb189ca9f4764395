"""Gemini's generateContent, as AI Studio and Vertex AI speak it."""
