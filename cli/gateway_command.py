"""`headrace gateway`: lists and changes gateways."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import gateway_fields
from cli.document import apply_sets, read_document
from cli.options import Account, AsJson, FromFile, GatewayId, Sets, Url, Yes
from cli.output import confirm, note, print_json, print_object, print_table
from cli.rpc import fail
from cli.session import connect

app = typer.Typer(no_args_is_help=True, help="See and change gateways.")

_COLUMNS = ("id", "authentication", "cache_ttl", "collect_logs", "rate_limiting_limit", "modified_at")


@app.command("list")
def list_gateways(
    *,
    search: Annotated[str, typer.Option("--search", help="Only those with this in their id.")] = "",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """List the gateways of an account."""
    session = connect(url, account)
    found = session.api.pages(session.path("ai-gateway", "gateways"), {"search": search})
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [[each[name] for name in _COLUMNS] for each in found])


@app.command()
def get(gateway: GatewayId, *, account: Account = "", url: Url = "", as_json: AsJson = False) -> None:
    """Show a gateway."""
    session = connect(url, account)
    _show(session.api.get(session.gateway(gateway)), as_json=as_json)


@app.command()
@gateway_fields.with_options
def create(
    gateway: GatewayId,
    *,
    from_file: FromFile = None,
    sets: Sets = [],  # noqa: B006  # typer reads it, nobody writes it
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
    **fields: Any,
) -> None:
    """Make a gateway. Fields that are objects, such as `spend_limits`, come by --set or --from-file."""
    body = {**gateway_fields.NEW, **_from(from_file), **gateway_fields.given(fields), "id": gateway}
    apply_sets(body, sets)
    session = connect(url, account)
    made = session.api.post(session.path("ai-gateway", "gateways"), body)
    note(f"The gateway {gateway} is there.")
    if as_json:
        print_json(made)


@app.command()
@gateway_fields.with_options
def update(
    gateway: GatewayId,
    *,
    from_file: FromFile = None,
    sets: Sets = [],  # noqa: B006  # typer reads it, nobody writes it
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
    **fields: Any,
) -> None:
    """Change what is named of a gateway; everything else stays as it is."""
    changes = {**_from(from_file), **gateway_fields.given(fields)}
    if not changes and not sets:
        fail("There is nothing to change: name a field, or use --set or --from-file.", status=2)
    session = connect(url, account)
    current = session.api.get(session.gateway(gateway))
    body = {name: value for name, value in current.items() if name not in gateway_fields.READ_ONLY}
    body.update(changes)
    apply_sets(body, sets)
    changed = session.api.put(session.gateway(gateway), body)
    note(f"The gateway {gateway} is changed.")
    if as_json:
        print_json(changed)


@app.command()
def delete(
    gateway: GatewayId, *, account: Account = "", url: Url = "", yes: Yes = False, as_json: AsJson = False
) -> None:
    """Delete a gateway with its routes and keys."""
    session = connect(url, account)
    confirm(f"Delete the gateway {gateway} of {session.account}, with its routes and keys?", yes=yes)
    deleted = session.api.delete(session.gateway(gateway))
    note(f"The gateway {gateway} is deleted.")
    if as_json:
        print_json(deleted)


@app.command("url")
def show_url(
    gateway: GatewayId,
    provider: Annotated[
        str, typer.Argument(help="Provider, `compat` or `universal`.", show_default=True)
    ] = "universal",
    *,
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Print where a provider's API is through a gateway."""
    session = connect(url, account)
    found = session.api.get(session.gateway(gateway, "url", provider))
    if as_json:
        print_json(found)
    else:
        typer.echo(found)


def _show(gateway: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(gateway)
    else:
        print_object(gateway)


def _from(path: Any) -> dict[str, Any]:
    if path is None:
        return {}
    found = read_document(path)
    if not isinstance(found, dict):
        fail(f"{path} holds no object with fields of a gateway.", status=2)
    return {name: value for name, value in found.items() if name not in gateway_fields.READ_ONLY}
