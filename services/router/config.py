"""Settings of router."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from kit.config import setting

__all__ = ["CUSTOM_PROVIDER_CALLERS", "GATEWAY_CALLERS", "ROUTER_CALLERS", "ROUTE_CALLERS", "RouterConfig"]

ROUTER_CALLERS: Final = frozenset({"edge"})
"""Who may ask for a plan, and watch."""

GATEWAY_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may read and change gateways."""

CUSTOM_PROVIDER_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may read and change the providers that accounts named themselves."""

ROUTE_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may read and change dynamic routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """How long answers of router hold."""

    PREFIX: ClassVar[str] = "HEADRACE_ROUTER_"

    reuse_for_s: float = setting(
        60.0,
        "How long a caller may reuse a plan, in seconds. "
        "A change of the gateway voids it at once, so this only bounds how often router is asked.",
        at_least=0,
        at_most=86_400,
    )
    grace_s: float = setting(
        300.0,
        "How much longer a plan goes on, in seconds, while router cannot be reached. "
        "The default is enough for a restart or a move to another machine.",
        at_least=0,
        at_most=86_400,
    )
