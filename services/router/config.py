"""Settings of router."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from kit.config import setting
from kit.valkey_config import check_valkey_url

if TYPE_CHECKING:
    from kit.secret import Secret

__all__ = [
    "CUSTOM_PROVIDER_CALLERS",
    "GATEWAY_CALLERS",
    "ROUTER_CALLERS",
    "ROUTE_CALLERS",
    "CountersDown",
    "HealthConfig",
    "RouterConfig",
]

ROUTER_CALLERS: Final = frozenset({"edge"})
"""Who may ask for a plan, watch, and tell how attempts ended."""

GATEWAY_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may read and change gateways."""

CUSTOM_PROVIDER_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may read and change the providers that accounts named themselves."""

ROUTE_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may read and change dynamic routes."""

CountersDown = Literal["refuse-hard", "refuse", "allow"]
"""What is refused without Valkey: what has a hard limit of money, what has any limit, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """How long answers of router hold, and where it counts."""

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
    route_health_reuse_for_s: float = setting(
        1.0,
        "How long a caller may reuse a dynamic route's plan that depends on how providers do, in seconds. "
        "The default is how often replicas of router tell one another; `0` has it asked for each request.",
        at_least=0,
        at_most=60,
    )
    valkey_url: Secret | None = setting(
        None,
        "Valkey that several routers share for limits and the health of providers: "
        "`valkey://user:password@host:port/database`, `valkey-cluster://host,host…`, "
        "`valkey-sentinel://host,host…/name`, each with `valkeys` for TLS, or `unix:///path?db=0`. "
        "Default: the memory of the one router that there is.",
        secret=True,
    )
    counters_down: Literal["refuse-hard", "refuse", "allow"] = setting(
        "refuse-hard",
        "What happens to requests with limits while that Valkey is away: those with a hard limit of money "
        "are refused and each router counts the others by itself (`refuse-hard`), all are refused "
        "(`refuse`), or each router counts all of them by itself (`allow`).",
    )
    counters_wait_s: float = setting(
        10.0,
        "For how long after that Valkey went away requests wait for it to be back, in seconds, before they "
        "are refused; `0` has them refused at once. "
        "The default is enough for a restart and for a fail-over.",
        at_least=0,
        at_most=60,
    )
    lease: int = setting(
        0,
        "Most requests of one limit that a router counts in Valkey in advance, so that a busy gateway does "
        "not cost a round trip for each request. A limit is never exceeded, but may let a few less through "
        "while another router holds some. 0, the default: none, which is exact.",
        at_least=0,
        at_most=10_000,
    )

    def __post_init__(self) -> None:
        """Refuse an address that is none."""
        check_valkey_url(self.valkey_url, "HEADRACE_ROUTER_VALKEY_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """When a provider that fails is passed over by routes that have something else to try."""

    PREFIX: ClassVar[str] = "HEADRACE_ROUTER_HEALTH_"

    window_s: float = setting(
        60.0,
        "How far back attempts are looked at, in seconds. "
        "The default is long enough for a model that is asked a few times a minute.",
        at_least=1,
        at_most=3600,
    )
    least_attempts: int = setting(
        10, "How many attempts there must be in that time before their success rate counts.", at_least=1
    )
    least_success_rate: float = setting(
        0.5,
        "Success rate below which a model at a provider is passed over, from 0 to 1. "
        "Below the default, trying something else first is quicker.",
        at_least=0,
        at_most=1,
    )
    failures_in_a_row: int = setting(
        5, "How many failures in a row lead to the same, however few attempts there were.", at_least=1
    )
    pause_s: float = setting(
        5.0,
        "How long it is passed over at first, in seconds; twice as long each time that it still fails then. "
        "The default outlasts a restart of a load balancer.",
        at_least=0.1,
        at_most=3600,
    )
    longest_pause_s: float = setting(
        120.0, "The longest that it is passed over at a time, in seconds.", at_least=0.1, at_most=3600
    )
    probes: int = setting(
        3,
        "How many requests try after a pause whether it is well again, within 30 s, and how many of them "
        "must be answered.",
        at_least=1,
        at_most=1000,
    )
    slow_start_s: float = setting(
        30.0,
        "How long its share of a percentage grows back from a tenth, in seconds, once it is well again.",
        at_least=0,
        at_most=3600,
    )
