"""
What is kept of a request: an intent when it is admitted, its log entry before its answer ends.

Both go to the spool with plain writes, so that neither waits for the ledger and both survive the death of
this process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from kit.telemetry.tracing import current_trace_id
from services.edge.pipeline.decision import passed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.pricing.pricer import Pricer
    from services.edge.pipeline.exchange import Exchange, Progress

__all__ = ["Recorder", "Spool", "custom_cost", "summed"]

_NANO = 1_000_000_000
_EVENT_STREAM = "text/event-stream"
_CUSTOM_PRICES = {
    "per_token_in": "input_token_nano_usd",
    "per_token_out": "output_token_nano_usd",
    "per_cache_read_token": "cache_read_token_nano_usd",
    "per_cache_write_token": "cache_write_token_nano_usd",
    "total_cost": "total_nano_usd",
}


class Spool(Protocol):
    """The part of the spool that a request needs."""

    def begin(self, log_id: str, entry: bytes) -> None:
        """Keep the intent. Raises `GatewayError` OVERLOADED when there is no room left."""

    def finish(self, log_id: str, entry: bytes) -> None:
        """Keep the log entry."""


class Recorder:
    """Turns what happened into log entries."""

    def __init__(self, spool: Spool, pricer: Pricer) -> None:
        self._spool = spool
        self._pricer = pricer

    def begin(self, exchange: Exchange, progress: Progress) -> None:
        """
        Keep the intent, from which an entry is made should this process die.

        Raises:
            GatewayError: OVERLOADED; there is no room to record the request, so it must not run.
        """
        if progress.logged:
            entry = _entry(exchange, progress)
            self._spool.begin(progress.log_id, entry.SerializeToString())
            progress.entry = entry

    def charge(self, exchange: Exchange, progress: Progress) -> None:
        """Take note of what the last attempt used, if that is known; the request pays for it, once."""
        usage = progress.usage
        if usage is None:
            return
        cost = self._price(exchange, progress)
        if exchange.options.custom_cost is not None:
            listed = self._price(exchange, progress, named=False)
            progress.listed.append(0 if listed is None else listed.nano_usd)
        if progress.spent and _is_for_all(exchange):
            cost = usage_pb2.Cost(nano_usd=0, source=usage_pb2.COST_SOURCE_CUSTOM)
        note = progress.attempts[-1]
        note.usage.CopyFrom(usage)
        if cost is not None:
            note.cost.CopyFrom(cost)
        progress.spent.append((usage, cost))
        # What the next attempt does not tell of itself is not known.
        progress.usage = progress.cost = None

    def finish(self, exchange: Exchange, progress: Progress) -> None:
        """Keep the log entry. Called before the last byte of the answer is sent."""
        custom = custom_cost(exchange)
        if progress.spent:
            self.charge(exchange, progress)
            _add_up(progress)
        else:
            progress.cost = self._price(exchange, progress)
        entry = progress.entry
        if entry is None:
            return
        _add_outcome(entry, exchange, progress)
        if progress.usage is not None:
            entry.usage.CopyFrom(progress.usage)
        if progress.cost is not None:
            entry.cost.CopyFrom(progress.cost)
        if custom is not None:
            entry.custom_cost.CopyFrom(custom)
        if progress.keep_bodies:
            _add_payload(entry, exchange, progress)
        self._spool.finish(progress.log_id, entry.SerializeToString())

    def _price(self, exchange: Exchange, progress: Progress, *, named: bool = True) -> usage_pb2.Cost | None:
        return self._pricer.cost(
            provider=progress.provider,
            models=(progress.served_model, progress.target_model),
            usage=progress.usage,
            custom=custom_cost(exchange) if named else None,
            cached=progress.cached,
            at_us=progress.started_ns // 1000,
        )


def _is_for_all(exchange: Exchange) -> bool:
    """Say whether the request names one price for all of its attempts together."""
    prices = exchange.options.custom_cost
    return prices is not None and "total_cost" in prices


def _add_up(progress: Progress) -> None:
    """Add up what attempts used; a cost that is not known makes the sum so."""
    progress.usage = summed([usage for usage, _ in progress.spent])
    costs = [cost for _, cost in progress.spent if cost is not None]
    if len(costs) < len(progress.spent):
        progress.cost = None
        return
    progress.cost = usage_pb2.Cost()
    progress.cost.CopyFrom(costs[-1])
    progress.cost.nano_usd = sum(cost.nano_usd for cost in costs)


def summed(usages: Sequence[usage_pb2.Usage]) -> usage_pb2.Usage:
    """Add counts up; one that is missing in some stays known as far as it was told."""
    total = usage_pb2.Usage()
    for usage in usages:
        for field, value in usage.ListFields():
            if field.name == "estimated":
                total.estimated = True
            else:
                setattr(total, field.name, getattr(total, field.name) + value)
    return total


def custom_cost(exchange: Exchange) -> log_entry_pb2.CustomCost | None:
    """Give the prices that a request names; they are bounded where they are read."""
    prices = exchange.options.custom_cost
    if prices is None:
        return None
    made = {_CUSTOM_PRICES[name]: round(price * _NANO) for name, price in prices.items()}
    return log_entry_pb2.CustomCost(**made)


def _entry(exchange: Exchange, progress: Progress) -> log_entry_pb2.LogEntry:
    entry = log_entry_pb2.LogEntry()
    # Filled in place: building from keywords takes twice the time.
    entry.id = progress.log_id
    caller = entry.caller
    caller.account_id = exchange.account_id
    caller.gateway_id = exchange.gateway_id
    caller.token_id = progress.token_id
    if progress.metadata:
        caller.metadata.update(progress.metadata)
    entry.provider = progress.provider
    entry.requested_model = exchange.requested_model
    entry.target_model = progress.target_model
    entry.path = exchange.endpoint
    entry.streamed = exchange.streamed
    entry.event_id = progress.event_id
    entry.trace_id = current_trace_id() or ""
    entry.user_agent = exchange.headers.user_agent
    entry.request_content_type = exchange.headers.content_type
    entry.request_size = len(exchange.body)
    created = entry.create_time
    created.seconds, created.nanos = divmod(progress.started_ns, _NANO)
    return entry


def _add_outcome(entry: log_entry_pb2.LogEntry, exchange: Exchange, progress: Progress) -> None:
    elapsed_ns = int((time.perf_counter() - progress.started_s) * _NANO)
    duration = entry.duration
    duration.seconds, duration.nanos = divmod(elapsed_ns, _NANO)
    entry.provider = progress.provider
    entry.target_model = progress.target_model
    entry.response_model = progress.served_model
    entry.status = progress.status
    entry.outcome = progress.outcome
    entry.error_reason = progress.error_reason
    entry.cached = progress.cached
    entry.step = progress.step
    entry.finish_reason = progress.finish_reason
    entry.response_content_type = progress.content_type
    entry.response_size = progress.response_size
    if exchange.upload is not None:
        entry.request_size = exchange.upload.size
        entry.streamed = progress.content_type.startswith(_EVENT_STREAM)
    entry.attempts.extend(progress.attempts)
    if progress.decision is not None:
        answered = progress.outcome == log_entry_pb2.OUTCOME_SUCCESS
        entry.decision.CopyFrom(passed(progress.decision, progress.element_id, answered=answered))
    entry.translation_notes.extend(progress.notes)


def _add_payload(entry: log_entry_pb2.LogEntry, exchange: Exchange, progress: Progress) -> None:
    limit = progress.payload_bytes
    response = progress.captured()
    upload = exchange.upload
    body, size = (exchange.body, len(exchange.body)) if upload is None else (upload.head, upload.size)
    entry.payload.request = body[:limit]
    entry.payload.request_complete = size <= limit
    entry.payload.response = response
    entry.payload.response_complete = len(response) == progress.response_size
