"""
Fields of things in the one form in which they are compared: what means the same is the same.

Each kind has a function for what a file says and one for what the API shows.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cli.manifest.models import GATEWAY_FIELDS, PROVIDER_FIELDS
from cli.token_body import permissions_of, policies, request_ip
from kit.providers import canonical
from services.router.core.documents import Documents, checked_documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cli.manifest.models import Gateway, Key, Provider, Token

__all__ = [
    "DOCUMENTS",
    "SEALED",
    "gateway_body",
    "gateway_fields",
    "key_body",
    "key_fields",
    "provider_body",
    "provider_fields",
    "shown_account",
    "shown_gateway",
    "shown_key",
    "shown_provider",
    "shown_route",
    "shown_token",
    "token_body",
    "token_fields",
]

DOCUMENTS: Final = tuple(field.name for field in dataclasses.fields(Documents))
SEALED: Final = "(sealed)"
_ALWAYS: Final = (
    "cache_invalidate_on_update", "cache_ttl", "collect_logs", "rate_limiting_interval",
    "rate_limiting_limit",
)  # fmt: skip
# What null stands for.
_INSTEAD: Final[Mapping[str, Any]] = {
    "cache_ttl": 0,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
    "rate_limiting_technique": "fixed",
    "log_management": 10_000_000,
    "log_management_strategy": "DELETE_OLDEST",
}
_PERIOD_S: Final = 60.0


def gateway_fields(gateway: Gateway) -> dict[str, Any]:
    """
    Give what a gateway is to be.

    Raises:
        GatewayError: One of its documents is none.
    """
    given = gateway.model_dump(mode="json", by_alias=True, exclude_unset=True, include=set(DOCUMENTS))
    texts = {name: json.dumps(value) for name, value in given.items() if value is not None}
    checked = checked_documents(Documents(**texts))
    values = {name: getattr(gateway, name) for name in GATEWAY_FIELDS}
    for name in DOCUMENTS:
        text = getattr(checked, name)
        values[name] = json.loads(text) if text else None
    if values["wholesale"] is None:
        values["wholesale"] = True
    return _without_null(values)


def gateway_body(gateway: Gateway) -> dict[str, Any]:
    """Give the body that makes a gateway so."""
    given = gateway.model_dump(mode="json", by_alias=True, exclude_unset=True, include=set(GATEWAY_FIELDS))
    return {**{name: getattr(gateway, name) for name in _ALWAYS}, **given, "id": gateway.id}


def shown_gateway(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a gateway is."""
    return _without_null({name: shown[name] for name in GATEWAY_FIELDS if name in shown})


def _without_null(values: dict[str, Any]) -> dict[str, Any]:
    # An empty text is none.
    return {name: _INSTEAD.get(name) if value in (None, "") else value for name, value in values.items()}


def provider_fields(provider: Provider) -> dict[str, Any]:
    """Give what a provider is to be."""
    values = {name: getattr(provider, name) for name in PROVIDER_FIELDS}
    values["name"] = provider.name or provider.slug
    values["headers"] = {name.lower(): value for name, value in (provider.headers or {}).items()}
    return {name: "" if value is None else value for name, value in values.items()}


def provider_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give the body that makes a provider so, apart from its slug."""
    return {**fields, "headers": json.dumps(fields["headers"])}


def shown_provider(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a provider is."""
    values = {name: shown[name] for name in PROVIDER_FIELDS}
    values["headers"] = json.loads(shown["headers"] or "{}")
    return values


def key_fields(key: Key) -> dict[str, Any]:
    """Give what a key is to be, apart from the key."""
    period_s = _PERIOD_S if key.rate_limit_period is None else key.rate_limit_period
    return {
        "ref": key.ref or SEALED,
        "default_config": key.alias == "default" if key.default_config is None else key.default_config,
        "weight": key.weight,
        # As they are kept: none for any number, and milliseconds.
        "rate_limit": key.rate_limit or None,
        "rate_limit_period": round(period_s * 1000) / 1000,
    }


def key_body(key: Key) -> dict[str, Any]:
    """Give the body that keeps a key so, apart from a key that is sent itself."""
    fields = key_fields(key)
    del fields["ref"]
    return {
        "provider_slug": canonical(key.provider),
        "alias": key.alias,
        **fields,
        **({} if key.ref is None else {"secret_id": key.ref}),
    }


def shown_key(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a key is, apart from the key."""
    return {
        "ref": SEALED if shown["secret_id"] == shown["id"] else shown["secret_id"],
        "default_config": shown["default_config"],
        "weight": shown["weight"],
        "rate_limit": int(shown["rate_limit"]) if shown["rate_limit"] else None,
        "rate_limit_period": float(shown["rate_limit_period"]),
    }


def shown_route(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a route is."""
    return {"elements": shown["elements"]}


def shown_account(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Give what an account is."""
    return {"name": shown["name"], "unified": shown["unified"]}


def token_fields(token: Token) -> dict[str, Any]:
    """Give what a token is to be."""
    return {
        "permissions": sorted(set(token.permissions)),
        "gateways": sorted(set(token.gateways)),
        "providers": _names(token.providers),
        "models": _names(token.models),
        "addresses": _networks(token.addresses),
        "forbidden_addresses": _networks(token.forbidden_addresses),
        "not_before": _moment(token.not_before),
        "expires_on": _moment(token.expires_on),
        "disabled": token.disabled,
    }


def token_body(name: str, fields: Mapping[str, Any], account: str) -> dict[str, Any]:
    """Give the body that makes a token so."""
    return {
        "name": name,
        "policies": policies(fields["permissions"], [account]),
        "condition": {"request_ip": {"in": fields["addresses"], "not_in": fields["forbidden_addresses"]}},
        "not_before": fields["not_before"],
        "expires_on": fields["expires_on"],
        "status": "disabled" if fields["disabled"] else "active",
        "restrictions": {each: fields[each] for each in ("gateways", "providers", "models")},
    }


def shown_token(shown: Mapping[str, Any], account: str) -> dict[str, Any]:
    """Give what a token is."""
    networks, narrowed = request_ip(shown), shown["restrictions"]
    return {
        "permissions": sorted(set(permissions_of(shown).get(account, ()))),
        "gateways": sorted(set(narrowed["gateways"])),
        "providers": _names(narrowed["providers"]),
        "models": _names(narrowed["models"]),
        "addresses": _networks(networks["in"]),
        "forbidden_addresses": _networks(networks["not_in"]),
        "not_before": _moment(_read(shown["not_before"])),
        "expires_on": _moment(_read(shown["expires_on"])),
        "disabled": shown["status"] == "disabled",
    }


def _names(names: Iterable[str]) -> list[str]:
    """Give names of providers, or of models, with the provider by its one name."""
    parts = (name.partition("/") for name in names)
    return sorted({f"{canonical(provider)}{slash}{model}" for provider, slash, model in parts})


def _networks(texts: Iterable[str]) -> list[str]:
    found = set()
    for text in texts:
        network = ipaddress.ip_network(text, strict=False)
        found.add(str(network.network_address) if network.num_addresses == 1 else str(network))
    return sorted(found)


def _read(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _moment(when: datetime | None) -> str | None:
    return (
        None if when is None else f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"
    )
