"""What an installation has, as far as files speak about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.api import ApiError, path_of
from cli.manifest import fields
from cli.manifest.thing import Found, Kind, Place
from kit.providers import canonical

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from cli.api import Api

__all__ = ["account_path", "find_accounts", "find_all", "gateway_path", "own_token_id"]


def account_path(account: str, *segments: str) -> str:
    """Give a path under an account."""
    return path_of("accounts", account, *segments)


def gateway_path(account: str, gateway: str, *segments: str) -> str:
    """Give a path under a gateway."""
    return account_path(account, "ai-gateway", "gateways", gateway, *segments)


def own_token_id(api: Api, account: str) -> str:
    """
    Ask which token this is.

    Raises:
        ApiError: It does not work.
    """
    return str(api.get(account_path(account, "tokens", "verify"))["id"])


def find_accounts(api: Api) -> list[Found]:
    """
    Give the accounts that the token may see.

    Raises:
        ApiError: It may see none, or nobody answers.
    """
    place = Place("", "", Kind.ACCOUNT)
    return [
        Found(place=place, name=each["id"], id=each["id"], fields=fields.shown_account(each), shown=each)
        for each in api.pages("/accounts")
    ]


def find_all(api: Api, places: Collection[Place]) -> list[Found]:
    """
    Give everything in some places. A gateway that is not there has nothing.

    Raises:
        ApiError: It cannot be had.
    """
    found: list[Found] = []
    for place in sorted(places):
        try:
            found += _find(api, place)
        except ApiError as error:
            if not (error.is_missing and place.gateway):
                raise
    return found


def _find(api: Api, place: Place) -> Iterable[Found]:
    if place.kind is Kind.PROVIDER:
        shown = api.pages(account_path(place.account, "ai-gateway", "custom-providers"))
        return [_made(place, each, each["slug"], fields.shown_provider(each)) for each in shown]
    if place.kind is Kind.GATEWAY:
        shown = api.pages(account_path(place.account, "ai-gateway", "gateways"))
        return [_made(place, each, each["id"], fields.shown_gateway(each)) for each in shown]
    if place.kind is Kind.KEY:
        shown = api.pages(gateway_path(place.account, place.gateway, "provider_configs"))
        return [_made(place, each, _key_name(each), fields.shown_key(each)) for each in shown]
    if place.kind is Kind.ROUTE:
        shown = api.pages(gateway_path(place.account, place.gateway, "routes"))
        return [_made(place, each, each["name"], fields.shown_route(each)) for each in shown]
    shown = api.pages(account_path(place.account, "tokens"))
    return [_made(place, each, each["name"], fields.shown_token(each, place.account)) for each in shown]


def _key_name(key: Mapping[str, Any]) -> str:
    return f"{canonical(key['provider_slug'])}/{key['alias']}"


def _made(place: Place, shown: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> Found:
    return Found(place=place, name=name, id=shown["id"], fields=values, shown=shown)
