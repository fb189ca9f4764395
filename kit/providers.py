"""
The provider slugs: the one vocabulary that router, edge and providers share.

What a provider is and how it is spoken to is `services/providers/registry.py`'s, which a test compares with
this list.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LOCAL", "SLUGS"]

# The model on this machine. Served by a process of its own, and the only provider that needs no key.
LOCAL: Final = "local"

SLUGS: Final = ("anthropic", LOCAL, "openai")
