"""
Whether a step is tried again, after how long, and whether another step is tried instead. Pure.

Only what another try may mend is tried again: no connection, silence, a broken answer, 408, 409, 429 and 5xx;
never what the request or its credential is at fault for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace.provider.v1 import provider_service_pb2
from headrace.router.v1 import gateway_pb2
from kit.errors import Reason

if TYPE_CHECKING:
    from headrace.router.v1 import router_service_pb2
    from services.edge.headers import Options
    from services.edge.pipeline.relay import Failed

__all__ = ["ONCE", "RetryRule", "is_hopeless", "is_refusal", "may_retry", "pause_s", "rule_of"]

_BACKOFFS: Final = {
    "constant": gateway_pb2.BACKOFF_CONSTANT,
    "linear": gateway_pb2.BACKOFF_LINEAR,
    "exponential": gateway_pb2.BACKOFF_EXPONENTIAL,
}
# Where several tries were asked for and no pause: at once would only be refused once more.
_USUAL_PAUSE_S: Final = 0.5
# Of a pause, what chance adds or takes: clients that failed together do not come back together.
_JITTER: Final = 0.2

_AGAIN: Final = frozenset(
    {
        Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_CUT, Reason.UPSTREAM_MALFORMED,
        Reason.SERVICE_UNAVAILABLE, Reason.OVERLOADED,
    }
)  # fmt: skip
_CLASSES_AGAIN: Final = frozenset(
    {
        provider_service_pb2.FAILURE_CLASS_RATE_LIMIT,
        provider_service_pb2.FAILURE_CLASS_SERVER,
        provider_service_pb2.FAILURE_CLASS_CUT,
        provider_service_pb2.FAILURE_CLASS_TIMEOUT,
        provider_service_pb2.FAILURE_CLASS_MALFORMED,
    }
)
_HOPELESS: Final = frozenset(
    {
        provider_service_pb2.FAILURE_CLASS_CONTEXT_LENGTH,
        provider_service_pb2.FAILURE_CLASS_CONTENT_POLICY,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """
    How a step is tried again.

    Attributes:
        max_attempts: Tries in all.
        delay_s: Pause before the second try. None: not said.
        backoff: How the pause grows.
    """

    max_attempts: int = 1
    delay_s: float | None = None
    backoff: gateway_pb2.Backoff.ValueType = gateway_pb2.BACKOFF_CONSTANT


ONCE: Final = RetryRule()
"""What holds where nobody said anything."""


def rule_of(
    step: router_service_pb2.Step, options: Options, settings: gateway_pb2.GatewaySettings
) -> RetryRule:
    """Work out a step's rule: its own word, else the request's, else the gateway's, each member by itself."""
    if not step.HasField("retry") and not settings.HasField("retry") and _says_nothing(options):
        return ONCE
    own, usual = step.retry, settings.retry
    delay_s = None
    if own.HasField("delay"):
        delay_s = own.delay.ToMilliseconds() / 1000
    elif options.retry_delay_s is not None:
        delay_s = options.retry_delay_s
    elif usual.HasField("delay"):
        delay_s = usual.delay.ToMilliseconds() / 1000
    asked = _BACKOFFS[options.backoff] if options.backoff else gateway_pb2.BACKOFF_UNSPECIFIED
    return RetryRule(
        max_attempts=own.max_attempts or options.max_attempts or usual.max_attempts or 1,
        delay_s=delay_s,
        backoff=own.backoff or asked or usual.backoff or gateway_pb2.BACKOFF_CONSTANT,
    )


def _says_nothing(options: Options) -> bool:
    return options.max_attempts is None and options.retry_delay_s is None and not options.backoff


def may_retry(failed: Failed) -> bool:
    """Say whether the same step may do better if it is tried again."""
    if failed.kind:
        return failed.kind in _CLASSES_AGAIN
    return failed.error.reason in _AGAIN


def is_refusal(failed: Failed) -> bool:
    """Say whether a provider refused the request as it was, and may take it in another form."""
    return failed.kind == provider_service_pb2.FAILURE_CLASS_INVALID_REQUEST


def is_hopeless(failed: Failed) -> bool:
    """Say whether the same model would refuse this request again, whoever asks."""
    return failed.kind in _HOPELESS


def pause_s(
    rule: RetryRule, tries: int, *, retry_after_s: float | None, longest_s: float, draw: float
) -> float | None:
    """
    Work out how long to wait before the next try.

    Args:
        rule: How the step is tried again.
        tries: How often it was tried.
        retry_after_s: How long the provider asks to wait. None or zero: it asks for nothing.
        longest_s: Longest that is waited because a provider asks for it.
        draw: Chance, from 0 up to 1.

    Returns:
        Seconds. None: the provider asks for more than is waited, so a try in time would be refused.
    """
    if retry_after_s:
        # Never earlier than asked, and spread out a little after it.
        return None if retry_after_s > longest_s else retry_after_s * (1 + _JITTER * draw / 2)
    delay_s = _USUAL_PAUSE_S if rule.delay_s is None else rule.delay_s
    if rule.backoff == gateway_pb2.BACKOFF_LINEAR:
        delay_s *= tries
    elif rule.backoff == gateway_pb2.BACKOFF_EXPONENTIAL:
        delay_s *= 2 ** (tries - 1)
    return min(delay_s, longest_s) * (1 - _JITTER / 2 + _JITTER * draw)
