"""
What is kept of a request: an intent when it is admitted, what it has used while it runs, its log entry before
its answer ends.

All go to the spool with plain writes, so that none waits for the ledger and all survive the death of this
process.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from kit.background import going_on
from kit.telemetry.tracing import current_trace_id
from services.edge.pipeline.decision import passed
from services.edge.pipeline.exchange import Paid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from kit.pricing.pricer import Pricer
    from services.edge.pipeline.exchange import Exchange, Progress

    Settlement = Callable[[Progress, Sequence[Paid]], bytes]

__all__ = ["MOST", "Recorder", "Spool", "custom_cost", "summed"]

MOST: Final = (1 << 63) - 1
"""What a field for a count holds. A provider may tell as much, and more than one of them may."""

_NANO = 1_000_000_000
# What a request used in this time, the death of this process leaves uncounted. Each takes 40 us.
_AMEND_EVERY_S: Final = 0.5
# After so many, others have their turn.
_AMENDED_AT_ONCE: Final = 50
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

    def amend(self, log_id: str, entry: bytes) -> None:
        """Keep more of what is known in the place of the intent."""

    def finish(self, log_id: str, entry: bytes) -> None:
        """Keep the log entry."""


@dataclass(slots=True)
class _Running:
    """
    A request that was begun.

    Attributes:
        exchange: It, or the step of it that is tried now.
        progress: What became of it so far.
        kept: What `used` said when it was kept last.
    """

    exchange: Exchange
    progress: Progress
    kept: tuple[usage_pb2.Usage | None, int, int] | None = None

    @property
    def used(self) -> tuple[usage_pb2.Usage | None, int, int]:
        """What changes whenever it has used more, or something that is not known yet."""
        progress = self.progress
        return progress.usage, len(progress.spent), len(progress.attempts)


class Recorder:
    """Turns what happened into log entries."""

    def __init__(self, spool: Spool, pricer: Pricer) -> None:
        self._spool = spool
        self._pricer = pricer
        self._running: dict[str, _Running] = {}

    @asynccontextmanager
    async def amending(self, settlement: Settlement, log: Any) -> AsyncIterator[None]:
        """
        Keep what running requests have used by now, while the context is open.

        Args:
            settlement: Gives what tells limits of it, should this process die; see
                `services.edge.pipeline.reservations`.
            log: Where defects are told.
        """
        async with going_on(self._amend_often(settlement, log)):
            yield

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
            self._running[progress.log_id] = _Running(exchange, progress)

    def goes_on(self, exchange: Exchange, progress: Progress) -> None:
        """Take note that another step of a request is tried, whose prices are its own."""
        if running := self._running.get(progress.log_id):
            running.exchange = exchange

    def charge(self, exchange: Exchange, progress: Progress) -> None:
        """Take note of what the last attempt used, if that is known; the request pays for it, once."""
        if progress.usage is None:
            return
        paid = self._paid(exchange, progress, progress.usage)
        note = progress.attempts[-1]
        note.usage.CopyFrom(paid.usage)
        if paid.cost is not None:
            note.cost.CopyFrom(paid.cost)
        progress.spent.append(paid)
        # What the next attempt does not tell of itself is not known.
        progress.usage = progress.cost = None

    def finish(self, exchange: Exchange, progress: Progress) -> None:
        """Keep the log entry. Called before the last byte of the answer is sent."""
        if progress.spent:
            self.charge(exchange, progress)
            progress.usage, progress.cost = _added_up(progress.spent)
        else:
            progress.cost = self._price(exchange, progress)
        entry = progress.entry
        if entry is None:
            return
        self._running.pop(progress.log_id, None)
        _add_outcome(entry, exchange, progress)
        _add_use(entry, exchange, progress.usage, progress.cost)
        if progress.keep_bodies:
            _add_payload(entry, exchange, progress)
        self._spool.finish(progress.log_id, entry.SerializeToString())

    async def _amend_often(self, settlement: Settlement, log: Any) -> None:
        while True:
            await asyncio.sleep(_AMEND_EVERY_S)
            changed = [each for each in self._running.values() if each.used != each.kept]
            for count, running in enumerate(changed, 1):
                try:
                    self._amend(running, settlement)
                except Exception:  # whatever it is, the others are kept all the same
                    log.exception("use of a running request not kept")
                if count % _AMENDED_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _amend(self, running: _Running, settlement: Settlement) -> None:
        """Keep what a request has used by now."""
        exchange, progress = running.exchange, running.progress
        running.kept = running.used
        spent = progress.spent
        if progress.usage is not None:
            spent = [*spent, self._paid(exchange, progress, progress.usage)]
        if not spent or progress.entry is None or progress.finished:
            return
        entry = log_entry_pb2.LogEntry()
        entry.CopyFrom(progress.entry)
        _add_outcome(entry, exchange, progress)
        _add_use(entry, exchange, *_added_up(spent))
        entry.settlement = settlement(progress, spent)
        self._spool.amend(progress.log_id, entry.SerializeToString())

    def _paid(self, exchange: Exchange, progress: Progress, usage: usage_pb2.Usage) -> Paid:
        """Give what the last attempt used, and what the request pays for it."""
        if progress.spent and _is_for_all(exchange):
            cost: usage_pb2.Cost | None = usage_pb2.Cost(nano_usd=0, source=usage_pb2.COST_SOURCE_CUSTOM)
        else:
            cost = self._price(exchange, progress)
        listed = (
            None if exchange.options.custom_cost is None else self._price(exchange, progress, named=False)
        )
        return Paid(usage, cost, 0 if listed is None else listed.nano_usd)

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


def _added_up(spent: Sequence[Paid]) -> tuple[usage_pb2.Usage, usage_pb2.Cost | None]:
    """Add up what one attempt or more used; a cost that is not known makes the sum so."""
    usage = summed([paid.usage for paid in spent])
    costs = [paid.cost for paid in spent if paid.cost is not None]
    if len(costs) < len(spent):
        return usage, None
    cost = usage_pb2.Cost()
    cost.CopyFrom(costs[-1])
    cost.nano_usd = min(MOST, sum(each.nano_usd for each in costs))
    return usage, cost


def summed(usages: Sequence[usage_pb2.Usage]) -> usage_pb2.Usage:
    """Add counts up; one that is missing in some stays known as far as it was told."""
    total = usage_pb2.Usage()
    for usage in usages:
        for field, value in usage.ListFields():
            if field.name == "estimated":
                total.estimated = True
            else:
                setattr(total, field.name, min(MOST, getattr(total, field.name) + value))
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


def _add_use(
    entry: log_entry_pb2.LogEntry,
    exchange: Exchange,
    usage: usage_pb2.Usage | None,
    cost: usage_pb2.Cost | None,
) -> None:
    if usage is not None:
        entry.usage.CopyFrom(usage)
    if cost is not None:
        entry.cost.CopyFrom(cost)
    if (custom := custom_cost(exchange)) is not None:
        entry.custom_cost.CopyFrom(custom)


def _add_payload(entry: log_entry_pb2.LogEntry, exchange: Exchange, progress: Progress) -> None:
    limit = progress.payload_bytes
    response = progress.captured()
    upload = exchange.upload
    body, size = (exchange.body, len(exchange.body)) if upload is None else (upload.head, upload.size)
    entry.payload.request = body[:limit]
    entry.payload.request_complete = size <= limit
    entry.payload.response = response
    entry.payload.response_complete = len(response) == progress.response_size
