"""Which limits a request counts against, and what callers are told of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kit.errors import GatewayError, Reason
from services.router.core.documents import Documents, checked_documents
from services.router.core.limit_report import refusal, tightest
from services.router.core.limit_ticket import (
    Counted,
    read_counted,
    read_ticket,
    route_bucket,
    write_counted,
)
from services.router.core.limits import (
    NO_LIMITS,
    Asked,
    Limits,
    applying,
    bucket_key,
    compile_limits,
    is_limited,
)
from services.router.core.settings import GatewaySettings, Technique
from services.router.core.windows import MOST_AMOUNT, Admit, Cell, Unit

ASKED = Asked(
    provider="openai",
    model="gpt-4o",
    token_id="t1",
    metadata={"user": "ann", "team": "blue"},
    tokens=100,
    nano_usd=5_000_000,
)
COST = {"id": "c", "limitType": "cost", "limit": 1, "window": 60}
REQUESTS = {"id": "r", "limitType": "requests", "limit": 10, "window": 60}
PARTITION = {"mode": "partition"}


def _filter(*values: str) -> dict[str, Any]:
    return {"mode": "filter", "values": list(values)}


def _limits(rule: dict[str, Any], aliases: dict[str, str] | None = None, *, enabled: bool = True) -> Limits:
    name = "spend_limits" if rule["limitType"] == "cost" else "rate_limits"
    text = json.dumps({"enabled": enabled, "rules": [rule]})
    return compile_limits(GatewaySettings(), checked_documents(Documents(**{name: text})), aliases)


def _keys(rule: dict[str, Any], **changes: Any) -> list[str]:
    return [bucket.key for _, bucket in applying(_limits(rule), replace(ASKED, **changes))]


@pytest.mark.parametrize(
    ("dimension", "changes", "applies"),
    [
        ({}, {}, True),
        ({"model": _filter("gpt-4o")}, {}, True),
        ({"model": _filter("x", "openai/gpt-4o")}, {}, True),
        ({"model": _filter("gpt")}, {}, False),
        ({"model": _filter("azure/gpt-4o")}, {}, False),
        ({"model": _filter("gpt-4o")}, {"model": ""}, False),
        ({"model": _filter()}, {"model": ""}, True),
        ({"model": _filter("openai/ft/a")}, {"model": "ft/a"}, True),
        ({"model": PARTITION}, {}, True),
        ({"model": PARTITION}, {"model": ""}, False),
        ({"provider": _filter("openai")}, {}, True),
        ({"provider": _filter("anthropic")}, {}, False),
        ({"provider": PARTITION}, {}, True),
        ({"token": _filter("t1", "t2")}, {}, True),
        ({"token": _filter("t2")}, {}, False),
        ({"token": _filter("t2")}, {"token_id": ""}, False),
        ({"token": PARTITION}, {"token_id": ""}, False),
        ({"metadata": {"user": PARTITION}}, {}, True),
        ({"metadata": {"user": PARTITION}}, {"metadata": {}}, False),
        ({"metadata": {"user": PARTITION}}, {"metadata": {"user": ""}}, False),
        ({"metadata": {"user": PARTITION, "team": _filter("red")}}, {}, False),
        ({"metadata": {"user": PARTITION, "team": _filter("blue")}}, {}, True),
        ({"metadata": {"team": _filter("blue")}}, {"metadata": {}}, False),
        ({"provider": _filter("openai"), "token": _filter("t2")}, {}, False),
        ({"enabled": False}, {}, False),
    ],
)
@pytest.mark.parametrize("rule", [COST, REQUESTS])
def test_a_rule_is_for_what_its_dimensions_say(
    rule: dict[str, Any], dimension: dict[str, Any], changes: dict[str, Any], *, applies: bool
) -> None:
    """All of them; a filter without values is none, and who lacks what is partitioned by is not limited."""
    assert applies == bool(_keys({**rule, **dimension}, **changes))


@pytest.mark.parametrize(
    ("dimension", "changes", "same"),
    [
        ({}, {"model": "o3", "provider": "azure", "token_id": "", "metadata": {}}, True),
        ({"provider": _filter("openai", "azure")}, {"provider": "azure"}, True),
        ({"provider": PARTITION}, {"provider": "azure"}, False),
        ({"model": PARTITION}, {"model": "o3"}, False),
        ({"model": PARTITION}, {"provider": "azure"}, False),
        ({"token": PARTITION}, {"token_id": "t2"}, False),
        ({"token": PARTITION}, {"model": "o3"}, True),
        ({"metadata": {"user": PARTITION}}, {"metadata": {"user": "bob"}}, False),
        ({"metadata": {"user": PARTITION}}, {"metadata": {"user": "ann"}}, True),
        ({"metadata": {"a": PARTITION, "b": PARTITION}, "enabled": True}, {"metadata": {}}, False),
    ],
)
def test_each_value_of_a_partition_has_a_counter_of_its_own(
    dimension: dict[str, Any], changes: dict[str, Any], *, same: bool
) -> None:
    """What is not partitioned by is counted together."""
    rule = {**COST, **dimension}
    before = _keys(rule, metadata={"user": "ann", "a": "1", "b": "2"})

    assert same == (before == _keys(rule, **changes))


def test_values_that_run_into_one_another_are_not_the_same() -> None:
    """No choice of values makes somebody else's counter, and no value is to be read from its name."""
    rule = {**COST, "metadata": {"a": PARTITION, "b": PARTITION}}
    keys = [_keys(rule, metadata={"a": a, "b": b})[0] for a, b in (("x", "yz"), ("xy", "z"), ("x1:", "y"))]

    assert 3 == len(set(keys))
    assert {32} == {len(key) for key in keys}
    assert bucket_key("a", "\ud800") != bucket_key("a", "b")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"limit": 7}, True),
        ({"technique": "fixed"}, True),
        ({"mode": "hard"}, True),
        ({"provider": {"mode": "filter", "values": ["openai"]}}, True),
        ({"window": 61}, False),
        ({"id": "other"}, False),
    ],
)
def test_a_rule_that_is_changed_goes_on_counting(change: dict[str, Any], *, same: bool) -> None:
    """Under the same id and with the same window."""
    assert same == (_keys(COST) == _keys({**COST, **change}))


