"""
The vault: provider keys that accounts keep with us.

Owns how keys are sealed, where else they may be (files, the environment, HashiCorp Vault), the change of
the master key, and to whom a key is given out. Never shows a key to whoever stored it.
"""
