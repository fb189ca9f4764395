"""Keeps gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.router.v1 import gateway_service_pb2 as pb
from headrace.router.v1.gateway_service_pb2_grpc import GatewayServiceServicer
from kit import moment
from kit.account import check_account_id
from kit.audit import Actor
from kit.audit_service import actor_of
from kit.ids import uuid7
from services.router.convert import gateways, purges
from services.router.convert.fields import invalid
from services.router.core.gateway import Gateway, ManagedGateway, check_new_id
from services.router.core.page import checked_page
from services.router.server.default_gateway import DefaultGateway
from services.router.store import By

if TYPE_CHECKING:
    from headrace.common.v1 import actor_pb2
    from kit.clock import Clock
    from kit.generation import WatchHub
    from services.router.store import GatewayStore

__all__ = ["GatewayServicer"]

_MOST_IDS = 1000
_LONGEST_SEARCH = 64


class GatewayServicer(GatewayServiceServicer):
    """
    Answers `headrace.router.v1.GatewayService`.

    Args:
        store: The gateways.
        hub: Is told of changes.
        clock: The time.
        log: Where changes are told.
    """

    def __init__(self, *, store: GatewayStore, hub: WatchHub, clock: Clock, log: Any) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._log = log
        self._default = DefaultGateway(store=store, clock=clock, log=log)

    async def CreateGateway(self, request: pb.CreateGatewayRequest, context: Any) -> pb.CreateGatewayResponse:
        """Make a gateway."""
        by = self._by(request.actor)
        account_id = check_account_id(request.account_id)
        gateway_id = check_new_id(request.gateway_id)
        settings, documents = gateways.wanted(request)
        gateway = Gateway(
            account_id=account_id,
            id=gateway_id,
            internal_id=uuid7(),
            settings=settings,
            created_at=by.at,
            updated_at=by.at,
        )
        found = await self._store.create(ManagedGateway(gateway=gateway, documents=documents), by)
        self._tell("gateway made", found)
        return pb.CreateGatewayResponse(gateway=gateways.gateway(found))

    async def ListGateways(self, request: pb.ListGatewaysRequest, context: Any) -> pb.ListGatewaysResponse:
        """List an account's gateways."""
        account_id = check_account_id(request.account_id)
        if len(request.search) > _LONGEST_SEARCH or not request.search.isprintable():
            raise invalid("search", f"A search has at most {_LONGEST_SEARCH} printable characters.")
        if len(request.gateway_ids) > _MOST_IDS:
            raise invalid("gateway_ids", f"At most {_MOST_IDS} ids are taken.")
        page = checked_page(request.page_size, request.offset)
        found, total = await self._store.page(
            account_id, page, search=request.search, ids=request.gateway_ids
        )
        return pb.ListGatewaysResponse(gateways=map(gateways.gateway, found), total_count=total)

    async def GetGateway(self, request: pb.GetGatewayRequest, context: Any) -> pb.GetGatewayResponse:
        """Find a gateway; `default` makes itself."""
        account_id = check_account_id(request.account_id)
        await self._default.make(account_id, request.gateway_id, Actor())
        found = await self._store.get(account_id, request.gateway_id)
        return pb.GetGatewayResponse(gateway=gateways.gateway(found))

    async def ReplaceGateway(
        self, request: pb.ReplaceGatewayRequest, context: Any
    ) -> pb.ReplaceGatewayResponse:
        """Replace all settings of a gateway; `default` makes itself first."""
        by = self._by(request.actor)
        account_id = check_account_id(request.account_id)
        settings, documents = gateways.wanted(request)
        await self._default.make(account_id, request.gateway_id, by.actor)
        found = await self._store.replace(account_id, request.gateway_id, settings, documents, by)
        self._tell("gateway changed", found)
        return pb.ReplaceGatewayResponse(gateway=gateways.gateway(found))

    async def DeleteGateway(self, request: pb.DeleteGatewayRequest, context: Any) -> pb.DeleteGatewayResponse:
        """Delete a gateway with its routes."""
        account_id = check_account_id(request.account_id)
        found = await self._store.delete(account_id, request.gateway_id, self._by(request.actor))
        self._tell("gateway deleted", found)
        return pb.DeleteGatewayResponse(gateway=gateways.gateway(found))

    async def RecordPurge(self, request: pb.RecordPurgeRequest, context: Any) -> pb.RecordPurgeResponse:
        """Write down that kept answers are about to be forgotten."""
        await self._store.write_down(purges.purge(request), self._by(request.actor))
        return pb.RecordPurgeResponse()

    def _by(self, actor: actor_pb2.Actor) -> By:
        return By(actor=actor_of(actor), at=moment.now(self._clock), then=self._hub.advance)

    def _tell(self, event: str, found: ManagedGateway) -> None:
        self._log.info(event, account_id=found.gateway.account_id, gateway_id=found.gateway.id)
