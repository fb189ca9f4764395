"""Prices from the table, against the package's own calculation, and which rule gives a cost."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import genai_prices
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from kit.moment import microseconds
from kit.pricing.cost import Tokens, table_cost
from kit.pricing.pricer import Pricer
from kit.pricing.table import PriceTable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOW_US = microseconds(NOW)
TABLE = PriceTable()
PRICER = Pricer(TABLE, log=structlog.get_logger())

# One of each shape that the table has: flat, with cache prices, with steps, by date, by time of day.
MODELS = [
    ("openai", "openai", "gpt-4o"),
    ("openai", "openai", "gpt-4o-2024-08-06"),
    ("openai", "openai", "gpt-5.4"),
    ("openai", "openai", "text-embedding-3-small"),
    ("openai", "openai", "gpt-4o-audio-preview"),
    ("anthropic", "anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "anthropic", "claude-3-5-haiku-latest"),
    ("google-ai-studio", "google", "gemini-2.5-pro"),
    ("google-vertex-ai", "google", "gemini-2.5-flash"),
    ("deepseek", "deepseek", "deepseek-chat"),
    ("grok", "x-ai", "grok-4"),
    ("groq", "groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral", "mistral-large-latest"),
    ("perplexity-ai", "perplexity", "sonar"),
    ("cohere", "cohere", "command-r"),
]


@st.composite
def _usages(draw: st.DrawFn) -> Tokens:
    total_input = draw(st.integers(0, 600_000))
    read = draw(st.integers(0, total_input))
    written = draw(st.integers(0, total_input - read))
    output = draw(st.integers(0, 100_000))
    return Tokens(input=total_input, output=output, cache_read=read, cache_write=written)


@given(st.sampled_from(MODELS), _usages())
def test_costs_are_those_of_the_package(model: tuple[str, str, str], tokens: Tokens) -> None:
    """For any usage our whole number of billionths is the package's own result, rounded."""
    ours, theirs, name = model
    prices = TABLE.find(ours, (name,), NOW_US)
    usage = genai_prices.Usage(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
    )
    expected = genai_prices.calc_price(usage, name, provider_id=theirs, genai_request_timestamp=NOW)
    nano_usd = (expected.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_UP)

    assert prices is not None
    assert int(nano_usd) == table_cost(prices, tokens)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", ""),
        ("no-such-provider", "gpt-4o"),
        ("custom-anthropic", "claude-sonnet-4-5"),
        ("", "gpt-4o"),
        ("openai", "whisper-1"),
    ],
)
def test_what_the_table_does_not_know_has_no_price(provider: str, model: str) -> None:
    """No price is guessed for an unknown provider or model, nor for what is not priced by tokens."""
    assert TABLE.find(provider, (model,), NOW_US) is None


def test_the_surest_name_wins() -> None:
    """The name that the provider gave comes before the one asked for, which helps when that is unknown."""
    known = TABLE.find("openai", ("gpt-4o-mini",), NOW_US)

    assert known is not None
    assert known == TABLE.find("openai", ("gpt-4o-mini", "gpt-4o"), NOW_US)
    assert known == TABLE.find("openai", ("my-deployment", "gpt-4o-mini"), NOW_US)
    assert known != TABLE.find("openai", ("gpt-4o", "gpt-4o-mini"), NOW_US)


def test_names_with_a_publisher_are_found() -> None:
    """Vertex names models with their publisher in front."""
    with_publisher = TABLE.find("google-vertex-ai", ("google/gemini-2.5-flash",), NOW_US)

    assert with_publisher is not None
    assert TABLE.find("google-vertex-ai", ("gemini-2.5-flash",), NOW_US) == with_publisher


def test_prices_are_those_of_the_day() -> None:
    """A request of long ago costs what it cost then."""
    changed = [
        (provider.id, model.id)
        for provider in TABLE._providers.values()
        for model in provider.models
        if isinstance(model.prices, list) and len(model.prices) > 1 and provider.id == "openai"
    ]
    assert changed
    provider, model = changed[0]
    long_ago = TABLE.find(provider, (model,), microseconds(datetime(2020, 1, 1, tzinfo=UTC)))

    assert long_ago != TABLE.find(provider, (model,), NOW_US)


def test_reading_from_the_cache_never_costs_more() -> None:
    """That holds for every price in the table."""
    for provider in TABLE._providers.values():
        for model in provider.models:
            prices = TABLE.find(provider.id, (model.id,), NOW_US)
            if prices is not None:
                for rates in (prices.base, *(rates for _, rates in prices.steps)):
                    assert rates.cache_read is None or rates.cache_read <= rates.input, model.id


