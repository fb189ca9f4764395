"""
The list of models that can be asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from headrace.auth.v1 import auth_service_pb2
from headrace.common.v1 import caller_pb2

if TYPE_CHECKING:
    from services.edge.headers import RequestHeaders
    from services.edge.pipeline.access import Access
    from services.edge.pipeline.providers import Providers
    from services.edge.routes import Route

__all__ = ["Models"]


class Models:
    """Lists the models of all providers, in the shape of OpenAI's list."""

    def __init__(self, access: Access, providers: Providers) -> None:
        self._access = access
        self._providers = providers

    async def answer(self, _: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        """List the models."""
        names = await self.names(route.account_id, route.gateway_id, headers)
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": name.partition("/")[0]}
            for name in names
        ]
        return web.Response(
            body=orjson.dumps({"object": "list", "data": models}), content_type="application/json"
        )

    async def names(self, account_id: str, gateway_id: str, headers: RequestHeaders) -> list[str]:
        """
        Give `{provider}/{model}` for each model that the caller may use.

        Raises:
            GatewayError: UNAUTHENTICATED, PERMISSION_DENIED, or auth is away.
        """
        principal = await self._access.require(
            account_id,
            headers.gateway_token or headers.own_token,
            auth_service_pb2.PERMISSION_AI_GATEWAY_RUN,
        )
        caller = caller_pb2.Caller(account_id=account_id, gateway_id=gateway_id, token_id=principal.token_id)
        narrowed = principal.restrictions
        return [
            name
            for model in await self._providers.models(caller)
            if (name := f"{model.provider}/{model.model}")
            and (not narrowed.providers or model.provider in narrowed.providers)
            and (not narrowed.models or name in narrowed.models)
        ]
