"""
Says who a caller is and what they may do.

Owns accounts and tokens; stored provider keys will live here too. Never sees a prompt, never keeps the
secret of a token, and never tells apart why a token was refused.
"""
