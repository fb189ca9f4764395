"""
Requests that the cache may answer, that may share an upstream call, or whose call outlives their client.

A request looks into the cache first. After a miss, the first of several identical ones makes the call, and
the others follow it: across edges by the cache's claim on the key, within an edge by the flight itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from headrace.ledger.v1 import log_entry_pb2
from headrace.router.v1 import gateway_pb2
from kit.errors import GatewayError, Reason
from services.edge.pipeline.attempts import tell_broken
from services.edge.pipeline.billing import beside
from services.edge.pipeline.flight import Flight
from services.edge.pipeline.relay import Broken, Failed
from services.edge.pipeline.replay import replay
from services.edge.pipeline.retry import may_retry
from services.edge.pipeline.shared_call import (
    Running,
    break_off,
    is_of_another,
    note_gone,
    note_shared,
    note_step,
    step_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from headrace.cache.v1 import cache_service_pb2
    from services.edge.pipeline.attempts import Attempts, Call
    from services.edge.pipeline.caching import Caching, Wish
    from services.edge.pipeline.exchange import HeaderList

__all__ = ["Reshape", "Sharing"]

# How often a request that is not like the one whose call it followed is answered by another's failure.
_MOST_ROUNDS: Final = 4


class Reshape(Protocol):
    """Gives a kept answer in its other form; None where it has none."""

    async def __call__(
        self, entry: cache_service_pb2.Entry, *, stream: bool, request: bytes
    ) -> cache_service_pb2.Entry | None:
        """Give it."""


class Sharing:
    """
    Serves requests by the cache or by flights.

    Args:
        attempts: Makes the calls.
        caching: The cache.
        keep_bytes: Longest answer that is kept while it comes.
        reshape: Gives a kept answer in its other form.
        refreshed: Gives a call like another one, with a log entry of its own, for an answer that is fetched
            while its client has an older one.
        log: Where defects are told.
    """

    def __init__(
        self,
        *,
        attempts: Attempts,
        caching: Caching,
        keep_bytes: int,
        reshape: Reshape,
        refreshed: Callable[[Call], Call],
        log: Any,
    ) -> None:
        self._attempts = attempts
        self._caching = caching
        self._keep_bytes = keep_bytes
        self._reshape = reshape
        self._refreshed = refreshed
        self._log = log
        # By key and form: whoever wants the other form waits for the answer, and gets it in that.
        self._by_key: dict[tuple[bytes, bool], Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def tasks(self) -> AbstractSet[asyncio.Task[None]]:
        """The calls under way."""
        return self._tasks

    async def serve(self, call: Call, wish: Wish | None) -> Failed | None:
        """
        Answer a request.

        Args:
            call: The request.
            wish: What the cache may do for it. None: nothing; the call is to outlive its client.

        Returns:
            Why there is no answer; nothing was sent then.

        Raises:
            GatewayError: CONFLICT; its `Idempotency-Key` stands for another request.
        """
        failed: Failed | None = None
        for _ in range(_MOST_ROUNDS):
            found = None if wish is None else await self._caching.lookup(call.exchange, call.admission, wish)
            old = None
            if wish is not None and found is not None and found.HasField("entry"):
                old = await self._kept(found, call)
                if old is not None and (not found.stale or wish.may_give(old)):
                    if found.stale and found.claimed:
                        self._refresh(call, wish, found)
                    await _replay(call, old, stale=found.stale)
                    return None
            running, is_ours = self._board(call, wish, found)
            failed = await self._follow(running, call, is_ours=is_ours)
            if failed is None:
                return None
            if old is not None and may_retry(failed):
                await _replay(call, old, stale=True)
                return None
            if is_ours or not is_of_another(failed, running.call, call):
                break
        return failed

    async def _kept(
        self, found: cache_service_pb2.LookupResponse, call: Call
    ) -> cache_service_pb2.Entry | None:
        try:
            return await self._fitting(found.entry, call)
        except asyncio.CancelledError:
            if found.claimed:
                self._caching.release(found.key)
            raise

    def _board(
        self, call: Call, wish: Wish | None, found: cache_service_pb2.LookupResponse | None
    ) -> tuple[Running, bool]:
        """Join the flight for the same answer, or begin one; tells which."""
        key = b"" if found is None else found.key
        shares = wish is not None and wish.shares and bool(key)
        running = self._by_key.get((key, call.exchange.streamed)) if shares else None
        is_ours = running is None or not running.flight.is_open or running.flight.over
        if running is None or is_ours:
            running = self._begin(call, wish, key, shares=shares)
        running.stay()
        if found is not None and found.claimed:
            self._take_claim(running, found)
        elif not shares:
            running.claim.set()
        return running, is_ours

    def _take_claim(self, running: Running, found: cache_service_pb2.LookupResponse) -> None:
        """Have the call fetch what the cache told us to, and the claim last while it runs."""
        self._let_go(running)
        running.take_claim()
        running.held_claim = self._caching.renewals.hold(found, running.flight)

    def _let_go(self, running: Running) -> None:
        if running.held_claim is not None:
            self._caching.renewals.let_go(running.held_claim)
            if running.held_claim.is_lost:  # to give it back would end whoever's claim there is now
                running.holds = False
            running.held_claim = None

    def _refresh(self, call: Call, wish: Wish, found: cache_service_pb2.LookupResponse) -> None:
        """Fetch an answer that nobody waits for."""
        key = found.key
        running = self._by_key.get((key, call.exchange.streamed))
        if running is None:
            try:
                refreshed = self._refreshed(call)
            except GatewayError as error:
                self._log.debug("answer not fetched anew", reason=error.reason)
                self._caching.release(key)
                return
            # What its route counted is for the call that is made now.
            call.progress.returnable = b""
            running = self._begin(refreshed, wish, key, shares=True)
        self._take_claim(running, found)

    def _begin(self, call: Call, wish: Wish | None, key: bytes, *, shares: bool) -> Running:
        # Without a key it is kept for nobody.
        keep_bytes = self._keep_bytes if key else 0
        flight = Flight(keep_bytes=keep_bytes, left=lambda: self._left(running))
        running = Running(flight=flight, call=call, wish=wish, key=key)
        if shares:
            self._by_key[key, call.exchange.streamed] = running
        call.progress.in_flight = True
        running.task = asyncio.create_task(self._fly(running), name="flight")
        self._tasks.add(running.task)
        running.task.add_done_callback(self._tasks.discard)
        if (held := call.exchange.held) is not None:
            # The call may outlive its client, and has the body until its own end.
            held.share()
            running.task.add_done_callback(lambda _: held.give_back())
        return running

    def _left(self, running: Running) -> None:
        """Decide what becomes of a call whose clients have all gone."""
        settings = running.call.admission.plan.settings
        # Who sends an `Idempotency-Key` comes back for the answer.
        comes_back = running.wish is not None and running.wish.idempotency_key is not None
        if settings.on_disconnect != gateway_pb2.DISCONNECT_POLICY_DRAIN and not comes_back:
            self._end(running)
        elif settings.HasField("drain_timeout"):
            pause_s = settings.drain_timeout.ToMilliseconds() / 1000
            running.end = asyncio.get_running_loop().call_later(pause_s, self._end, running)

    def _end(self, running: Running) -> None:
        """End a call; whoever asks for the same while it closes has one of its own."""
        self._forget(running)
        if running.task is not None:
            running.task.cancel()

    def _forget(self, running: Running) -> None:
        place = (running.key, running.call.exchange.streamed)
        if self._by_key.get(place) is running:
            del self._by_key[place]

    async def _follow(self, running: Running, call: Call, *, is_ours: bool) -> Failed | None:
        flight, progress = running.flight, call.progress

        def note() -> None:
            if not is_ours:
                note_shared(call, running.call, flight)

        def headers_beside(theirs: HeaderList) -> HeaderList:
            note()
            return beside(theirs, call.own_headers(), progress.limits)

        def before_end() -> None:
            note()
            call.finish()

        took = _nothing if is_ours else progress.sent
        if await flight.follow(call.sink, headers_beside, before_end, took):
            await call.sink.end()
            return None
        if flight.entry is not None:
            await _replay(call, flight.entry, stale=False)
            return None
        answer = flight.answer
        if answer is None:
            if not is_ours and running.ended_at is not None:
                note_step(call, running.ended_at)
            return flight.failed or Failed(GatewayError(Reason.INTERNAL, "The call ended without a word."))
        if not is_ours:
            progress.sent(answer.body)
        before_end()
        await call.sink.whole(answer.status, headers_beside(answer.headers), answer.body)
        return None

    async def _fly(self, running: Running) -> None:
        flight, call, progress = running.flight, running.call, running.call.progress

        def finish() -> None:
            running.good = running.good or progress.outcome == log_entry_pb2.OUTCOME_SUCCESS
            if progress.gone and progress.outcome == log_entry_pb2.OUTCOME_SUCCESS:
                progress.outcome = log_entry_pb2.OUTCOME_DISCONNECTED
                progress.error_reason = Reason.CANCELLED
            call.finish()
            flight.mark_recorded()

        kept = False
        try:
            if not await self._found_elsewhere(running):
                kept = await self._fetch(running, finish)
        except GatewayError as error:
            break_off(flight, progress, error, finish)
        except asyncio.CancelledError:
            # Nobody is left, or we are stopping: who still follows is told.
            stopping = GatewayError(Reason.SERVICE_UNAVAILABLE, "Headrace is stopping.", retry_after_s=1.0)
            break_off(flight, progress, stopping, finish)
            raise
        except Exception as failure:  # noqa: BLE001 - a task of its own: nobody else would tell
            self._log.error("flight failed", exc_info=failure)
            internal = GatewayError(Reason.INTERNAL, "Something went wrong on our side.")
            break_off(flight, progress, internal, finish)
        finally:
            running.stay()
            self._forget(running)
            self._let_go(running)
            if running.holds and not kept:
                self._caching.release(running.key)
            progress.in_flight = False
            running.ended_at = step_of(progress)
            flight.end_now()
        if progress.gone and not progress.finished:
            note_gone(progress)
            finish()

    async def _fetch(self, running: Running, finish: Callable[[], None]) -> bool:
        """Make the call; tells whether its answer goes to the cache."""
        flight, progress = running.flight, running.call.progress
        call = replace(running.call, sink=flight, own_headers=_no_headers, finish=finish)
        outcome = await self._attempts.run(call)
        if isinstance(outcome, Failed):
            flight.failed = outcome
            return False
        if isinstance(outcome, Broken):
            await tell_broken(call, outcome)
            return False
        flight.answer = outcome.whole
        finish()
        if not (running.good and running.key and running.wish is not None):
            return False
        streamed = running.call.exchange.streamed
        return self._caching.store_flight(running.key, running.wish, flight, progress, streamed=streamed)

    async def _found_elsewhere(self, running: Running) -> bool:
        """Wait for the answer that somebody else is fetching; tells whether it came."""
        if running.claim.is_set() or running.wish is None:
            return False
        call = running.call
        waiting = asyncio.ensure_future(
            self._caching.lookup(call.exchange, call.admission, running.wish, waits=True)
        )
        claimed = asyncio.ensure_future(running.claim.wait())
        try:
            await asyncio.wait((waiting, claimed), return_when=asyncio.FIRST_COMPLETED)
            found = waiting.result() if waiting.done() else None
        finally:
            claimed.cancel()
            waiting.cancel()
        if found is None:
            return False
        if found.claimed:
            self._take_claim(running, found)
        if not found.HasField("entry") or found.stale:
            return False
        running.flight.entry = await self._fitting(found.entry, call)
        return running.flight.entry is not None

    async def _fitting(self, entry: cache_service_pb2.Entry, call: Call) -> cache_service_pb2.Entry | None:
        """Give a kept answer in the form that is asked for, a stream or one piece; None when it has none."""
        streamed = call.exchange.streamed
        if bool(entry.pieces) == streamed:
            return entry
        return await self._reshape(entry, stream=streamed, request=call.exchange.body)


async def _replay(call: Call, entry: cache_service_pb2.Entry, *, stale: bool) -> None:
    call.progress.stale = stale
    await replay(
        entry,
        call.progress,
        call.sink,
        own_headers=call.own_headers,
        finish=call.finish,
        paced=call.admission.plan.settings.cache_replay_paced,
        number=call.number,
    )


def _no_headers() -> list[tuple[str, str]]:
    return []


def _nothing(data: bytes) -> None:
    """Take no note: the call itself did."""
