"""`headrace key`: lists and changes the provider keys that an account keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Account, AsJson, Gateway, Url, Yes
from cli.output import confirm, note, print_json, print_table
from cli.rpc import fail
from cli.secret_source import secret_body
from cli.session import Session, connect

app = typer.Typer(no_args_is_help=True, help="See and change stored provider keys.")

_COLUMNS = ("provider_slug", "alias", "key", "weight", "rate_limit", "status", "last_used_at", "id")

Key = Annotated[
    str,
    typer.Argument(help="Its id, or `provider` or `provider/alias` where that is one key.", metavar="KEY"),
]
FromFile = Annotated[Path | None, typer.Option("--from-file", help="File that holds the key.")]
FromEnv = Annotated[str, typer.Option("--from-env", help="Variable that holds the key.")]
Ref = Annotated[str, typer.Option("--ref", help="Where the server finds it: `vault:…`, `file:…` or `env:…`.")]
Alias = Annotated[str | None, typer.Option("--alias", help="Name by which requests choose it.")]
Weight = Annotated[int | None, typer.Option("--weight", help="Share of requests in its pool, 1 to 1000.")]
RateLimit = Annotated[int | None, typer.Option("--rate-limit", help="Most requests; 0: any number.")]
RatePeriod = Annotated[
    int | None, typer.Option("--rate-limit-period", help="Seconds in which the limit counts.")
]
Default = Annotated[
    bool | None, typer.Option("--default/--no-default", help="Whether it is the provider's usual one.")
]


@app.command("list")
def list_keys(
    *, gateway: Gateway = "default", account: Account = "", url: Url = "", as_json: AsJson = False
) -> None:
    """List the keys of a gateway. The keys themselves are never shown."""
    session = connect(url, account)
    found = session.api.pages(_base(session, gateway))
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [_row(each) for each in found])


@app.command()
def add(
    provider: Annotated[str, typer.Argument(help="Provider whose key it is, such as `openai`.")],
    *,
    gateway: Gateway = "default",
    alias: Alias = "default",
    from_file: FromFile = None,
    from_env: FromEnv = "",
    ref: Ref = "",
    weight: Weight = None,
    rate_limit: RateLimit = None,
    rate_limit_period: RatePeriod = None,
    default: Default = None,
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """
    Keep a key.

    It is read from standard input, or asked for on a terminal, unless an option says where it is.
    """
    body = {
        "provider_slug": provider,
        "default_config": alias == "default",
        **_given(alias, weight, rate_limit, rate_limit_period, default=default),
        **secret_body(from_file=from_file, from_env=from_env, ref=ref),
    }
    session = connect(url, account)
    made = session.api.post(_base(session, gateway), body)
    note(f"The key {provider}/{made['alias']} is kept as {made['id']}.")
    if as_json:
        print_json(made)


@app.command()
def update(
    key: Key,
    *,
    gateway: Gateway = "default",
    alias: Alias = None,
    weight: Weight = None,
    rate_limit: RateLimit = None,
    rate_limit_period: RatePeriod = None,
    default: Default = None,
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Change what is kept about a key; the key itself stays."""
    changes = _given(alias, weight, rate_limit, rate_limit_period, default=default)
    if not changes:
        fail("There is nothing to change: say --alias, --weight, --rate-limit or --default.", status=2)
    session = connect(url, account)
    _change(session, gateway, key, changes, done="changed", as_json=as_json)


@app.command()
def rotate(
    key: Key,
    *,
    gateway: Gateway = "default",
    from_file: FromFile = None,
    from_env: FromEnv = "",
    ref: Ref = "",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Put another key in a key's place; it is used from then on."""
    body = secret_body(from_file=from_file, from_env=from_env, ref=ref)
    session = connect(url, account)
    _change(session, gateway, key, body, done="rotated", as_json=as_json)


@app.command()
def delete(
    key: Key,
    *,
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a key."""
    session = connect(url, account)
    found = _find(session, gateway, key)
    name = f"{found['provider_slug']}/{found['alias']}"
    confirm(f"Delete the key {name} ({found['id']}) of the gateway {gateway}?", yes=yes)
    deleted = session.api.delete(session.gateway(gateway, "provider_configs", found["id"]))
    note(f"The key {name} is deleted.")
    if as_json:
        print_json(deleted)


def _base(session: Session, gateway: str) -> str:
    return session.gateway(gateway, "provider_configs")


def _change(
    session: Session, gateway: str, key: str, body: dict[str, Any], *, done: str, as_json: bool
) -> None:
    found = _find(session, gateway, key)
    changed = session.api.put(session.gateway(gateway, "provider_configs", found["id"]), body)
    note(f"The key {changed['provider_slug']}/{changed['alias']} is {done}.")
    if as_json:
        print_json(changed)


def _find(session: Session, gateway: str, key: str) -> dict[str, Any]:
    provider, _, alias = key.partition("/")
    everything = session.api.pages(_base(session, gateway))
    found = [each for each in everything if each["id"] == key] or [
        each
        for each in everything
        if each["provider_slug"] == provider and (not alias or each["alias"] == alias)
    ]
    if not found:
        fail(f"The gateway {gateway} has no key {key!r}.")
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        fail(f"{key} is several keys of the gateway {gateway}; say which by its id: {ids}.")
    return dict(found[0])


def _row(key: dict[str, Any]) -> list[Any]:
    kept_here = key["secret_id"] == key["id"]
    shown = f"…{key['secret_preview']}" if kept_here else key["secret_id"]
    return [shown if name == "key" else key[name] for name in _COLUMNS]


def _given(
    alias: str | None,
    weight: int | None,
    rate_limit: int | None,
    rate_limit_period: int | None,
    *,
    default: bool | None,
) -> dict[str, Any]:
    values = {
        "alias": alias,
        "weight": weight,
        "rate_limit": rate_limit,
        "rate_limit_period": rate_limit_period,
        "default_config": default,
    }
    return {name: value for name, value in values.items() if value is not None}
