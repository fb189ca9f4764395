"""
Traces and metrics: set-up, spans, and the one module of names.
"""
