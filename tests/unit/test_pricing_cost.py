"""The arithmetic of costs: exact, never negative, unknown rather than wrong."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.pricing.cost import (
    Custom,
    PriceList,
    Rates,
    Tokens,
    custom_cost,
    table_cost,
    without_surcharge_for_reading,
)

_counts = st.none() | st.integers(-5, 10**7)
_tokens = st.builds(
    Tokens,
    input=_counts,
    output=_counts,
    cache_read=_counts,
    cache_write=_counts,
    cache_write_1h=_counts,
    reasoning=_counts,
    input_audio=_counts,
    output_audio=_counts,
)
_price = st.decimals(0, 100_000, places=3)
_rates = st.builds(
    Rates,
    input=_price,
    output=_price,
    cache_read=st.none() | _price,
    cache_write=st.none() | _price,
    cache_write_1h=st.none() | _price,
    reasoning=st.none() | _price,
    input_audio=st.none() | _price,
    output_audio=st.none() | _price,
    request=_price,
)
RATES = Rates(
    input=Decimal(3000),
    output=Decimal(15000),
    cache_read=Decimal(300),
    cache_write=Decimal(3750),
    cache_write_1h=Decimal(6000),
)


def _cost(rates: Rates, **tokens: int | None) -> int | None:
    return table_cost(PriceList(base=rates), Tokens(**tokens))


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ({"input": 1000, "output": 100}, 1000 * 3000 + 100 * 15000),
        ({"input": 1000, "output": 0, "cache_read": 400}, 600 * 3000 + 400 * 300),
        ({"input": 1000, "output": 0, "cache_write": 400}, 600 * 3000 + 400 * 3750),
        ({"input": 9, "output": 0, "cache_write": 4, "cache_write_1h": 1}, 5 * 3000 + 3 * 3750 + 6000),
        ({"input": 10, "output": 5, "cache_read": 400}, 10 * 300 + 5 * 15000),
        ({"input": 10, "output": 5, "reasoning": 5}, 10 * 3000 + 5 * 15000),
        ({"input": 0, "output": 0}, 0),
        ({"input": -4, "output": -1}, 0),
    ],
)  # fmt: skip
def test_tokens_cost_what_the_list_says(tokens: dict[str, int], expected: int) -> None:
    """Each kind of token has its own price; parts are not paid for twice, nor more than there are."""
    assert expected == _cost(RATES, **tokens)


@pytest.mark.parametrize(
    ("rates", "tokens", "expected"),
    [
        (RATES, {}, None),
        (RATES, {"input": 5}, None),
        (RATES, {"output": 5}, None),
        (Rates(input=Decimal(20)), {"input": 5}, 100),
        (Rates(output=Decimal(20)), {"output": 5}, 100),
        (Rates(), {"input": 5, "output": 5}, 0),
        (Rates(request=Decimal(5_000_000)), {"input": 5, "output": 5}, 5_000_000),
        (Rates(cache_read=Decimal(1)), {"output": 5}, None),
    ],
)
def test_a_missing_count_matters_when_it_has_a_price(
    rates: Rates, tokens: dict[str, int], expected: int | None
) -> None:
    """Without a count that has a price the cost is not known; a count without a price may be missing."""
    assert expected == _cost(rates, **tokens)


@pytest.mark.parametrize(
    ("price", "expected"), [("0.4", 0), ("0.5", 1), ("1.5", 2), ("2.5", 3), ("2.4999", 2)]
)
def test_halves_are_rounded_up(price: str, expected: int) -> None:
    """Once, at the end."""
    assert expected == _cost(Rates(input=Decimal(price)), input=1, output=0)


@pytest.mark.parametrize(("tokens", "expected"), [(100, 100), (101, 202), (1000, 2000), (1001, 5005)])
def test_long_inputs_have_other_prices(tokens: int, expected: int) -> None:
    """The whole input costs the price of the highest step that it is above."""
    steps = ((100, Rates(input=Decimal(2))), (1000, Rates(input=Decimal(5))))
    prices = PriceList(base=Rates(input=Decimal(1)), steps=steps)

    assert expected == table_cost(prices, Tokens(input=tokens, output=0))


@given(_rates, _tokens)
def test_a_cost_is_never_negative(rates: Rates, tokens: Tokens) -> None:
    """Whatever is reported, a cost is not below zero and fits into the message."""
    cost = table_cost(PriceList(base=rates), tokens)

    assert cost is None or 0 <= cost < 2**63


@given(_rates, _tokens)
def test_cached_tokens_never_cost_more_than_others(rates: Rates, tokens: Tokens) -> None:
    """Reading from the provider's cache never makes a request dearer, with the list as the table gives it."""
    prices = PriceList(base=without_surcharge_for_reading(rates))
    # Compared with plain input: a cached token that would else be audio may cost more or less.
    tokens = replace(tokens, input_audio=0, cache_write=0)
    with_cache = table_cost(prices, tokens)
    without = table_cost(prices, replace(tokens, cache_read=0))

    assert (with_cache is None) == (without is None)
    assert with_cache is None or without is None or with_cache <= without


@given(_rates, _tokens, st.integers(0, 1000))
def test_more_tokens_never_cost_less(rates: Rates, tokens: Tokens, more: int) -> None:
    """A longer answer is never cheaper."""
    shorter = replace(tokens, input=5, output=max(0, tokens.output or 0))
    longer = replace(shorter, output=(shorter.output or 0) + more)
    costs = [table_cost(PriceList(base=rates), each) for each in (shorter, longer)]

    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0] <= costs[1]


@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        (Custom(input_token=10, output_token=100), 1000 * 10 + 50 * 100),
        (Custom(input_token=10, output_token=100, cache_read_token=1), 800 * 10 + 200 * 1 + 50 * 100),
        (Custom(input_token=10, output_token=100, cache_write_token=20), 900 * 10 + 100 * 20 + 50 * 100),
        (Custom(input_token=10, output_token=100, total=7), 7),
        (Custom(total=0), 0),
        (Custom(output_token=100), 50 * 100),
        (Custom(input_token=-10), 0),
        (Custom(total=-10), 0),
        (Custom(total=2**63 - 1), 2**63 - 1),
        (Custom(input_token=2**62), 2**63 - 1),
    ],
)
def test_the_callers_own_prices(custom: Custom, expected: int) -> None:
    """A total wins; a cache price left out is the input's; nothing is negative or too large."""
    tokens = Tokens(input=1000, output=50, cache_read=200, cache_write=100)

    assert expected == custom_cost(custom, tokens)


_MOST = 2**63 - 1


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (Decimal(_MOST), _MOST),
        (Decimal("1e40"), _MOST),
        (Decimal("-1e40"), 0),
        (Decimal("1e-40"), 0),
        (Decimal("NaN"), None),
    ],
)
def test_absurd_numbers_have_a_cost_or_none(price: Decimal, expected: int | None) -> None:
    """What is too large for the message is cut off there, and what is no number is not known."""
    assert expected == _cost(Rates(input=price), input=_MOST, output=_MOST)


def test_the_callers_own_absurd_prices() -> None:
    """The largest price of the largest count is cut off at what the message can hold."""
    custom = Custom(input_token=_MOST, output_token=_MOST)

    assert _MOST == custom_cost(custom, Tokens(input=_MOST, output=_MOST))


def test_the_callers_own_prices_without_usage() -> None:
    """Only a total can be known when the counts are not."""
    assert custom_cost(Custom(input_token=1, output_token=1), None) is None
    assert custom_cost(Custom(input_token=1, output_token=1), Tokens(input=5)) is None
    assert 5 == custom_cost(Custom(total=5), None)
