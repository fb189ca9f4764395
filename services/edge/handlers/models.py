"""
The models that can be asked for, as a list and one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from headrace.auth.v1 import token_pb2
from headrace.common.v1 import caller_pb2, http_pb2
from kit.errors import GatewayError, Reason
from kit.providers import canonical
from services.edge.pipeline.access import check_gateway, may_use
from services.edge.wire import models as wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.provider.v1.provider_service_pb2 import Model
    from services.edge.headers import RequestHeaders
    from services.edge.pipeline.access import Access
    from services.edge.pipeline.providers import Providers
    from services.edge.routes import Route

__all__ = ["Models", "dialect_of"]

# By these a client says that it speaks another dialect: all three may ask at the same path.
_ANTHROPIC = "anthropic-version"
_GOOGLE = ("x-goog-api-client", "x-goog-api-key")
_LONGEST_SHOWN = 256


class Models:
    """Lists the models of all providers."""

    def __init__(self, access: Access, providers: Providers) -> None:
        self._access = access
        self._providers = providers

    async def answer(self, request: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        """List the models, or tell what is known of the one in the path, in the client's dialect."""
        dialect = dialect_of(route, request.headers)
        if route.rest:
            told = wire.model(await self._one(route, headers), dialect)
        else:
            told = wire.model_list(await self._all(route.account_id, route.gateway_id, headers), dialect)
        return web.Response(body=orjson.dumps(told), content_type="application/json")

    async def names(self, account_id: str, gateway_id: str, headers: RequestHeaders) -> list[str]:
        """
        Give `{provider}/{model}` for each model that the caller may use.

        Raises:
            GatewayError: UNAUTHENTICATED, PERMISSION_DENIED, or auth is away.
        """
        return [wire.id_of(model) for model in await self._all(account_id, gateway_id, headers)]

    async def _one(self, route: Route, headers: RequestHeaders) -> Model:
        slug, _, name = route.rest.partition("/")
        slug = canonical(slug)
        for model in await self._all(route.account_id, route.gateway_id, headers, slug=slug):
            if model.model == name:
                return model
        shown = route.rest[:_LONGEST_SHOWN]
        raise GatewayError(
            Reason.NOT_FOUND, f"There is no model {shown!r} in the list.", resource="model", id=shown
        )

    async def _all(
        self, account_id: str, gateway_id: str, headers: RequestHeaders, *, slug: str | None = None
    ) -> list[Model]:
        principal = await self._access.require(
            account_id,
            headers.gateway_token or headers.own_token,
            token_pb2.PERMISSION_AI_GATEWAY_RUN,
            address=headers.client_address,
        )
        check_gateway(principal, gateway_id)
        caller = caller_pb2.Caller(account_id=account_id, gateway_id=gateway_id, token_id=principal.token_id)
        return [
            model
            for model in await self._providers.models(caller, slug)
            if may_use(principal, model.provider, model.model)
        ]


def dialect_of(route: Route, headers: Mapping[str, str]) -> http_pb2.Dialect.ValueType:
    """
    Tell which dialect a client speaks that asks for models.

    Args:
        route: What is asked for.
        headers: The request's, by name in whatever case.
    """
    if route.dialect == http_pb2.DIALECT_GEMINI or any(name in headers for name in _GOOGLE):
        return http_pb2.DIALECT_GEMINI
    return http_pb2.DIALECT_ANTHROPIC_MESSAGES if _ANTHROPIC in headers else route.dialect
