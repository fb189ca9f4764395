"""What the ledger counts of entries that it took."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from services.ledger.metrics import LedgerMetrics
from services.ledger.store import Row

ROW: dict[str, Any] = {
    "id": "1",
    "account_id": "a",
    "gateway_id": "g",
    "created_us": 0,
    "duration_us": 0,
    "provider": "openai",
    "model": "m",
    "status": 200,
    "success": True,
    "cached": False,
    "event_id": "",
    "tokens_in": 10,
    "tokens_out": 5,
    "tokens": 15,
    "cost_nano_usd": 2_000_000_000,
    "feedback": None,
    "request_content_type": "",
    "response_content_type": "",
    "user_agent": "",
    "authentication": True,
    "metadata_keys": "",
    "metadata_values": "",
    "searched": "",
    "entry": b"",
    "payload": None,
}


def counted(*rows: Row) -> dict[tuple[str, ...], float]:
    """Return what is counted of some entries, by metric and labels."""
    registry = CollectorRegistry()
    LedgerMetrics(registry).used(rows)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.labels and sample.name.endswith("_total")
    }


def test_cost_and_tokens_are_added_up_by_provider() -> None:
    """Dollars, and both kinds of tokens, of all entries of a provider."""
    expected = {
        ("headrace_ledger_cost_usd_total", "openai"): 4.0,
        ("headrace_ledger_tokens_total", "openai", "input"): 20.0,
        ("headrace_ledger_tokens_total", "openai", "output"): 10.0,
    }

    assert expected == counted(Row(**ROW), Row(**ROW))


def test_what_is_not_known_is_not_counted() -> None:
    """An entry without cost and tokens makes no series of zeros."""
    assert {} == counted(Row(**{**ROW, "cost_nano_usd": None, "tokens_in": None, "tokens_out": None}))


def test_providers_of_accounts_share_a_name() -> None:
    """A name that an account chose is no name of a series."""
    names = {key[1] for key in counted(Row(**{**ROW, "provider": "custom-mine"}), Row(**ROW))}

    assert {"custom", "openai"} == names
