"""How a log entry's decision trace is put together from the plans of a request."""

from __future__ import annotations

import pytest

from headrace.common.v1 import decision_pb2
from services.edge.pipeline.decision import joined, passed


def _way(*steps: tuple[str, str, str]) -> decision_pb2.Decision:
    return decision_pb2.Decision(
        route="r",
        version_id="v",
        steps=[
            decision_pb2.DecisionStep(element_id=name, type=kind, output=out) for name, kind, out in steps
        ],
    )


START = ("s", "start", "next")


def test_a_further_plan_goes_on_where_the_one_before_ended() -> None:
    """What is said anew of the last element takes the place of what was said of it."""
    known = joined(None, _way(START, ("m1", "model", "")))
    found = joined(
        known, _way(("m1", "model", "fallback"), ("c", "conditional", "true"), ("m2", "model", ""))
    )

    assert (
        _way(
            START,
            ("m1", "model", "fallback"),
            ("c", "conditional", "true"),
            ("m2", "model", ""),
        )
        == found
    )


def test_a_plan_is_not_changed_by_being_followed() -> None:
    """Plans are reused for other requests."""
    plan = _way(START, ("m1", "model", ""))
    joined(joined(None, plan), _way(("m1", "model", "fallback")))

    assert _way(START, ("m1", "model", "")) == plan


AHEAD = _way(START, ("m1", "model", "fallback"), ("m2", "model", ""))
TO_ITS_END = _way(START, ("m1", "model", "fallback"), ("r", "rate", "fallback"), ("e", "end", ""))


@pytest.mark.parametrize(
    ("told", "element_id", "answered", "expected"),
    [
        (AHEAD, "m1", True, _way(START, ("m1", "model", "success"))),
        (AHEAD, "m1", False, _way(START, ("m1", "model", ""))),
        (AHEAD, "m2", True, _way(START, ("m1", "model", "fallback"), ("m2", "model", "success"))),
        (AHEAD, "m2", False, AHEAD),
        (AHEAD, "", False, AHEAD),
        (TO_ITS_END, "m1", False, TO_ITS_END),
    ],
    ids=["first", "gone at the first", "second", "all failed", "nothing tried", "ended without another"],
)
def test_a_way_is_told_as_far_as_it_was_gone(
    told: decision_pb2.Decision,
    element_id: str,
    answered: bool,  # noqa: FBT001 - a table's column
    expected: decision_pb2.Decision,
) -> None:
    """What would have come after a failure that did not happen is left out."""
    assert expected == passed(told, element_id, answered=answered)
