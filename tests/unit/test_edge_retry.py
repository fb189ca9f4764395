"""Which failures are tried again, and after how long."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.router.v1 import gateway_pb2, router_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.headers import Options
from services.edge.pipeline.relay import Failed
from services.edge.pipeline.retry import ONCE, RetryRule, is_hopeless, may_retry, pause_s, rule_of

CONSTANT, LINEAR, EXPONENTIAL = (
    gateway_pb2.BACKOFF_CONSTANT,
    gateway_pb2.BACKOFF_LINEAR,
    gateway_pb2.BACKOFF_EXPONENTIAL,
)
MIDDLE = 0.5  # a draw that takes nothing and adds nothing


def _retry(max_attempts: int = 0, delay_ms: int | None = None, backoff: Any = 0) -> gateway_pb2.Retry:
    delay = None
    if delay_ms is not None:
        delay = Duration()
        delay.FromMilliseconds(delay_ms)
    return gateway_pb2.Retry(max_attempts=max_attempts, delay=delay, backoff=backoff)


@pytest.mark.parametrize(
    ("step", "options", "gateway", "expected"),
    [
        (None, {}, None, ONCE),
        (None, {}, _retry(3, 100, LINEAR), RetryRule(max_attempts=3, delay_s=0.1, backoff=LINEAR)),
        (None, {"max_attempts": 2}, _retry(3, 100), RetryRule(max_attempts=2, delay_s=0.1)),
        (None, {"retry_delay_s": 0.0}, _retry(3, 100), RetryRule(max_attempts=3, delay_s=0.0)),
        (
            None,
            {"backoff": "exponential"},
            _retry(3, None, LINEAR),
            RetryRule(max_attempts=3, backoff=EXPONENTIAL),
        ),
        (_retry(4), {"max_attempts": 2, "retry_delay_s": 2.0}, _retry(3, 100, LINEAR),
         RetryRule(max_attempts=4, delay_s=2.0, backoff=LINEAR)),
        (_retry(1, 7, EXPONENTIAL), {"max_attempts": 5, "backoff": "constant"}, _retry(5, 9, LINEAR),
         RetryRule(max_attempts=1, delay_s=0.007, backoff=EXPONENTIAL)),
        (None, {"max_attempts": 3}, None, RetryRule(max_attempts=3)),
    ],
)  # fmt: skip
def test_the_nearest_word_counts_member_by_member(
    step: Any, options: dict[str, Any], gateway: Any, expected: RetryRule
) -> None:
    """A step's own word comes before the request's, and that before the gateway's."""
    found = rule_of(
        router_service_pb2.Step(retry=step), Options(**options), gateway_pb2.GatewaySettings(retry=gateway)
    )

    assert expected == found


AGAIN = {
    Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_CUT, Reason.UPSTREAM_MALFORMED,
    Reason.SERVICE_UNAVAILABLE, Reason.OVERLOADED,
}  # fmt: skip


@pytest.mark.parametrize("reason", list(Reason))
def test_reasons_that_are_tried_again(reason: Reason) -> None:
    """What the request is at fault for is refused again however often it is asked."""
    assert (reason in AGAIN) is may_retry(Failed(GatewayError(reason, "x")))


@pytest.mark.parametrize(
    ("kind", "again", "hopeless"),
    [
        (pb.FAILURE_CLASS_INVALID_REQUEST, False, False),
        (pb.FAILURE_CLASS_AUTHENTICATION, False, False),
        (pb.FAILURE_CLASS_NOT_FOUND, False, False),
        (pb.FAILURE_CLASS_CONTEXT_LENGTH, False, True),
        (pb.FAILURE_CLASS_CONTENT_POLICY, False, True),
        (pb.FAILURE_CLASS_RATE_LIMIT, True, False),
        (pb.FAILURE_CLASS_SERVER, True, False),
        (pb.FAILURE_CLASS_CUT, True, False),
        (pb.FAILURE_CLASS_TIMEOUT, True, False),
        (pb.FAILURE_CLASS_MALFORMED, True, False),
    ],
)
def test_classes_that_are_tried_again(kind: Any, again: bool, hopeless: bool) -> None:  # noqa: FBT001 - a table's columns
    """The provider's own word on what went wrong decides, where there is one."""
    failed = Failed(GatewayError(Reason.UPSTREAM_ERROR, "x"), kind)

    assert (again, hopeless) == (may_retry(failed), is_hopeless(failed))


def test_every_class_of_failure_is_in_the_table() -> None:
    """A class that is added is decided about."""
    assert 11 == len(pb.FailureClass.keys())


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [(CONSTANT, [1.0, 1.0, 1.0, 1.0]), (LINEAR, [1.0, 2.0, 3.0, 4.0]), (EXPONENTIAL, [1.0, 2.0, 4.0, 8.0])],
)
def test_pauses_grow_as_they_should(backoff: Any, expected: list[float]) -> None:
    """The three ways, after the first to the fourth try."""
    rule = RetryRule(max_attempts=5, delay_s=1.0, backoff=backoff)
    found = [pause_s(rule, tries, retry_after_s=None, longest_s=60, draw=MIDDLE) for tries in (1, 2, 3, 4)]

    assert expected == found


def test_a_provider_that_asks_for_no_pause_asks_for_nothing() -> None:
    """`Retry-After: 0`, or a date that is over, leaves the pause that was configured."""
    rule = RetryRule(max_attempts=2, delay_s=0.8)

    assert 0.8 == pause_s(rule, 1, retry_after_s=0.0, longest_s=30, draw=MIDDLE)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 100), st.integers(1, 5))
def test_a_provider_is_never_asked_earlier_than_it_said(draw: float, asked_s: float, tries: int) -> None:
    """Whatever the rule: at least as long as asked, a little more, or not at all."""
    rule = RetryRule(max_attempts=5, delay_s=0.0)
    found = pause_s(rule, tries, retry_after_s=asked_s, longest_s=30, draw=draw)

    assert (found is None) == (asked_s > 30)
    assert found is None or asked_s <= found <= asked_s * 1.1


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 60), st.integers(1, 4), st.sampled_from([1, 2, 3]))
def test_pauses_are_bounded_and_spread(draw: float, delay_s: float, tries: int, backoff: Any) -> None:
    """No pause is longer than the longest and what chance adds."""
    rule = RetryRule(max_attempts=5, delay_s=delay_s, backoff=backoff)
    found = pause_s(rule, tries, retry_after_s=None, longest_s=30, draw=draw)

    assert found is not None
    assert 0 <= found <= 33
