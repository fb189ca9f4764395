"""
Every header name that the edge reads or writes, and what a request's headers ask of the gateway.

Sources: the public product's header reference for `cf-aig-*`; RFC 9110 section 7.6.1 for hop-by-hop fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from kit import tokens
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Options", "RequestHeaders", "read"]

# Request.
AUTHORIZATION = "cf-aig-authorization"
BACKOFF = "cf-aig-backoff"
BYOK_ALIAS = "cf-aig-byok-alias"
CACHE_KEY = "cf-aig-cache-key"
CACHE_TTL = "cf-aig-cache-ttl"
COLLECT_LOG = "cf-aig-collect-log"
COLLECT_PAYLOAD = "cf-aig-collect-log-payload"
CUSTOM_COST = "cf-aig-custom-cost"
EVENT_ID = "cf-aig-event-id"
MAX_ATTEMPTS = "cf-aig-max-attempts"
METADATA = "cf-aig-metadata"
NO_WHOLESALE = "cf-aig-no-wholesale"
REQUEST_TIMEOUT = "cf-aig-request-timeout"
RETRY_DELAY = "cf-aig-retry-delay"
SKIP_CACHE = "cf-aig-skip-cache"
STRICT = "cf-aig-strict"
# Not ours alone: providers get it as well.
IDEMPOTENCY_KEY = "idempotency-key"

# Answer.
BUDGET_LIMIT = "cf-aig-budget-limit"
BUDGET_REMAINING = "cf-aig-budget-remaining"
BUDGET_RESET = "cf-aig-budget-reset"
CACHE_STATUS = "cf-aig-cache-status"
COST = "cf-aig-cost"
LOG_ID = "cf-aig-log-id"
MODEL = "cf-aig-model"
PROVIDER = "cf-aig-provider"
REQUEST_ID = "cf-aig-request-id"
STEP = "cf-aig-step"
TRANSLATION = "cf-aig-translation"
USAGE = "cf-aig-usage"
# For Envoy, which keeps it: from now on, until this edge says that it is well, requests go to others. Those
# that say this do not count as away, so that they are not tried again when they are many.
GOES_ELSEWHERE = "x-envoy-immediate-health-check-fail"

_CACHE_TTL_LEAST_S = 60
_CACHE_TTL_MOST_S = 2_592_000
_CUSTOM_KEY_TTL_S = 300
_METADATA_ENTRIES = 5
_CACHE_KEY_CHARACTERS = 1024
_EVENT_ID_CHARACTERS = 128
_ALIAS_CHARACTERS = 64
_MOST_ATTEMPTS = 5
_LONGEST_RETRY_DELAY_MS = 60_000
_BACKOFFS = ("constant", "linear", "exponential")

# Fields that concern one connection, or that we or Envoy set anew.
_NOT_FORWARDED = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
        b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host", b"content-length", b"expect", b"cookie",
        b"forwarded", b"via", b"x-request-id", b"x-real-ip", b"traceparent", b"tracestate", b"baggage",
    }
)  # fmt: skip
_PREFIXES_NOT_FORWARDED = (b"cf-", b"x-forwarded-", b"x-envoy-", b"headrace-")

# Set by Envoy, whatever a client sent.
CLIENT_ADDRESS = "headrace-client-address"
# Names of headers come from clients, so what is remembered of them must be bounded.
_REMEMBERED = 512
_LONGEST_REMEMBERED = 64

_TOKEN_PREFIX = tokens.PREFIX.encode()


@dataclass(slots=True, kw_only=True)
class Options:
    """What `cf-aig-*` headers ask for; None where they say nothing."""

    backoff: str = ""
    byok_alias: str = ""
    cache_key: str | None = None
    cache_ttl_s: int | None = None
    skip_cache: bool = False
    collect_log: bool | None = None
    collect_payload: bool | None = None
    custom_cost: dict[str, Any] | None = None
    event_id: str = ""
    max_attempts: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    no_wholesale: bool = False
    request_timeout_s: float | None = None
    retry_delay_s: float | None = None
    strict: bool | None = None

    def effective_cache_ttl_s(self, gateway_ttl_s: int) -> int:
        """Give how long an answer may be kept, in seconds; 0 for not at all."""
        if self.cache_ttl_s is not None:
            return self.cache_ttl_s
        if gateway_ttl_s:
            return gateway_ttl_s
        return _CUSTOM_KEY_TTL_S if self.cache_key is not None else 0


@dataclass(slots=True, kw_only=True)
class RequestHeaders:
    """
    A request's headers, sorted by what they are for.

    Attributes:
        forwarded: What may go upstream, names in lower case.
        options: What the gateway is asked to do.
        gateway_token: Token in `cf-aig-authorization`, without `Bearer`.
        own_token: A token of ours, or what begins like one, where a provider's credential stands. It is
            never forwarded.
        trace: `traceparent` and `tracestate`.
        user_agent: The client's user agent.
        client_address: Where the request comes from, empty when that is not known. What `read` finds is what
            the header says, and the server that read it decides whether to believe it.
        content_type: Content type of the body.
        whole_key: `Idempotency-Key` of the universal request of which these are one step's, where that has
            none of its own. It is never forwarded.
    """

    forwarded: list[tuple[str, bytes]] = field(default_factory=list, repr=False)
    options: Options = field(default_factory=Options)
    gateway_token: str = field(default="", repr=False)
    own_token: str = field(default="", repr=False)
    trace: dict[str, str] = field(default_factory=dict)
    user_agent: str = ""
    client_address: str = ""
    content_type: str = ""
    whole_key: bytes | None = field(default=None, repr=False)


def read(raw: Iterable[tuple[bytes, bytes]], beside: Options | None = None) -> RequestHeaders:
    """
    Sort a request's headers.

    Args:
        raw: The headers.
        beside: What is asked for besides; a header's own word wins.

    Raises:
        GatewayError: INVALID_REQUEST; a header of ours has a value that makes no sense.
    """
    found = RequestHeaders()
    if beside is not None:
        found.options = replace(beside)
    for raw_name, value in raw:
        name, forwarded = (_known if len(raw_name) <= _LONGEST_REMEMBERED else _sorted)(raw_name)
        if not forwarded:
            if name.startswith(("cf-", "trace")):
                _read_own(found, name, value.decode("utf-8", "replace").strip())
            elif name == CLIENT_ADDRESS:
                found.client_address = value.decode("latin-1")
            continue
        if _TOKEN_PREFIX in value and _is_ours(found, name, value.decode("utf-8", "replace")):
            continue
        if name == "user-agent":
            found.user_agent = value.decode("utf-8", "replace")[:256]
        elif name == "content-type":
            found.content_type = value.decode("utf-8", "replace")[:256]
        found.forwarded.append((name, value))
    return found


def _sorted(raw_name: bytes) -> tuple[str, bool]:
    """Give a name in lower case, and whether it may go upstream."""
    name = raw_name.lower()
    kept_back = name in _NOT_FORWARDED or name.startswith(_PREFIXES_NOT_FORWARDED)
    return name.decode("latin-1"), not kept_back


_known = lru_cache(maxsize=_REMEMBERED)(_sorted)


def _is_ours(found: RequestHeaders, name: str, value: str) -> bool:
    """Tell whether a value holds a token of ours, and keep the one that the caller presents."""
    if name not in tokens.CREDENTIAL_HEADERS:
        return bool(tokens.find(value))
    token = tokens.presented(value)
    # A whole token is not lost to a malformed one, wherever each stands.
    if token and not tokens.find(found.own_token):
        found.own_token = tokens.find(token) or found.own_token or token
    return bool(token)


def _read_own(found: RequestHeaders, name: str, value: str) -> None:
    if name in ("traceparent", "tracestate"):
        found.trace[name] = value
    elif name == AUTHORIZATION:
        found.gateway_token = value[7:].strip() if value[:7].lower() == "bearer " else value
    elif reader := _READERS.get(name):
        try:
            reader(found.options, value)
        except ValueError as error:
            raise GatewayError(Reason.INVALID_REQUEST, f"{name}: {error}", param=name) from None


def _read_cache_ttl(options: Options, value: str) -> None:
    seconds = _whole_number(value)
    options.cache_ttl_s = min(max(seconds, _CACHE_TTL_LEAST_S), _CACHE_TTL_MOST_S) if seconds else 0


def _read_cache_key(options: Options, value: str) -> None:
    if not 1 <= len(value) <= _CACHE_KEY_CHARACTERS:
        raise ValueError(f"must have 1 to {_CACHE_KEY_CHARACTERS} characters")
    options.cache_key = value


def _read_skip_cache(options: Options, value: str) -> None:
    options.skip_cache = _boolean(value)


def _read_collect_log(options: Options, value: str) -> None:
    options.collect_log = _boolean(value)


def _read_collect_payload(options: Options, value: str) -> None:
    options.collect_payload = _boolean(value)


def _read_strict(options: Options, value: str) -> None:
    options.strict = _boolean(value)


def _read_event_id(options: Options, value: str) -> None:
    options.event_id = value[:_EVENT_ID_CHARACTERS]


def _read_byok_alias(options: Options, value: str) -> None:
    if len(value) > _ALIAS_CHARACTERS or not value.isprintable():
        raise ValueError(f"must have at most {_ALIAS_CHARACTERS} characters")
    options.byok_alias = value


def _read_no_wholesale(options: Options, value: str) -> None:
    options.no_wholesale = _boolean(value)


def _read_request_timeout(options: Options, value: str) -> None:
    milliseconds = _whole_number(value)
    if milliseconds == 0:
        raise ValueError("must be more than 0 milliseconds")
    options.request_timeout_s = milliseconds / 1000


def _read_max_attempts(options: Options, value: str) -> None:
    attempts = _whole_number(value)
    if not 1 <= attempts <= _MOST_ATTEMPTS:
        raise ValueError(f"must be 1 to {_MOST_ATTEMPTS}")
    options.max_attempts = attempts


def _read_retry_delay(options: Options, value: str) -> None:
    milliseconds = _whole_number(value)
    if milliseconds > _LONGEST_RETRY_DELAY_MS:
        raise ValueError(f"must be at most {_LONGEST_RETRY_DELAY_MS} milliseconds")
    options.retry_delay_s = milliseconds / 1000


def _read_backoff(options: Options, value: str) -> None:
    if value not in _BACKOFFS:
        raise ValueError(f"must be one of {', '.join(_BACKOFFS)}")
    options.backoff = value


def _read_metadata(options: Options, value: str) -> None:
    """Read a flat object; what does not fit is refused rather than lost in silence."""
    entries = _json_object(value)
    kept: dict[str, str] = {}
    for key, entry in entries.items():
        if key.startswith("cf."):
            continue
        if isinstance(entry, dict | list) or entry is None:
            raise ValueError(f"the value of {key!r} must be text, a number or a boolean")
        kept[key] = entry if isinstance(entry, str) else orjson.dumps(entry).decode()
    if len(kept) > _METADATA_ENTRIES:
        raise ValueError(f"must have at most {_METADATA_ENTRIES} entries")
    options.metadata = kept


# The most that each may be, in US dollars: far above any price, and far below what the log's fields hold.
_MOST_COST_USD = {
    "per_token_in": 1,
    "per_token_out": 1,
    "per_cache_read_token": 1,
    "per_cache_write_token": 1,
    "total_cost": 1_000_000,
}


def _read_custom_cost(options: Options, value: str) -> None:
    prices = _json_object(value)
    if not prices:
        raise ValueError(f"must have one of {', '.join(_MOST_COST_USD)}")
    for name, price in prices.items():
        most = _MOST_COST_USD.get(name)
        if most is None:
            raise ValueError(f"{name!r} is not one of {', '.join(_MOST_COST_USD)}")
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price <= most:
            raise ValueError(f"{name} must be a number of US dollars, at least 0 and at most {most}")
    options.custom_cost = prices


_READERS: dict[str, Callable[[Options, str], None]] = {
    BACKOFF: _read_backoff,
    BYOK_ALIAS: _read_byok_alias,
    CACHE_KEY: _read_cache_key,
    CACHE_TTL: _read_cache_ttl,
    "cf-cache-ttl": _read_cache_ttl,
    "cf-skip-cache": _read_skip_cache,
    COLLECT_LOG: _read_collect_log,
    COLLECT_PAYLOAD: _read_collect_payload,
    CUSTOM_COST: _read_custom_cost,
    EVENT_ID: _read_event_id,
    MAX_ATTEMPTS: _read_max_attempts,
    METADATA: _read_metadata,
    NO_WHOLESALE: _read_no_wholesale,
    REQUEST_TIMEOUT: _read_request_timeout,
    RETRY_DELAY: _read_retry_delay,
    SKIP_CACHE: _read_skip_cache,
    STRICT: _read_strict,
}


def _whole_number(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 12:
        raise ValueError("must be a whole number")
    return int(value)


def _boolean(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return value.lower() == "true"


def _json_object(value: str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise ValueError("must be a JSON object") from None
    if not isinstance(parsed, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - a wrong value, not a wrong type of ours
    return parsed
