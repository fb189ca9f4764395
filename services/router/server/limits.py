"""Reserves what requests may use of their gateway's limits, and settles what they used."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from headrace.router.v1 import router_service_pb2 as pb
from kit.account import check_account_id
from kit.errors import GatewayError, Reason
from services.router.convert import limits as convert
from services.router.core.gateway import is_gateway_id, not_found
from services.router.core.limit_report import refusal, tightest
from services.router.core.limit_ticket import read_ticket
from services.router.core.limits import applying
from services.router.core.windows import state_of
from services.router.counters.store import CountersAwayError, Scope, Take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.common.v1 import caller_pb2
    from services.router.core.limits import Asked, Rule
    from services.router.core.windows import Bucket, LimitState
    from services.router.counters.metrics import LimitMetrics
    from services.router.counters.store import Counters
    from services.router.server.limit_book import LimitBook

__all__ = ["LimitServicer"]

_MOST_SETTLEMENTS: Final = 10_000


class LimitServicer:
    """
    Answers `Reserve` and `Settle` of `headrace.router.v1.RouterService`.

    Args:
        book: The limits of gateways.
        counters: Where is counted.
        metrics: What operators see of it.
    """

    def __init__(self, *, book: LimitBook, counters: Counters, metrics: LimitMetrics) -> None:
        self._book = book
        self._counters = counters
        self._metrics = metrics

    async def limited(self, account_id: str, gateway_id: str, generation: int) -> bool:
        """
        Tell whether a gateway has a limit in force.

        Args:
            account_id: Whose.
            gateway_id: Which.
            generation: The one at which the rest of a plan was read.
        """
        return bool((await self._book.find(account_id, gateway_id, generation=generation)).rules)

    async def reserve(self, request: pb.ReserveRequest) -> pb.ReserveResponse:
        """Count a step against the limits that apply to it, all or none."""
        scope = _scope(request.caller)
        asked = convert.asked(request)
        lifetime_ms = convert.lifetime_ms(request)
        rules = await self._rules(scope, asked)
        counting = read_ticket(request.ticket)
        takes = [Take(bucket, asked.amount(bucket.unit)) for bucket in (*(b for _, b in rules), *counting)]
        if not takes:
            return pb.ReserveResponse()
        try:
            found = await self._counters.reserve(scope, request.id, takes, lifetime_ms)
        except CountersAwayError:
            raise _away() from None
        cells = found.cells[: len(rules)]
        if not found.granted:
            error = refusal(rules, cells, found.now_ms, asked)
            self._metrics.refused(error.reason)
            raise error
        self._metrics.granted(reserved=found.reserved)
        return pb.ReserveResponse(
            limits=[convert.state(rule, each) for rule, each in tightest(rules, cells, found.now_ms)],
            reserved=found.reserved,
        )

    async def settle(self, request: pb.SettleRequest) -> pb.SettleResponse:
        """Put what was used in the place of what was reserved; take back what plans counted for nothing."""
        if len(request.settlements) > _MOST_SETTLEMENTS:
            raise GatewayError(
                Reason.INVALID_REQUEST, f"At most {_MOST_SETTLEMENTS} are taken at once.", param="settlements"
            )
        settlings, givings = [], []
        for each in request.settlements:
            scope = _scope(each.caller)
            if each.counted:
                givings.append(convert.giving_back(each, scope))
            else:
                settlings.append(convert.settling(each, scope))
        if settlings:
            try:
                known = await self._counters.settle(settlings)
            except CountersAwayError:
                raise _away() from None
            self._metrics.settled(known)
        if givings:
            # After all that may be told again; this is not, as it is known again for a moment only.
            with suppress(CountersAwayError):
                await self._counters.give_back(givings)
        return pb.SettleResponse()

    async def look(self, scope: Scope, asked: Asked) -> Sequence[tuple[Rule, LimitState]]:
        """
        Say how the limits stand that a step would count against. Counts nothing.

        Raises:
            GatewayError: As `reserve` does, but for what is exceeded.
        """
        rules = await self._rules(scope, asked)
        try:
            found = await self._counters.look(scope, [bucket for _, bucket in rules])
        except CountersAwayError:
            raise _away() from None
        return [
            (rule, state_of(cell, bucket, found.now_ms))
            for (rule, bucket), cell in zip(rules, found.cells, strict=True)
        ]

    async def _rules(self, scope: Scope, asked: Asked) -> list[tuple[Rule, Bucket]]:
        limits = await self._book.find(*scope)
        try:
            return applying(limits, asked)
        except GatewayError as error:
            self._metrics.refused(error.reason, unpriced=True)
            raise


def _scope(caller: caller_pb2.Caller) -> Scope:
    account_id = check_account_id(caller.account_id)
    if not is_gateway_id(caller.gateway_id):
        raise not_found(caller.gateway_id)
    return Scope(account_id, caller.gateway_id)


def _away() -> GatewayError:
    return GatewayError(
        Reason.SERVICE_UNAVAILABLE, "Limits cannot be checked at the moment.", retry_after_s=1.0
    )
