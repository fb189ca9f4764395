"""
The names of providers: the one vocabulary that router, edge and providers share.

What a provider is and how it is spoken to is `services/providers/registry.py`'s, from which the names are
generated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kit.provider_names import ALIASES, SLUGS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALIASES", "CUSTOM_PREFIX", "LOCAL", "SLUGS", "canonical", "is_custom", "operator_custom"]

# The model on this machine. Served by a process of its own.
LOCAL: Final = "local"

# Before the slugs of providers that an account or the operator named itself.
CUSTOM_PREFIX: Final = "custom-"

# Settings that name an address: HEADRACE_PROVIDER_CUSTOM_<SLUG>_BASE_URL adds a provider.
_PREFIX: Final = "HEADRACE_PROVIDER_"
_CUSTOM: Final = f"{_PREFIX}CUSTOM_"
_BASE_URL: Final = "_BASE_URL"


def canonical(slug: str) -> str:
    """Return the slug that a name of a provider stands for: itself, unless it is another name for one."""
    return ALIASES.get(slug, slug)


def is_custom(slug: str) -> bool:
    """Tell whether a slug names a provider that is not in the registry."""
    return len(slug) > len(CUSTOM_PREFIX) and slug.startswith(CUSTOM_PREFIX)


def operator_custom(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the slugs of the providers that the operator added by naming an address for them."""
    return tuple(
        name.removeprefix(_PREFIX).removesuffix(_BASE_URL).lower().replace("_", "-")
        for name in sorted(env)
        if name.startswith(_CUSTOM)
        and name.endswith(_BASE_URL)
        and len(name) > len(_CUSTOM) + len(_BASE_URL)
        and env[name].strip()
    )