def test_rules_of_both_documents_may_have_the_same_id() -> None:
    """They count apart, and so does what is counted."""
    kinds = [COST, REQUESTS, {**REQUESTS, "limitType": "tokens"}]

    assert 3 == len({_keys({**rule, "id": "x"})[0] for rule in kinds})


@pytest.mark.parametrize(
    ("rule", "unit", "admit", "limit"),
    [
        (REQUESTS, Unit.REQUESTS, Admit.FITS, 10),
        ({**REQUESTS, "limitType": "tokens"}, Unit.TOKENS, Admit.LEFT, 10),
        ({**REQUESTS, "limitType": "tokens", "mode": "hard"}, Unit.TOKENS, Admit.FITS, 10),
        (COST, Unit.NANO_USD, Admit.SPENT, 1_000_000_000),
        ({**COST, "limit": 0.1, "mode": "hard"}, Unit.NANO_USD, Admit.FITS, 100_000_000),
        ({**COST, "limit": 1e-9}, Unit.NANO_USD, Admit.SPENT, 1),
    ],
)
def test_kind_and_mode_say_when_a_request_is_let_through(
    rule: dict[str, Any], unit: Unit, admit: Admit, limit: int
) -> None:
    """And money is counted in billionths of a dollar."""
    found = _limits(rule).rules[0]

    assert (unit, admit, limit) == (found.unit, found.admit, found.limit)


def test_the_gateway_s_own_rate_is_a_limit_when_it_has_both_numbers() -> None:
    """Zero is off."""
    both = GatewaySettings(rate_limit=5, rate_limit_interval_s=10, rate_limit_technique=Technique.SLIDING)
    (rule,) = compile_limits(both, Documents()).rules

    assert ("gateway", "", 5, 10, Technique.SLIDING) == (
        rule.kind, rule.id, rule.limit, rule.window_s, rule.technique
    )  # fmt: skip
    for settings in (replace(both, rate_limit=0), replace(both, rate_limit_interval_s=0)):
        assert NO_LIMITS is compile_limits(settings, Documents())
        assert not is_limited(settings, Documents())
    assert is_limited(both, Documents())


def test_a_document_that_is_switched_off_limits_nothing() -> None:
    """Whatever its rules say."""
    assert NO_LIMITS is _limits(COST, enabled=False)


