"""Conditions in text form: what is understood, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.ledger.core.query import Condition, Field, Operator, condition

_MOST = 2**63 - 1


@pytest.mark.parametrize(
    ("key", "operator", "values", "expected"),
    [
        ("provider", Operator.EQ, ["openai", "anthropic"], ("openai", "anthropic")),
        ("model", Operator.CONTAINS, ["gpt"], ("gpt",)),
        ("success", Operator.EQ, ["true", "0", "FALSE"], (True, False, False)),
        ("cost", Operator.GT, ["0.002"], (2_000_000,)),
        ("cost", Operator.EQ, ["0.0000000015"], ()),
        ("cost", Operator.LT, ["0.0000000015"], (2,)),
        ("cost", Operator.GT, ["0.0000000015"], (1,)),
        ("duration", Operator.LT, ["12.5"], (12_500,)),
        ("tokens_in", Operator.EQ, ["1e3"], (1000,)),
        ("status_code", Operator.NEQ, ["200"], (200,)),
        ("tokens_out", Operator.LT, ["1e999"], (_MOST,)),
        ("tokens_out", Operator.GT, ["-1e999"], (-_MOST,)),
        ("cost", Operator.GT, ["9e18"], (_MOST,)),
    ],
)
def test_what_is_understood(key: str, operator: Operator, values: list[str], expected: tuple[object]) -> None:
    """Values become those that entries hold: microseconds, billionths of a dollar, whole numbers, flags."""
    assert Condition(field=Field(key), operator=operator, values=expected) == condition(  # type: ignore[arg-type]
        key, operator, values
    )


@pytest.mark.parametrize(
    ("key", "operator", "values"),
    [
        ("nonsense", Operator.EQ, ["1"]),
        ("", Operator.EQ, ["1"]),
        ("entry", Operator.EQ, ["1"]),
        ("provider", Operator.LT, ["a"]),
        ("cost", Operator.CONTAINS, ["1"]),
        ("success", Operator.CONTAINS, ["true"]),
        ("success", Operator.GT, ["true"]),
        ("success", Operator.EQ, ["maybe"]),
        ("cost", Operator.EQ, ["much"]),
        ("cost", Operator.EQ, ["nan"]),
        ("cost", Operator.EQ, ["inf"]),
        ("cost", Operator.EQ, [""]),
        ("cost", Operator.EQ, []),
        ("provider", Operator.EQ, ["x"] * 101),
    ],
)
def test_what_is_refused(key: str, operator: Operator, values: list[str]) -> None:
    """A filter that makes no sense is an error that names it."""
    with pytest.raises(GatewayError) as caught:
        condition(key, operator, values)

    assert Reason.INVALID_REQUEST is caught.value.reason
    assert {"param": "filters", "key": key} == caught.value.metadata


@given(st.text(), st.sampled_from(Operator), st.lists(st.text(), max_size=3))
def test_any_filter_is_understood_or_refused(key: str, operator: Operator, values: list[str]) -> None:
    """Whatever a client writes, the answer is a condition or an error of ours."""
    for name in (key, *(field.value for field in Field)):
        try:
            found = condition(name, operator, values)
        except GatewayError:
            continue

        assert all(not isinstance(value, int) or abs(value) <= _MOST for value in found.values)
