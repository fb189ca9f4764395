"""
What is kept of a request: an intent when it is admitted, its log entry before its answer ends.

Both go to the spool with plain writes, so that neither waits for the ledger and both survive the death of
this process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from headrace.common.v1 import caller_pb2
from headrace.ledger.v1 import log_entry_pb2
from kit.telemetry.tracing import current_trace_id

if TYPE_CHECKING:
    from services.edge.pipeline.exchange import Exchange, Progress

__all__ = ["Recorder", "Spool"]

_NANO = 1_000_000_000


class Spool(Protocol):
    """The part of the spool that a request needs."""

    def begin(self, log_id: str, entry: bytes) -> None:
        """Keep the intent. Raises `GatewayError` OVERLOADED when there is no room left."""

    def finish(self, log_id: str, entry: bytes) -> None:
        """Keep the log entry."""


class Recorder:
    """Turns what happened into log entries."""

    def __init__(self, spool: Spool, log: Any) -> None:
        self._spool = spool
        self._log = log

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

    def finish(self, exchange: Exchange, progress: Progress) -> None:
        """Keep the log entry. Called before the last byte of the answer is sent."""
        entry = progress.entry
        if entry is None:
            return
        _add_outcome(entry, progress)
        if progress.usage is not None:
            entry.usage.CopyFrom(progress.usage)
        if progress.keep_bodies:
            _add_payload(entry, exchange, progress)
        try:
            _add_custom_cost(entry, exchange.options.custom_cost)
        except (ValueError, OverflowError) as error:
            # Prices are bounded where they are read; an entry is worth more than being right about that.
            self._log.error("custom cost left out", log_id=progress.log_id, exc_info=error)
        self._spool.finish(progress.log_id, entry.SerializeToString())


def _entry(exchange: Exchange, progress: Progress) -> log_entry_pb2.LogEntry:
    entry = log_entry_pb2.LogEntry(
        id=progress.log_id,
        caller=caller_pb2.Caller(
            account_id=exchange.account_id,
            gateway_id=exchange.gateway_id,
            token_id=progress.token_id,
            metadata=progress.metadata,
        ),
        provider=progress.provider,
        requested_model=exchange.requested_model,
        target_model=progress.target_model,
        path=exchange.endpoint,
        streamed=exchange.streamed,
        event_id=progress.event_id,
        trace_id=current_trace_id() or "",
        user_agent=exchange.headers.user_agent,
        request_content_type=exchange.headers.content_type,
        request_size=len(exchange.body),
    )
    entry.create_time.seconds, entry.create_time.nanos = divmod(progress.started_ns, _NANO)
    return entry


def _add_outcome(entry: log_entry_pb2.LogEntry, progress: Progress) -> None:
    elapsed_ns = int((time.perf_counter() - progress.started_s) * _NANO)
    entry.duration.seconds, entry.duration.nanos = divmod(elapsed_ns, _NANO)
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
    entry.attempts.extend(progress.attempts)
    entry.translation_notes.extend(progress.notes)


def _add_payload(entry: log_entry_pb2.LogEntry, exchange: Exchange, progress: Progress) -> None:
    limit = progress.payload_bytes
    response = progress.captured()
    entry.payload.request = exchange.body[:limit]
    entry.payload.request_complete = len(exchange.body) <= limit
    entry.payload.response = response
    entry.payload.response_complete = len(response) == progress.response_size


def _add_custom_cost(entry: log_entry_pb2.LogEntry, prices: dict[str, Any] | None) -> None:
    if prices is None:
        return
    fields = {
        "per_token_in": "input_token_nano_usd",
        "per_token_out": "output_token_nano_usd",
        "per_cache_read_token": "cache_read_token_nano_usd",
        "per_cache_write_token": "cache_write_token_nano_usd",
        "total_cost": "total_nano_usd",
    }
    made = {fields[name]: round(price * _NANO) for name, price in prices.items()}
    entry.custom_cost.CopyFrom(log_entry_pb2.CustomCost(**made))
