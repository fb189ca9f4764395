"""
Bodies looked at as the installation would, before it is sent any: first the management API's models, then
what the services behind say of them. Nothing here asks anyone.

Every check raises a `GatewayError` whose `param` is the path to what is wrong, in the words of a file.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from headrace.router.v1 import gateway_service_pb2
from kit.account import ACCOUNT_ID
from kit.errors import GatewayError, Reason
from services.auth import convert as auth_convert
from services.auth.core import account, provider_config, secret_ref, token_spec
from services.auth.core.token import Owner, Restrictions, TokenSpec
from services.edge.management.models.account import CreateAccount
from services.edge.management.models.custom_provider import CreateCustomProvider
from services.edge.management.models.gateway import CreateGateway
from services.edge.management.models.provider_config import CreateProviderConfig
from services.edge.management.models.route import CreateRoute
from services.edge.management.models.token import TokenBody
from services.edge.wire import custom_provider as provider_wire
from services.edge.wire import gateway as gateway_wire
from services.edge.wire import token as token_wire
from services.router.convert import custom_providers as provider_convert
from services.router.convert import gateways as gateway_convert
from services.router.core import custom_provider, gateway, route, route_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.auth.v1 import token_pb2
    from kit.secret import Secret

__all__ = [
    "MOST_BODY_BYTES",
    "check_account",
    "check_entry",
    "check_gateway",
    "check_key",
    "check_provider",
    "check_route",
    "check_token",
    "token_spec_of",
]

_M = TypeVar("_M", bound=BaseModel)

MOST_BODY_BYTES: Final = 1 << 20
"""Longest body that the management API takes."""
_ANY: Final = datetime(2000, 1, 1, tzinfo=UTC)
# What a file says of a token, by where the management API has it.
_OF_TOKEN: Final = {
    "policies": "permissions",
    "restrictions.gateways": "gateways",
    "restrictions.providers": "providers",
    "restrictions.models": "models",
    "condition.request_ip.in": "addresses",
    "condition.request_ip.not_in": "forbidden_addresses",
}
_OF_KEY: Final = {"provider_slug": "provider", "secret_id": "ref", "secret_ref": "ref"}
# Lists of names that a token is narrowed to, by what a file calls them.
_LISTS: Final = {"gateways": "gateway_ids"}


def check_account(account_id: str, body: Mapping[str, Any]) -> None:
    """
    Check an account that is to be there.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if not ACCOUNT_ID.fullmatch(account_id):
        message = "An account id has 1 to 64 letters, digits, hyphens or underscores."
        raise GatewayError(Reason.INVALID_REQUEST, message, param="id")
    model = _read(CreateAccount, {"id": account_id, "name": account_id, **body})
    account.check_account(account.AccountSpec(name=model.name, unified=model.unified))


def check_provider(account_id: str, slug: str, body: Mapping[str, Any]) -> None:
    """
    Check a provider of an account's own.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    message, _ = provider_wire.provider(_read(CreateCustomProvider, {"slug": slug, **body}).model_dump())
    wanted = provider_convert.custom_provider(message, account_id=account_id, provider_id="", now=_ANY)
    custom_provider.checked(wanted)


def check_gateway(body: Mapping[str, Any]) -> None:
    """
    Check a gateway.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    model = _read(CreateGateway, body)
    gateway.check_new_id(model.id)
    gateway_convert.wanted(gateway_service_pb2.CreateGatewayRequest(settings=gateway_wire.settings(model)))


def check_key(gateway_id: str, body: Mapping[str, Any], secret: Secret | None) -> None:
    """
    Check a stored key.

    Args:
        gateway_id: Where it is to be.
        body: As it is sent, without the key.
        secret: The key, where it is sent.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    text = None if secret is None else secret.reveal()
    try:
        model = _read(CreateProviderConfig, {**body, **({} if text is None else {"secret": text})})
        provider_config.check_config(
            provider_config.ProviderConfig(
                id="",
                account_id="",
                gateway_id=gateway_id,
                provider=model.provider_slug,
                alias=model.alias,
                created_at=_ANY,
                updated_at=_ANY,
                secret_ref="" if model.secret_id is None else secret_ref.parse(model.secret_id).text,
                weight=model.weight,
                rate_limit=model.rate_limit or None,
                rate_limit_period_ms=round((model.rate_limit_period or 0) * 1000),
            )
        )
        if text is not None:
            provider_config.check_secret(text)
    except GatewayError as error:
        raise _renamed(error, _OF_KEY) from None


def check_route(name: str, body: Mapping[str, Any], knows: Callable[[str], bool]) -> None:
    """
    Check a dynamic route.

    Args:
        name: Its name.
        body: Its elements.
        knows: Tells whether there may be a provider of a name.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    model = _read(CreateRoute, {"name": name, **body})
    route.check_name(model.name)
    route_graph.check_elements(orjson.dumps(model.elements).decode(), knows)


def check_token(body: Mapping[str, Any], account_id: str, now: datetime | None = None) -> None:
    """
    Check a token.

    Args:
        body: As it is sent.
        account_id: Whose it is.
        now: The time, for a token that is new; None for one that is there.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    try:
        spec = auth_convert.token_spec(token_spec_of(body, account_id))
        token_spec.checked(spec, Owner(account_id=account_id), now)
    except GatewayError as error:
        raise _renamed(token_wire.in_the_words_of_the_body(error), _OF_TOKEN) from None


def check_entry(name: str, text: str) -> None:
    """
    Check one of those that a token is narrowed to.

    Args:
        name: What a file calls the list that it stands in.
        text: The entry.

    Raises:
        GatewayError: INVALID_REQUEST; `param` is empty.
    """
    narrowed = Restrictions(**{_LISTS.get(name, name): (text,)})
    try:
        token_spec.checked(TokenSpec(name="any", grants=(), restrictions=narrowed), Owner(account_id="any"))
    except GatewayError as error:
        raise GatewayError(error.reason, error.message) from None


def token_spec_of(body: Mapping[str, Any], account_id: str) -> token_pb2.TokenSpec:
    """
    Give a token as the services have it.

    Raises:
        GatewayError: INVALID_REQUEST; the management API does not take it.
    """
    return token_wire.spec(_read(TokenBody, body), account_id=account_id)


def _read(model: type[_M], body: Mapping[str, Any]) -> _M:
    """Read a body as it is read where it is sent to."""
    raw = json.dumps(body).encode()
    if len(raw) > MOST_BODY_BYTES:
        raise GatewayError(Reason.INVALID_REQUEST, f"This is more than {MOST_BODY_BYTES} bytes.", param="")
    try:
        return model.model_validate(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise GatewayError(Reason.INVALID_REQUEST, "This cannot be sent as JSON.", param="") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        text = first["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in first["loc"])
        raise GatewayError(Reason.INVALID_REQUEST, text, param=where) from None


def _renamed(error: GatewayError, names: Mapping[str, str]) -> GatewayError:
    """Give an error with its place in the words of a file."""
    param = error.metadata.get("param", "").removeprefix("body.")
    for theirs, ours in names.items():
        if param == theirs or param.startswith(f"{theirs}."):
            param = ours + param.removeprefix(theirs)
            break
    return GatewayError(error.reason, error.message, param=param)
