"""
The model in the middle: what every chat dialect can say, in one shape.

A client's dialect is read into a `Conversation` and the target's is written from one; answers come back the
other way as a `Completion` or as events. Where client and provider speak the same dialect none of it runs.
"""
