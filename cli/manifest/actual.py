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

__all__ = [
    "account_path",
    "deleted_accounts",
    "find_accounts",
    "find_all",
    "gateway_path",
    "has_all_versions",
    "operator_providers",
    "own_token_id",
]


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


def deleted_accounts(api: Api) -> frozenset[str]:
    """
    Give the ids of accounts that were deleted; none where that is not told.

    Raises:
        ApiError: The token is no operator's, or nobody answers.
    """
    shown = api.pages("/accounts", {"include_deleted": "true"})
    return frozenset(each["id"] for each in shown if each.get("deleted_at"))


def find_all(api: Api, places: Collection[Place]) -> list[Found]:
    """
    Give everything in some places. A gateway that is not there has nothing.

    Where an account's gateways are among the places, nothing is asked of one that it does not have: the
    gateway `default` would make itself.

    Raises:
        ApiError: It cannot be had.
    """
    found: list[Found] = []
    # An account's gateways come before what is in them.
    for place in sorted(places):
        gateways = Place(place.account, "", Kind.GATEWAY)
        is_listed = any((each.place, each.name) == (gateways, place.gateway) for each in found)
        if place.gateway and gateways in places and not is_listed:
            continue
        try:
            found += _find(api, place)
        except ApiError as error:
            if not (error.is_missing and place.gateway):
                raise
    return found


def operator_providers(api: Api, account: str) -> frozenset[str] | None:
    """
    Give the slugs of providers that the operator added, with their prefix; None where that is not told.

    Args:
        api: The management API.
        account: An account that is there; they are the same of all.

    Raises:
        ApiError: It cannot be had.
    """
    if not account:
        return None
    told = api.result_info(account_path(account, "ai-gateway", "custom-providers"))
    return frozenset(told["operator_providers"]) if "operator_providers" in told else None


def has_all_versions(api: Api, place: Place, route_id: str, *, most: int) -> bool:
    """
    Tell whether a route has as many versions as it may.

    Raises:
        ApiError: It cannot be had.
    """
    path = gateway_path(place.account, place.gateway, "routes", route_id, "versions")
    return bool(api.get(path, {"page": most, "per_page": 1})["versions"])


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
