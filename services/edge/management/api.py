"""
The whole management API: every operation there is, the document about them, and what answers them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from services.edge.management.accounts import Accounts
from services.edge.management.admission import Admission
from services.edge.management.audit_logs import AuditLogs
from services.edge.management.cache import CachePurges
from services.edge.management.custom_providers import CustomProviders
from services.edge.management.dispatch import Dispatch
from services.edge.management.gateways import Gateways
from services.edge.management.logs import Logs
from services.edge.management.openapi import document
from services.edge.management.peers import Peers
from services.edge.management.provider_configs import ProviderConfigs
from services.edge.management.provider_health import ProviderHealths
from services.edge.management.routes import DynamicRoutes
from services.edge.management.tokens import Tokens

if TYPE_CHECKING:
    from kit.service import Runtime
    from services.edge.headers import RequestHeaders
    from services.edge.management.operation import Operation
    from services.edge.pipeline.access import Access
    from services.edge.routes import Route

__all__ = ["ManagementApi", "operations_of"]


def operations_of(peers: Peers) -> tuple[Operation, ...]:
    """Give every operation."""
    return (
        *Gateways(peers).operations(),
        *ProviderConfigs(peers).operations(),
        *CustomProviders(peers).operations(),
        *ProviderHealths(peers).operations(),
        *CachePurges(peers).operations(),
        *DynamicRoutes(peers).operations(),
        *Tokens(peers).operations(),
        *Accounts(peers).operations(),
        *AuditLogs(peers).operations(),
        *Logs(peers).operations(),
    )


class ManagementApi:
    """
    Answers `/client/v4/…` and `/openapi.json`.

    Args:
        runtime: What the process gives.
        access: Knows tokens.
        public_url: As of `Dispatch`.
    """

    def __init__(self, runtime: Runtime, access: Access, *, public_url: str = "") -> None:
        self._operations = operations_of(Peers(runtime))
        self._dispatch = Dispatch(Admission(access), self._operations, public_url)

    async def answer(self, request: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        """Answer a request."""
        return await self._dispatch.answer(request, route, headers)

    async def openapi(self, _: web.BaseRequest, __: Route, ___: RequestHeaders) -> web.Response:
        """Give the document."""
        return web.Response(body=self._document, content_type="application/json")

    @cached_property
    def _document(self) -> bytes:
        # Made when it is first asked for: it takes longer than the start of the process should.
        return orjson.dumps(document(self._operations))