def test_other_names_of_providers_mean_the_same() -> None:
    """In filters of providers and of models."""
    aliases = {"google": "google-ai-studio"}
    gemini = replace(ASKED, provider="google-ai-studio", model="gemini")
    for dimension in ({"provider": _filter("google")}, {"model": _filter("google/gemini")}):
        assert 1 == len(applying(_limits({**COST, **dimension}, aliases), gemini))


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        (REQUESTS, False),
        ({**REQUESTS, "token": PARTITION, "metadata": {"user": PARTITION}}, False),
        ({**REQUESTS, "model": PARTITION}, True),
        ({**REQUESTS, "provider": _filter("openai")}, True),
        ({**REQUESTS, "limitType": "tokens"}, True),
        (COST, True),
    ],
)
def test_further_steps_count_where_what_is_asked_matters(rule: dict[str, Any], *, counts: bool) -> None:
    """A request that falls back is still one request; what it uses it uses."""
    assert counts == bool(_keys(rule, counted=True))


def test_a_hard_limit_refuses_what_has_no_known_price() -> None:
    """The message says what to do; a soft limit lets it through, and so does one for something else."""
    unpriced = replace(ASKED, nano_usd=None)
    hard = {**COST, "mode": "hard"}
    with pytest.raises(GatewayError) as caught:
        applying(_limits(hard), unpriced)
    elsewhere = {**hard, "provider": _filter("anthropic")}

    assert (Reason.SPEND_LIMITED, {"rule": "c"}) == (caught.value.reason, caught.value.metadata)
    assert "price of openai gpt-4o is not known" in caught.value.message
    assert 1 == len(applying(_limits(COST), unpriced))
    assert [] == applying(_limits(elsewhere), unpriced)


def test_amounts_are_bounded() -> None:
    """So that they add up exactly wherever they are counted."""
    huge = replace(ASKED, tokens=2**62, nano_usd=-5)

    assert (1, MOST_AMOUNT, 0) == tuple(huge.amount(unit) for unit in Unit)


NOW_MS = 1_800_000_030_000  # half a minute into a minute
INDEX = NOW_MS // 60_000
TOO_LARGE = (
    "Spend limit exceeded: rule 'c' (cost limit 0.004 per 60s, sliding) for openai gpt-4o; "
    "the request alone may use 0.005 US dollars"
)


def _refusal(rule: dict[str, Any], cell: Cell, **changes: Any) -> GatewayError:
    asked = replace(ASKED, **changes)
    return refusal(applying(_limits(rule), asked), [cell], NOW_MS, asked)


