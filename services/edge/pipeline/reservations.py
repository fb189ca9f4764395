"""
Asks router whether a request's limits leave room for a step, and tells it afterwards what was really used.

Settlements travel in batches, off the request's path. One that cannot be told while it matters is not lost:
router then counts what was reserved.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from headrace.common.v1 import usage_pb2
from headrace.router.v1 import router_service_pb2, router_service_pb2_grpc
from kit.errors import GatewayError, Reason
from services.edge.pipeline.estimate import asked_models, estimate
from services.edge.pipeline.record import MOST, custom_cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.common.v1 import caller_pb2
    from headrace.ledger.v1 import log_entry_pb2
    from kit.pricing.pricer import Pricer
    from kit.service import Runtime
    from services.edge.config import EdgeConfig
    from services.edge.pipeline.attempts import Call
    from services.edge.pipeline.exchange import Exchange, Paid, Progress

__all__ = ["Reservation", "Reservations", "limits_told"]

_BATCH: Final = 256
# Trying again does not help.
_NEVER_TAKEN: Final = frozenset({Reason.INVALID_REQUEST, Reason.GATEWAY_NOT_FOUND})
# Settlements that may wait; when router stays away for longer, what was reserved counts.
_MOST_WAITING: Final = 20_000
_PAUSE_S: Final = 0.05
_UNITS: Final = {
    "requests": router_service_pb2.LIMIT_UNIT_REQUESTS,
    "tokens": router_service_pb2.LIMIT_UNIT_TOKENS,
    "nano_usd": router_service_pb2.LIMIT_UNIT_NANO_USD,
}
_PAUSE_AFTER_FAILURE_S: Final = 0.5
# The first status that is one.
_ERRORS: Final = 400


@dataclass(frozen=True, slots=True)
class Reservation:
    """
    What router holds for a step that is under way.

    Attributes:
        id: Its name.
        caller: On whose behalf.
        since: How many attempts of the request had been paid for before it.
        custom: The prices that the request names.
    """

    id: str
    caller: caller_pb2.Caller
    since: int
    custom: log_entry_pb2.CustomCost | None


class Reservations:
    """The edge's view of limits."""

    def __init__(self, runtime: Runtime, config: EdgeConfig, pricer: Pricer) -> None:
        self._stub = router_service_pb2_grpc.RouterServiceStub(runtime.channel("router"))
        self._timeout_s = config.decision_timeout_s
        self._limits_timeout_s = config.limits_timeout_s
        self._lifetime_s = config.reservation_s
        self._usual_output_tokens = config.usual_output_tokens
        self._pricer = pricer
        self._log = runtime.log("reservations")
        self._waiting: deque[router_service_pb2.Settlement] = deque()
        self._most_sent = _BATCH
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def reserve(
        self, call: Call, plan: router_service_pb2.PlanResponse, step: router_service_pb2.Step
    ) -> None:
        """
        Reserve what a step may use.

        Raises:
            GatewayError: RATE_LIMITED, SPEND_LIMITED, or router is away.
        """
        exchange, progress = call.exchange, call.progress
        tokens_in, tokens_out = estimate(exchange, usual_output_tokens=self._usual_output_tokens)
        caller, models = call.admission.caller, asked_models(exchange, step.model)
        request = router_service_pb2.ReserveRequest(
            caller=caller,
            id=f"{progress.log_id}.{progress.reserved}",
            provider=step.provider,
            model=models[0] if models else "",
            other_models=models[1:],
            counted=progress.counted,
            tokens=tokens_in + tokens_out,
            ticket=plan.ticket,
        )
        request.caller.metadata.update(exchange.options.metadata)
        request.lifetime.FromMilliseconds(int(self._lifetime_s * 1000))
        usage = usage_pb2.Usage(input_tokens=tokens_in, output_tokens=tokens_out)
        custom, at_us = custom_cost(exchange), progress.started_ns // 1000
        prices = [self._price(step.provider, (model,), usage, custom, at_us) for model in models or ("",)]
        known = [price for price in prices if price is not None]
        if len(known) == len(prices):
            # Whichever of them answers.
            request.nano_usd = max(known)
        # Before it is asked: an answer that is lost on the way may stand for a reservation of this name.
        progress.reserved += 1
        reservation = Reservation(request.id, caller, len(progress.spent), custom)
        try:
            answer = await self._stub.Reserve(request, timeout=self._limits_timeout_s)
        except GatewayError as error:
            if error.reason in (Reason.RATE_LIMITED, Reason.SPEND_LIMITED):
                progress.limits = limits_told(error)
            else:
                # Whether it was reserved nobody knows: it is given back, if it was.
                self._settle(reservation, tokens=0, nano_usd=0)
            raise
        except asyncio.CancelledError:
            self._settle(reservation, tokens=0, nano_usd=0)
            raise
        progress.limits = _still_told(progress.limits if progress.counted else (), answer.limits)
        progress.counted = True
        progress.reservation = reservation if answer.reserved else None

    def release(self, progress: Progress) -> None:
        """Give back what a step reserved that brought nothing; what its attempts told of use is kept."""
        if progress.reservation is not None:
            self._settle_spent(progress.reservation, progress)
            progress.reservation = None

    def give_back(self, exchange: Exchange, progress: Progress) -> None:
        """Tell that nothing was tried for a request, so that no limit in its route counts it."""
        settlement = router_service_pb2.Settlement(id=f"{progress.log_id}.route", counted=progress.returnable)
        settlement.caller.account_id = exchange.account_id
        settlement.caller.gateway_id = exchange.gateway_id
        progress.returnable = b""
        self._queue(settlement)

    def settle_left(self, settlements: Iterable[bytes]) -> None:
        """Tell what requests used that an earlier life of this edge did not end; see `settlement`."""
        for each in settlements:
            try:
                self._queue(router_service_pb2.Settlement.FromString(each))
            except DecodeError:
                self._log.warning("settlement unreadable: what was reserved counts")

    def settlement(self, progress: Progress, spent: Sequence[Paid]) -> bytes:
        """
        Give what would settle a running request if it ended now, serialised.

        Empty where nothing is reserved, or an attempt is under way that has told of no use yet: it counts as
        it was reserved.

        Args:
            progress: What became of the request so far.
            spent: All that it has used by now.
        """
        reservation = progress.reservation
        if reservation is None:
            return b""
        used = spent[reservation.since :]
        if not used or (progress.usage is None and not progress.attempts[-1].HasField("usage")):
            return b""
        return _settlement(reservation, *_sums(used)).SerializeToString()

    def settle(self, progress: Progress) -> None:
        """
        Tell what a request used, once that is known.

        Where an attempt brought something and nobody knows what it used, it counts as it was reserved; one
        that brought nothing counts as nothing, whoever ended it: the client, its time, or we.
        """
        reservation = progress.reservation
        if reservation is None:
            return
        progress.reservation = None
        if progress.spent:
            if progress.attempts[-1].HasField("usage") or _brought_nothing(progress):
                self._settle_spent(reservation, progress)
            else:
                self._settle(reservation, tokens=None, nano_usd=None)
            return
        usage, cost = progress.usage, progress.cost
        if usage is None and (progress.failed or _brought_nothing(progress)):
            self._settle(reservation, tokens=0, nano_usd=0)
            return
        tokens = None if usage is None else usage.input_tokens + usage.output_tokens
        nano_usd = None if cost is None else cost.nano_usd
        if reservation.custom is not None:
            models = (progress.served_model, progress.target_model)
            at_us = progress.started_ns // 1000
            nano_usd = self._price(progress.provider, models, usage, reservation.custom, at_us)
        self._settle(reservation, tokens=tokens, nano_usd=nano_usd)

    def _price(
        self,
        provider: str,
        models: tuple[str, ...],
        usage: usage_pb2.Usage | None,
        custom: log_entry_pb2.CustomCost | None,
        at_us: int,
    ) -> int | None:
        """
        Say what limits count, in billionths of a US dollar; None when no price is known.

        A price that a client names is its own word: it may be the only one, or add to what is listed, but
        not take from it, or anybody could spend without a limit.
        """
        found = [
            self._pricer.cost(
                provider=provider, models=models, usage=usage, custom=each, cached=False, at_us=at_us
            )
            for each in ((None,) if custom is None else (custom, None))
        ]
        return max((cost.nano_usd for cost in found if cost is not None), default=None)

    def start(self) -> None:
        """Begin to send settlements."""
        self._task = asyncio.create_task(self._send(), name="settlements")

    async def close(self) -> None:
        """Send what waits, as far as router is there, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        while self._waiting:
            if not await self._send_batch():
                self._log.warning("settlements lost: what was reserved counts", count=len(self._waiting))
                return

    def _settle_spent(self, reservation: Reservation, progress: Progress) -> None:
        """Tell what was paid for since the reservation; what earlier ones were settled with is not in it."""
        tokens, nano_usd = _sums(progress.spent[reservation.since :])
        self._settle(reservation, tokens=tokens, nano_usd=nano_usd)

    def _settle(self, reservation: Reservation, *, tokens: int | None, nano_usd: int | None) -> None:
        self._queue(_settlement(reservation, tokens, nano_usd))

    def _queue(self, settlement: router_service_pb2.Settlement) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._log.warning("settlement lost: what was reserved counts")
            return
        self._waiting.append(settlement)
        self._wake.set()

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            try:
                sent = await self._send_batch()
            except Exception as failure:  # noqa: BLE001 - the next batch is worth a try
                self._log.error("settlements not sent", exc_info=failure)
                sent = False
            if not self._waiting:
                self._wake.clear()
            # Others join the next batch meanwhile.
            await asyncio.sleep(_PAUSE_S if sent else _PAUSE_AFTER_FAILURE_S)

    async def _send_batch(self) -> bool:
        """Send the oldest settlements; they stay until router has them, who takes each once."""
        batch = [self._waiting[place] for place in range(min(self._most_sent, len(self._waiting)))]
        if not batch:
            return True
        try:
            await self._stub.Settle(
                router_service_pb2.SettleRequest(settlements=batch), timeout=self._timeout_s
            )
        except GatewayError as error:
            if error.reason in _NEVER_TAKEN:
                self._set_apart(batch, error)
                return True
            self._log.debug("settlements not taken", reason=error.reason, waiting=len(self._waiting))
            return False
        for _ in batch:
            self._waiting.popleft()
        return True

    def _set_apart(self, batch: list[router_service_pb2.Settlement], error: GatewayError) -> None:
        """Send one by one until the one is found, and left out, that router does not take."""
        self._most_sent = 1
        if len(batch) == 1:
            self._most_sent = _BATCH
            self._log.warning(
                "settlement refused: what was reserved counts", reason=error.reason, id=batch[0].id
            )
            self._waiting.popleft()


def _settlement(
    reservation: Reservation, tokens: int | None, nano_usd: int | None
) -> router_service_pb2.Settlement:
    return router_service_pb2.Settlement(
        id=reservation.id,
        caller=reservation.caller,
        tokens=None if tokens is None else min(tokens, MOST),
        nano_usd=None if nano_usd is None else min(nano_usd, MOST),
    )


def _brought_nothing(progress: Progress) -> bool:
    """Say whether the last attempt had no answer yet when it ended, or an error for one."""
    attempts = progress.attempts
    return not attempts or attempts[-1].status == 0 or attempts[-1].status >= _ERRORS


def _sums(spent: Sequence[Paid]) -> tuple[int, int | None]:
    """Add up tokens, and the money that limits count: None where a cost is not known."""
    tokens = sum(paid.usage.input_tokens + paid.usage.output_tokens for paid in spent)
    costs = [paid.cost.nano_usd for paid in spent if paid.cost is not None]
    counted = max(sum(costs), sum(paid.listed_nano_usd for paid in spent))
    return tokens, counted if len(costs) == len(spent) else None


def _still_told(
    before: Iterable[router_service_pb2.LimitState], now: Iterable[router_service_pb2.LimitState]
) -> list[router_service_pb2.LimitState]:
    """
    Give the limits that a request is told of after a further step of it was let pass.

    A limit of requests that counted it with an earlier step is not asked again, and told as it stood then.
    """
    found = list(now)
    requests = router_service_pb2.LIMIT_UNIT_REQUESTS
    if any(state.unit == requests for state in found):
        return found
    return [*(state for state in before if state.unit == requests), *found]


def limits_told(error: GatewayError) -> list[router_service_pb2.LimitState]:
    """Read the limit that a refusal tells of; what it does not tell is left out."""
    known = error.metadata
    try:
        state = router_service_pb2.LimitState(
            unit=_UNITS[known["unit"]],
            limit=int(known["limit"]),
            remaining=int(known["remaining"]),
            rule=known.get("rule", ""),
        )
        state.reset.FromMilliseconds(int(float(known["reset_s"]) * 1000))
    except (KeyError, ValueError):
        return []
    return [state]
