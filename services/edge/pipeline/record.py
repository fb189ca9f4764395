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
    from kit.pricing.pricer import Pricer
    from services.edge.pipeline.exchange import Exchange, Progress

__all__ = ["Recorder", "Spool"]

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

    def __init__(self, spool: Spool, pricer: Pricer, log: Any) -> None:
        self._spool = spool
        self._pricer = pricer
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
        custom = self._custom_cost(exchange, progress)
        progress.cost = self._pricer.cost(
            provider=progress.provider,
            models=(progress.served_model, progress.target_model),
            usage=progress.usage,
            custom=custom,
            cached=progress.cached,
            at_us=progress.started_ns // 1000,
        )
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

    def _custom_cost(self, exchange: Exchange, progress: Progress) -> log_entry_pb2.CustomCost | None:
        prices = exchange.options.custom_cost
        if prices is None:
            return None
        try:
            made = {_CUSTOM_PRICES[name]: round(price * _NANO) for name, price in prices.items()}
            return log_entry_pb2.CustomCost(**made)
        except (ValueError, OverflowError) as error:
            # Prices are bounded where they are read; an entry is worth more than being right about that.
            self._log.error("custom cost left out", log_id=progress.log_id, exc_info=error)
            return None


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


def _add_outcome(entry: log_entry_pb2.LogEntry, exchange: Exchange, progress: Progress) -> None:
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
    if exchange.upload is not None:
        entry.request_size = exchange.upload.size
        entry.streamed = progress.content_type.startswith(_EVENT_STREAM)
    entry.attempts.extend(progress.attempts)
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
