"""`headrace token`: makes, lists, changes and revokes tokens."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.api import path_of
from cli.durations import parse_duration
from cli.options import AsJson, Url, Yes
from cli.output import confirm, hand_over, note, print_json, print_object, print_table
from cli.rpc import fail
from cli.session import Session, connect
from cli.token_body import PermissionName, permissions_of, policies, public_part, request_ip

app = typer.Typer(no_args_is_help=True, help="Make, list, change and revoke tokens.")

Account = Annotated[str, typer.Option("--account", help="Account. Default: HEADRACE_ACCOUNT, `local`.")]
Accounts = Annotated[
    list[str],
    typer.Option("--account", help="Account; repeatable for a user's token. Default: HEADRACE_ACCOUNT."),
]
User = Annotated[str, typer.Option("--user", help="User whose token it is, instead of the account's.")]
TokenId = Annotated[
    str, typer.Argument(help="Its id, as `headrace token list` shows it, or the token.", metavar="TOKEN")
]
Permissions = Annotated[
    list[PermissionName], typer.Option("--permission", "-p", help="What it may do; repeatable.")
]
Gateways = Annotated[list[str], typer.Option("--gateway", help="Only with this gateway; repeatable.")]
Providers = Annotated[list[str], typer.Option("--provider", help="Only this provider; repeatable.")]
Models = Annotated[list[str], typer.Option("--model", help="Only this model, as provider/model; repeatable.")]
Addresses = Annotated[
    list[str], typer.Option("--address", help="Only from this address or network; repeatable.")
]
Forbidden = Annotated[
    list[str], typer.Option("--forbid-address", help="Not from this address or network; repeatable.")
]
NotBefore = Annotated[str, typer.Option("--not-before", help="When it begins to work, as RFC 3339 has it.")]
ExpiresIn = Annotated[
    str, typer.Option("--expires-in", help="How long it works, such as 30d or 12h. Default: for ever.")
]


@app.command()
def create(
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="What it is for, in your words.")],
    permission: Permissions = [PermissionName.RUN],  # noqa: B006  # typer reads it, nobody writes it
    gateway: Gateways = [],  # noqa: B006  # as above
    provider: Providers = [],  # noqa: B006  # as above
    model: Models = [],  # noqa: B006  # as above
    address: Addresses = [],  # noqa: B006  # as above
    forbid_address: Forbidden = [],  # noqa: B006  # as above
    not_before: NotBefore = "",
    expires_in: ExpiresIn = "",
    disable: Annotated[bool, typer.Option("--disable", help="It does not work until it is enabled.")] = False,
    user: User = "",
    account: Accounts = [],  # noqa: B006  # as above
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Make a token and print it. It is shown this once and kept nowhere."""
    end = _expiry_after(expires_in) if expires_in else None
    session = connect(url, _one_account(account, user))
    body = {
        "name": name,
        "policies": policies(permission, account or [session.account]),
        "condition": {"request_ip": {"in": address, "not_in": forbid_address}},
        "not_before": not_before or None,
        "expires_on": end,
        "status": "disabled" if disable else "active",
        "restrictions": {"gateways": gateway, "providers": provider, "models": model},
    }
    made = session.api.post(_base(session, user), body)
    try:
        _show_secret(made, as_json=as_json)
    except OSError as error:
        session.api.delete(_with_user(_one(session, made["id"], user), user))
        fail(f"The token could not be printed ({error.strerror or error}), so it was revoked again.")


@app.command()
def generate() -> None:
    """
    Print a new token that no installation knows, for HEADRACE_AUTH_FIRST_TOKEN.

    Asks nobody and keeps nothing.
    """
    from services.auth.core.token import mint

    hand_over(mint().text.reveal())


@app.command("list")
def list_tokens(*, user: User = "", account: Account = "", url: Url = "", as_json: AsJson = False) -> None:
    """List the tokens of an account or a user, newest first. Secrets are not among what is kept."""
    session = connect(url, account)
    path = "/user/tokens" if user else session.path("tokens")
    found = session.api.pages(path, _query(user))
    if as_json:
        print_json(found)
        return
    columns = ("id", "name", "permissions", "only", "made", "last used", "state")
    print_table(columns, [_row(token) for token in found])


