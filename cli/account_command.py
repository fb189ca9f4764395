"""`headrace account`: lists and changes accounts. For the operator."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.api import path_of
from cli.options import AsJson, Url, Yes
from cli.output import confirm, note, print_json, print_object, print_table
from cli.rpc import fail
from cli.session import connect

app = typer.Typer(no_args_is_help=True, help="See and change accounts; for the operator.")

AccountId = Annotated[str, typer.Argument(help="Id of the account.", metavar="ACCOUNT")]
Name = Annotated[str | None, typer.Option("--name", "-n", help="Name for people.")]
Unified = Annotated[
    bool | None,
    typer.Option("--unified/--no-unified", help="Use the operator's own keys where there is no other."),
]


@app.command("list")
def list_accounts(*, url: Url = "", as_json: AsJson = False) -> None:
    """List the accounts that the token may see."""
    found = connect(url).api.pages("/accounts")
    if as_json:
        print_json(found)
        return
    columns = ("id", "name", "unified", "created_on")
    print_table(columns, [[each.get(name) for name in columns] for each in found])


@app.command()
def get(account: AccountId, *, url: Url = "", as_json: AsJson = False) -> None:
    """Show an account."""
    found = connect(url).api.get(path_of("accounts", account))
    if as_json:
        print_json(found)
    else:
        print_object(found)


@app.command()
def create(
    account: AccountId,
    *,
    name: Name = None,
    unified: Unified = None,
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Make an account."""
    made = connect(url).api.post(
        "/accounts", {"id": account, "name": account, **_given(name, unified=unified)}
    )
    note(f"The account {account} is there.")
    if as_json:
        print_json(made)


@app.command()
def update(
    account: AccountId,
    *,
    name: Name = None,
    unified: Unified = None,
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Change what is named of an account; everything else stays as it is."""
    changes = _given(name, unified=unified)
    if not changes:
        fail("There is nothing to change: say --name, --unified or --no-unified.", status=2)
    api = connect(url).api
    current = api.get(path_of("accounts", account))
    kept = {field: current[field] for field in ("name", "unified") if field in current}
    changed = api.put(path_of("accounts", account), {**kept, **changes})
    note(f"The account {account} is changed.")
    if as_json:
        print_json(changed)


@app.command()
def delete(account: AccountId, *, url: Url = "", yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete an account with its gateways, their routes and keys, its custom providers and its tokens."""
    lost = "its gateways with their routes and keys, its custom providers and its tokens"
    confirm(f"Delete the account {account} for ever, with {lost}?", yes=yes)
    deleted = connect(url).api.delete(path_of("accounts", account))
    note(f"The account {account} is deleted.")
    if as_json:
        print_json(deleted)


def _given(name: str | None, *, unified: bool | None) -> dict[str, Any]:
    return {key: value for key, value in (("name", name), ("unified", unified)) if value is not None}
