"""What an installation has, as a file that makes another one like it. Secrets are named, not told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cli.manifest import fields
from cli.manifest.actual import find_accounts, find_all
from cli.manifest.models import GATEWAY_FIELDS, Gateway
from cli.manifest.thing import Kind, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cli.api import Api
    from cli.manifest.thing import Found

__all__ = ["MODELINE", "export"]

SCHEMA_URL: Final = "headrace.schema.json"
MODELINE: Final = f"# yaml-language-server: $schema={SCHEMA_URL}\n"
_TOKEN_FIELDS: Final = (
    "permissions", "gateways", "providers", "models", "addresses", "forbidden_addresses", "not_before",
    "expires_on", "disabled",
)  # fmt: skip


def export(api: Api, accounts: Iterable[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """
    Give what some accounts have, as the file has it.

    Args:
        api: The management API.
        accounts: Their ids.
        tell: Told what a file cannot have.

    Raises:
        ApiError: It cannot be read.
    """
    there = {each.name: each for each in find_accounts(api)}
    # Of the whole file: two accounts must never be given each other's keys, nor each other's tokens.
    names: set[str] = set()
    return {
        "version": 1,
        "accounts": [_account(api, there.get(account), account, names, tell) for account in accounts],
    }


def _account(
    api: Api, account: Found | None, account_id: str, names: set[str], tell: Callable[[str], None]
) -> dict[str, Any]:
    kinds = (Kind.PROVIDER, Kind.GATEWAY, Kind.TOKEN)
    found = find_all(api, [Place(account_id, "", kind) for kind in kinds])
    entry: dict[str, Any] = {"id": account_id}
    if account is not None:
        if account.fields["name"] != account_id:
            entry["name"] = account.fields["name"]
        entry["unified"] = account.fields["unified"]
    entry["providers"] = [_provider(each) for each in _of(found, Kind.PROVIDER)]
    entry["gateways"] = [_gateway(api, each, names) for each in _of(found, Kind.GATEWAY)]
    entry["tokens"] = _tokens(_of(found, Kind.TOKEN), names, tell)
    return entry


def _of(found: Iterable[Found], kind: Kind) -> list[Found]:
    return sorted((each for each in found if each.place.kind is kind), key=lambda each: each.name)


def _provider(found: Found) -> dict[str, Any]:
    usual = {"beta": False, "position": 0, "name": found.name}
    values = {
        name: value
        for name, value in found.fields.items()
        if value not in ("", {}) and value != usual.get(name, ...)
    }
    return {"slug": found.name, **values}


def _gateway(api: Api, found: Found, names: set[str]) -> dict[str, Any]:
    usual = fields.gateway_fields(Gateway(id="usual"))
    entry = {"id": found.name}
    entry |= {name: found.fields[name] for name in GATEWAY_FIELDS if found.fields[name] != usual[name]}
    account = found.place.account
    inside = find_all(api, [Place(account, found.name, kind) for kind in (Kind.KEY, Kind.ROUTE)])
    # As they are listed, which is the order of a pool.
    keys = [_key(each, names) for each in inside if each.place.kind is Kind.KEY]
    routes = [{"name": each.name, **each.fields} for each in _of(inside, Kind.ROUTE)]
    return {**entry, "keys": keys, "routes": routes}


def _key(found: Found, names: set[str]) -> dict[str, Any]:
    provider, _, alias = found.name.partition("/")
    values = found.fields
    entry: dict[str, Any] = {"provider": provider}
    if alias != "default":
        entry["alias"] = alias
    if values["default_config"] != (alias == "default"):
        entry["default_config"] = values["default_config"]
    if values["ref"] == fields.SEALED:
        entry["secret"] = {"env": _variable(found, names)}
    else:
        entry["ref"] = values["ref"]
    if values["weight"] != 1:
        entry["weight"] = values["weight"]
    if values["rate_limit"] is not None:
        entry |= {name: values[name] for name in ("rate_limit", "rate_limit_period")}
    return entry


def _variable(found: Found, names: set[str]) -> str:
    """Name the variable that a key is to come from, each another."""
    parts = [found.place.gateway, *found.name.split("/")]
    base = re.sub(r"[^A-Z0-9]+", "_", "_".join(part for part in parts if part != "default").upper())
    base = f"{base}_KEY" if not base[:1].isdigit() else f"KEY_{base}"
    return _another(base, "_", names)


def _another(base: str, between: str, names: set[str]) -> str:
    """Give a name that nothing else in the file has."""
    name, number = base, 2
    while name in names:
        name, number = f"{base}{between}{number}", number + 1
    names.add(name)
    return name


def _tokens(tokens: list[Found], names: set[str], tell: Callable[[str], None]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for each in tokens:
        counts[each.name] = counts.get(each.name, 0) + 1
    entries = []
    for each in tokens:
        if "operator" in each.fields["permissions"]:
            tell(f"The operator's token {each.name} is left out.")
        elif counts[each.name] > 1:
            tell(f"The token {each.name} is left out: there are {counts[each.name]} of that name.")
        else:
            entries.append(_token(each, names))
    return entries


def _token(found: Found, names: set[str]) -> dict[str, Any]:
    values = {name: found.fields[name] for name in _TOKEN_FIELDS if found.fields[name]}
    file = re.sub(r"[^A-Za-z0-9_.-]+", "-", found.name).strip(".-") or "unnamed"
    return {"name": found.name, **values, "write_to": f"{_another(file, '-', names)}.token"}