@app.command()
def get(
    token: TokenId, *, user: User = "", account: Account = "", url: Url = "", as_json: AsJson = False
) -> None:
    """Show a token, without its secret."""
    session = connect(url, account)
    found = session.api.get(_one(session, token, user), _query(user))
    if as_json:
        print_json(found)
    else:
        print_object(found)


@app.command()
def update(
    token: TokenId,
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="What it is for, in your words.")] = "",
    permission: Permissions = [],  # noqa: B006  # typer reads it, nobody writes it
    gateway: Gateways = [],  # noqa: B006  # as above
    provider: Providers = [],  # noqa: B006  # as above
    model: Models = [],  # noqa: B006  # as above
    address: Addresses = [],  # noqa: B006  # as above
    forbid_address: Forbidden = [],  # noqa: B006  # as above
    not_before: Annotated[
        str | None, typer.Option("--not-before", help="When it begins to work, as RFC 3339 has it.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="How long it works from now on, such as 30d or 12h.")
    ] = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Switch it on, or off.")] = None,
    user: User = "",
    account: Accounts = [],  # noqa: B006  # as above
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """
    Change what is named of a token; everything else stays as it is, its secret too.

    A list that is named takes the place of the one that was; an empty text takes it away, or a time.
    """
    end = _expiry_after(expires_in) if expires_in else expires_in
    session = connect(url, _one_account(account, user))
    current = session.api.get(_one(session, token, user), _query(user))
    body = _body_of(current)
    if permission:
        body["policies"] = policies(permission, account or list(permissions_of(current)))
    _replace(body["restrictions"], gateways=gateway, providers=provider, models=model)
    _replace(body["condition"]["request_ip"], **{"in": address, "not_in": forbid_address})
    times = {"not_before": not_before, "expires_on": end}
    body |= {field: value or None for field, value in times.items() if value is not None}
    if name:
        body["name"] = name
    if enable is not None:
        body["status"] = "active" if enable else "disabled"
    if body == _body_of(current):
        fail("There is nothing to change: name what is to be different.", status=2)
    changed = session.api.put(_with_user(_one(session, token, user), user), body)
    note(f"Token {changed['id']} ({changed['name']}) is changed.")
    if as_json:
        print_json(changed)


@app.command()
def roll(
    token: TokenId,
    *,
    user: User = "",
    account: Account = "",
    url: Url = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give a token another secret and print it; the one that it had stops working within a second."""
    session = connect(url, account)
    confirm(f"Roll the token {public_part(token)}? What it was stops working.", yes=yes)
    secret = session.api.put(_with_user(f"{_one(session, token, user)}/value", user), {})
    try:
        hand_over(json.dumps(secret) if as_json else secret)
    except OSError as error:
        fail(
            f"The token {public_part(token)} has another secret, which could not be printed "
            f"({error.strerror or error}): nobody has it. Roll it again."
        )
    if not as_json:
        note("Keep it now: it cannot be shown again.")


@app.command()
def revoke(
    token: TokenId,
    *,
    user: User = "",
    account: Account = "",
    url: Url = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Revoke a token for ever. It stops working everywhere within a second."""
    session = connect(url, account)
    path = _one(session, token, user)
    found = session.api.get(path, _query(user))
    confirm(f"Revoke the token {found['id']} ({found['name']}) for ever?", yes=yes)
    deleted = session.api.delete(_with_user(path, user))
    note(f"Token {found['id']} ({found['name']}) is revoked.")
    if as_json:
        print_json(deleted)


@app.command()
def verify(*, account: Account = "", url: Url = "", as_json: AsJson = False) -> None:
    """Ask whether the token that this command presents works on an account."""
    session = connect(url, account)
    found = session.api.get(session.path("tokens", "verify"))
    if as_json:
        print_json(found)
    else:
        typer.echo(f"Token {found['id']} is {found['status']} on {session.account}.")


@app.command()
def permissions(*, account: Account = "", url: Url = "", as_json: AsJson = False) -> None:
    """List what a token can allow."""
    session = connect(url, account)
    found = session.api.get(session.path("tokens", "permission_groups"))
    if as_json:
        print_json(found)
        return
    rows = [(_short(each["name"]), each["name"], each["is_selectable"], each["id"]) for each in found]
    print_table(("permission", "name", "yours to give", "id"), rows)


@app.command()
def recover(*, name: Annotated[str, typer.Option("--name", "-n", help="Its name.")] = "recovered") -> None:
    """
    Make an operator's token without having one, and print it.

    For an operator who lost theirs. Works on the operator's own machine only, where auth's socket is.
    """
    from cli.rpc import run, runtime_of
    from cli.token_recovery import recover as make

    runtime = runtime_of(os.environ)
    made = run(make(runtime, name))
    typer.echo(made.secret)
    note(f"Token {made.token.id} ({name}) of {runtime.account} allows everything. Keep it now.")


def _one_account(accounts: list[str], user: str) -> str:
    if len(accounts) > 1 and not user:
        fail("An account's token is for one account; say --user for a token of several.", status=2)
    return accounts[0] if accounts else ""


def _base(session: Session, user: str) -> str:
    return _with_user("/user/tokens", user) if user else session.path("tokens")


def _one(session: Session, token: str, user: str) -> str:
    token_id = public_part(token)
    return path_of("user", "tokens", token_id) if user else session.path("tokens", token_id)


def _query(user: str) -> dict[str, str]:
    return {"user_id": user} if user else {}


def _with_user(path: str, user: str) -> str:
    from urllib.parse import urlencode

    return f"{path}?{urlencode(_query(user))}" if user else path


def _body_of(token: dict[str, Any]) -> dict[str, Any]:
    """Give the body that would leave a token as it is."""
    restrictions = {name: list(names) for name, names in token["restrictions"].items()}
    groups = [
        {
            "effect": policy["effect"],
            "permission_groups": [{"id": group["id"]} for group in policy["permission_groups"]],
            "resources": policy["resources"],
        }
        for policy in token["policies"]
    ]
    return {
        "name": token["name"],
        "policies": groups,
        "condition": {"request_ip": request_ip(token)},
        "not_before": token["not_before"],
        "expires_on": token["expires_on"],
        "status": "disabled" if token["status"] == "disabled" else "active",
        "restrictions": restrictions,
    }


def _replace(target: dict[str, list[str]], **lists: list[str]) -> None:
    target.update({name: [each for each in names if each] for name, names in lists.items() if names})


def _expiry_after(text: str) -> str:
    try:
        return f"{datetime.now(UTC) + parse_duration(text):%Y-%m-%dT%H:%M:%SZ}"
    except ValueError as error:
        fail(f"--expires-in: {error}", status=2)


def _show_secret(made: dict[str, Any], *, as_json: bool) -> None:
    hand_over(json.dumps(made, indent=2, ensure_ascii=False) if as_json else made["value"])
    allowed = ", ".join(dict.fromkeys(name for names in permissions_of(made).values() for name in names))
    note(f"Token {made['id']} ({allowed}; {_state(made)}). Keep it now: it cannot be shown again.")


def _row(token: dict[str, Any]) -> list[Any]:
    by_account = permissions_of(token)
    several = len(by_account) > 1
    allowed = "; ".join(
        f"{account}: {', '.join(names)}" if several else ", ".join(names)
        for account, names in by_account.items()
    )
    networks = request_ip(token)
    only = [name for names in token["restrictions"].values() for name in names]
    only += [*networks["in"], *(f"not {each}" for each in networks["not_in"])]
    return [
        token["id"], token["name"], allowed, only, token["issued_on"], token["last_used_on"], _state(token),
    ]  # fmt: skip


def _state(token: dict[str, Any]) -> str:
    if token["status"] != "active":
        return str(token["status"])
    start, end = token["not_before"], token["expires_on"]
    words = [*([f"from {start}"] if start else []), *([f"until {end}"] if end else [])]
    return " ".join(words) or "no expiry"


def _short(name: str) -> str:
    sample = {
        "policies": [{"permission_groups": [{"name": name}], "resources": {"": "*"}}],
    }
    return permissions_of(sample)[""][0]
