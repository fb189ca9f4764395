"""The gateway `default`, which makes itself for who manages it as it does for who calls through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kit import moment
from kit.ids import uuid7
from services.router.core.gateway import DEFAULT_GATEWAY, absent

if TYPE_CHECKING:
    from kit.audit import Actor
    from kit.clock import Clock
    from services.router.core.gateway import Gateway
    from services.router.store import PlanGateways

__all__ = ["DefaultGateway"]


class DefaultGateway:
    """
    Makes the gateway `default` of an account where it is missing.

    Args:
        store: The gateways.
        clock: The time.
        log: Where gateways that make themselves are told.
    """

    def __init__(self, *, store: PlanGateways, clock: Clock, log: Any) -> None:
        self._store = store
        self._clock = clock
        self._log = log

    async def make(self, account_id: str, gateway_id: str, actor: Actor) -> None:
        """Make a gateway if it is missing and is one that makes itself; any other is left alone."""
        if gateway_id == DEFAULT_GATEWAY and (await self._store.find(account_id, gateway_id))[0] is None:
            now = moment.now(self._clock)
            await self.ensure(absent(account_id, gateway_id, now, internal_id=uuid7()), actor)

    async def ensure(self, would_be: Gateway, actor: Actor) -> tuple[Gateway, int]:
        """Add a gateway unless there is one of its name; return the one that there is, and the generation."""
        gateway, generation = await self._store.ensure(would_be, actor)
        if gateway is would_be:
            self._log.info("gateway made", account_id=gateway.account_id, gateway_id=gateway.id)
        return gateway, generation