def test_names_from_clients_are_not_remembered_without_bound() -> None:
    """Any number of different names takes a bounded amount of memory."""
    table = PriceTable()
    for number in range(6000):
        table.find("openai", (f"gpt-4o-{number}",), NOW_US)

    assert 4096 >= table._model.cache_info().currsize
    assert 100 > len(table._lists)


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices come from the package as installed: no connection, no thread, no updated table."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    threads = threading.active_count()
    table = PriceTable()

    assert table.find("openai", ("gpt-4o",), NOW_US) is not None
    assert threads == threading.active_count()
    assert genai_prices.data_snapshot._custom_snapshot is None
    assert f"genai-prices {genai_prices.__version__}" == table.version


def _entry(**fields: object) -> log_entry_pb2.LogEntry:
    entry = log_entry_pb2.LogEntry(
        provider="openai",
        target_model="gpt-4o",
        usage=usage_pb2.Usage(input_tokens=1000, output_tokens=100),
    )
    entry.MergeFrom(log_entry_pb2.LogEntry(**fields))  # type: ignore[arg-type]  # by name
    return entry


def _cost(entry: log_entry_pb2.LogEntry) -> usage_pb2.Cost | None:
    return PRICER.cost(
        provider=entry.provider,
        models=(entry.response_model, entry.target_model),
        usage=entry.usage if entry.HasField("usage") else None,
        custom=entry.custom_cost if entry.HasField("custom_cost") else None,
        cached=entry.cached,
        at_us=NOW_US,
    )


_CUSTOM = log_entry_pb2.CustomCost(input_token_nano_usd=7, output_token_nano_usd=0)


@pytest.mark.parametrize(
    ("entry", "nano_usd", "source"),
    [
        (_entry(), 1000 * 2500 + 100 * 10_000, usage_pb2.COST_SOURCE_PRICE_TABLE),
        (_entry(cached=True), 0, usage_pb2.COST_SOURCE_CACHE_HIT),
        (_entry(cached=True, custom_cost=_CUSTOM), 0, usage_pb2.COST_SOURCE_CACHE_HIT),
        (_entry(custom_cost=_CUSTOM), 7000, usage_pb2.COST_SOURCE_CUSTOM),
        (_entry(provider="local"), 0, usage_pb2.COST_SOURCE_LOCAL),
        (_entry(provider="local", custom_cost=_CUSTOM), 7000, usage_pb2.COST_SOURCE_CUSTOM),
    ],
    ids=["table", "cached", "cached and custom", "custom", "local", "local and custom"],
)
def test_which_rule_gives_the_cost(
    entry: log_entry_pb2.LogEntry, nano_usd: int, source: usage_pb2.CostSource.ValueType
) -> None:
    """Our cache before the caller's prices before the operator's machine before the table."""
    cost = _cost(entry)

    assert cost is not None
    assert (nano_usd, source) == (cost.nano_usd, cost.source)
    assert (source == usage_pb2.COST_SOURCE_PRICE_TABLE) == bool(cost.price_table_version)


def test_an_unknown_cost_is_absent() -> None:
    """Without usage, without a known model, or with half a usage there is no cost, rather than zero."""
    no_usage = _entry()
    no_usage.ClearField("usage")
    half = _entry()
    half.usage.ClearField("output_tokens")
    unknown = _entry(target_model="mine")

    assert [None] * 3 == [_cost(entry) for entry in (no_usage, half, unknown)]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        # 1,000 tokens in at $0.30, 300 of text at $2.50 and 1,290 of a picture at $30 a million.
        (1_290, 300_000 + 750_000 + 38_700_000),
        (0, 300_000 + 1_590 * 2_500),
        (None, None),
    ],
)
def test_pictures_are_priced_apart(images: int | None, expected: int | None) -> None:
    """Pictures cost ten times what text does: where nobody says what an answer holds, no cost is known."""
    prices = TABLE.find("google-ai-studio", ("gemini-2.5-flash-image",), NOW_US)
    assert prices is not None

    assert expected == table_cost(prices, Tokens(input=1_000, output=1_590, output_image=images))


def test_pictures_that_come_in() -> None:
    """What a picture counts as input has a price of its own, too: $10 where text is $5."""
    prices = TABLE.find("openai", ("gpt-image-1",), NOW_US)
    assert prices is not None

    expected = 50 * 5_000 + 200 * 10_000 + 1_000 * 40_000
    assert expected == table_cost(prices, Tokens(input=250, output=1_000, input_image=200))