@pytest.mark.parametrize(
    ("rule", "cell", "message", "metadata", "retry_after_s"),
    [
        (
            {**REQUESTS, "technique": "fixed"},
            Cell(INDEX, 10),
            "Rate limited: rule 'r' (requests limit 10 per 60s, fixed)",
            {"rule": "r", "limit": "10", "remaining": "0", "reset_s": "30.000", "unit": "requests"},
            30.0,
        ),
        (
            {**REQUESTS, "limitType": "tokens", "limit": 1000},
            Cell(INDEX, 0, 500, 1500, 0),
            "Rate limited: rule 'r' (tokens limit 1000 per 60s, sliding)",
            {"rule": "r", "limit": "1000", "remaining": "0", "reset_s": "60.000", "unit": "tokens"},
            11.0,
        ),
        (
            {**COST, "limit": 0.0125, "technique": "fixed"},
            Cell(INDEX, 12_500_000),
            "Spend limit exceeded: rule 'c' (cost limit 0.0125 per 60s, fixed) for openai gpt-4o",
            {"rule": "c", "limit": "12500000", "remaining": "0", "reset_s": "30.000", "unit": "nano_usd"},
            30.0,
        ),
        (
            {**COST, "limit": 0.004, "mode": "hard"},
            Cell(INDEX),
            TOO_LARGE,
            {"rule": "c", "limit": "4000000", "remaining": "4000000", "reset_s": "60.000",
             "unit": "nano_usd"},
            None,
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_which_limit_and_until_when(
    rule: dict[str, Any], cell: Cell, message: str, metadata: dict[str, str], retry_after_s: float | None
) -> None:
    """In the public product's words where it has some."""
    error = _refusal(rule, cell)

    assert (message, metadata, retry_after_s) == (error.message, error.metadata, error.retry_after_s)
    assert (Reason.SPEND_LIMITED if rule["id"] == "c" else Reason.RATE_LIMITED) == error.reason


def test_the_gateway_s_own_limit_is_told_in_two_words() -> None:
    """As the public product does."""
    settings = GatewaySettings(rate_limit=1, rate_limit_interval_s=60)
    rules = applying(compile_limits(settings, Documents()), ASKED)
    error = refusal(rules, [Cell(INDEX, 1)], NOW_MS, ASKED)

    assert (Reason.RATE_LIMITED, "Rate limited", "") == (error.reason, error.message, error.metadata["rule"])


def test_of_several_limits_the_one_is_told_that_refuses_for_the_longest() -> None:
    """Who comes back when it says so is not refused by another."""
    rules = [{**REQUESTS, "id": name, "window": window, "technique": "fixed"} for name, window in
             (("minute", 60), ("hour", 3600), ("day", 86_400))]  # fmt: skip
    document = json.dumps({"enabled": True, "rules": rules})
    limits = compile_limits(GatewaySettings(), checked_documents(Documents(rate_limits=document)))
    cells = [Cell(NOW_MS // 60_000, 10), Cell(NOW_MS // 3_600_000, 10), Cell(NOW_MS // 86_400_000, 9)]
    applied = applying(limits, ASKED)

    assert "hour" == refusal(applied, cells, NOW_MS, ASKED).metadata["rule"]
    assert [("day", 1)] == [
        (rule.id, state.remaining) for rule, state in tightest(applied[2:], cells[2:], NOW_MS)
    ]
    assert ["minute"] == [rule.id for rule, _ in tightest(applied, cells, NOW_MS)]


def test_a_ticket_names_counters_of_a_route_each_once() -> None:
    """They are the same that a plan looked at, and only count."""
    entry = {"key": "r/e/ann", "unit": "cost", "limit": 5, "window": 60, "technique": "fixed"}
    ticket = json.dumps([entry, entry, {**entry, "unit": "tokens"}]).encode()
    buckets = read_ticket(ticket)

    assert [route_bucket("r/e/ann", unit, 5, 60, "fixed") for unit in ("cost", "tokens")] == buckets
    assert {Admit.ALWAYS} == {bucket.admit for bucket in buckets}
    assert [] == read_ticket(b"")


@pytest.mark.parametrize(
    ("ticket", "param"),
    [
        (b"{", "ticket"),
        (b"\xff\xff", "ticket"),
        (b"{}", "ticket"),
        (b'[{"key": "a"}]', "ticket.0.unit"),
        (b'[{"key": 1, "unit": "cost", "limit": 1, "window": 1, "technique": "fixed"}]', "ticket.0.key"),
        (b'[{"key": "a", "unit": "x", "limit": 1, "window": 1, "technique": "fixed"}]', "ticket.0.unit"),
        (b'[{"key": "a", "unit": "cost", "limit": 1, "window": 0, "technique": "fixed"}]', "ticket.0.window"),
        (b'[{"key": "a", "unit": "cost", "limit": -1, "window": 1, "technique": "fixed"}]', "ticket.0.limit"),
    ],
)
def test_a_ticket_that_is_none_of_ours_is_refused(ticket: bytes, param: str) -> None:
    """By the path to what is wrong."""
    with pytest.raises(GatewayError) as caught:
        read_ticket(ticket)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


def test_what_a_plan_counted_comes_back_as_its_counters() -> None:
    """With the window of each; the counter is the one that the limit in the route has."""
    found = read_counted(write_counted([Counted("k", 60, 7), Counted("l", 3600, 0)]))
    own = [
        route_bucket(key, "requests", 5, window_s, "sliding") for key, window_s in (("k", 60), ("l", 3600))
    ]

    assert [(bucket.key, bucket.window_ms) for bucket in own] == [
        (bucket.key, bucket.window_ms) for bucket, _ in found
    ]
    assert [7, 0] == [window for _, window in found]


@pytest.mark.parametrize(
    ("counted", "param"),
    [
        (b"{", "counted"),
        (b'[{"key": "a"}]', "counted.0.window"),
        (b'[{"key": 1, "window": 1, "index": 1}]', "counted.0.key"),
        (b'[{"key": "a", "window": 0, "index": 1}]', "counted.0.window"),
        (b'[{"key": "a", "window": 1, "index": -1}]', "counted.0.index"),
    ],
)
def test_what_no_plan_counted_is_refused(counted: bytes, param: str) -> None:
    """By the path to what is wrong."""
    with pytest.raises(GatewayError) as caught:
        read_counted(counted)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])
