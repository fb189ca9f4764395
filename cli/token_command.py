"""`headrace token`: makes, lists and revokes tokens."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.durations import parse_duration
from cli.rpc import TIMEOUT_S, channel, fail, run, runtime_of

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from headrace.auth.v1 import auth_service_pb2 as pb
    from kit.runtime_config import RuntimeConfig

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens.")


class PermissionName(StrEnum):
    """What a token may do, as the command line says it."""

    RUN = "run"
    READ = "read"
    EDIT = "edit"
    WORKERS_AI_READ = "workers-ai-read"


_NO_TERMINAL_WIDTH = 1000
_ENUM_NAMES = {
    PermissionName.RUN: "PERMISSION_AI_GATEWAY_RUN",
    PermissionName.READ: "PERMISSION_AI_GATEWAY_READ",
    PermissionName.EDIT: "PERMISSION_AI_GATEWAY_EDIT",
    PermissionName.WORKERS_AI_READ: "PERMISSION_WORKERS_AI_READ",
}

Account = Annotated[str, typer.Option("--account", help="Account. Default: HEADRACE_ACCOUNT, `local`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="What it is for, in your words.")],
    permission: Annotated[
        list[PermissionName],
        typer.Option("--permission", "-p", help="What it may do; repeat for several.", show_default="run"),
    ] = [],  # noqa: B006  # typer reads it, nobody writes it
    gateway: Annotated[list[str], typer.Option("--gateway", help="Only with this gateway; repeatable.")] = [],  # noqa: B006
    provider: Annotated[list[str], typer.Option("--provider", help="Only this provider; repeatable.")] = [],  # noqa: B006
    model: Annotated[
        list[str], typer.Option("--model", help="Only this model, as provider/model; repeatable.")
    ] = [],  # noqa: B006
    expires_in: Annotated[
        str, typer.Option("--expires-in", help="How long it works, such as 30d or 12h. Default: for ever.")
    ] = "",
    account: Account = "",
    as_json: AsJson = False,
) -> None:
    """Make a token and print it. It is shown this once and kept nowhere."""
    from headrace.auth.v1 import auth_service_pb2 as pb

    runtime = runtime_of(os.environ)
    request = pb.CreateTokenRequest(
        account_id=account or runtime.account,
        name=name,
        permissions=[pb.Permission.Value(_ENUM_NAMES[each]) for each in permission],
        restrictions=pb.Restrictions(gateway_ids=gateway, providers=provider, models=model),
    )
    if expires_in:
        request.expire_time.FromDatetime(_expiry_after(expires_in))
    answer = run(_call(runtime, "CreateToken", request))
    if as_json:
        typer.echo(json.dumps({"token": _plain(answer.token), "secret": answer.secret}, indent=2))
        return
    typer.echo(answer.secret)
    typer.echo(
        f"Token {answer.token.id} ({_permissions(answer.token)}; {_expiry(answer.token)}). "
        "Keep it now: it cannot be shown again.",
        err=True,
    )


@app.command("list")
def list_tokens(*, account: Account = "", as_json: AsJson = False) -> None:
    """List the tokens of an account, newest first. Secrets are not among what is kept."""
    runtime = runtime_of(os.environ)
    tokens = run(_list(runtime, account or runtime.account))
    if as_json:
        typer.echo(json.dumps([_plain(token) for token in tokens], indent=2))
        return
    _print_table(tokens)


@app.command()
def revoke(
    *,
    token_id: Annotated[str, typer.Argument(help="Its id, as `headrace token list` shows it, or the token.")],
    account: Account = "",
    as_json: AsJson = False,
) -> None:
    """Revoke a token. It stops working everywhere within a second."""
    from headrace.auth.v1 import auth_service_pb2 as pb

    runtime = runtime_of(os.environ)
    request = pb.RevokeTokenRequest(account_id=account or runtime.account, token_id=public_part(token_id))
    answer = run(_call(runtime, "RevokeToken", request))
    if as_json:
        typer.echo(json.dumps(_plain(answer.token), indent=2))
        return
    typer.echo(f"Token {answer.token.id} ({answer.token.name}) is revoked.")


def public_part(text: str) -> str:
    """Return the id in a token, or the id itself."""
    parts = text.strip().split("_", 2)
    return parts[1] if len(parts) > 1 and parts[0] == "hr" else text.strip()


def _expiry_after(text: str) -> datetime:
    try:
        return datetime.now(UTC) + parse_duration(text)
    except ValueError as error:
        fail(f"--expires-in: {error}", status=2)


async def _call(runtime: RuntimeConfig, method: str, request: Any) -> Any:
    from headrace.auth.v1.auth_service_pb2_grpc import TokenServiceStub

    async with channel("auth", runtime) as opened:
        return await getattr(TokenServiceStub(opened), method)(request, timeout=TIMEOUT_S)


async def _list(runtime: RuntimeConfig, account_id: str) -> list[pb.Token]:
    from headrace.auth.v1 import auth_service_pb2 as pb

    tokens: list[pb.Token] = []
    page_token = ""
    while True:
        request = pb.ListTokensRequest(account_id=account_id, page_size=1000, page_token=page_token)
        answer = await _call(runtime, "ListTokens", request)
        tokens += answer.tokens
        page_token = answer.next_page_token
        if not page_token:
            return tokens


def _print_table(tokens: list[pb.Token]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("id", "name", "permissions", "only", "made", "state", box=None, pad_edge=False)
    for token in tokens:
        only = [*token.restrictions.gateway_ids, *token.restrictions.providers, *token.restrictions.models]
        made = _moment(token.create_time) or ""
        table.add_row(token.id, token.name, _permissions(token), ", ".join(only), made, _state(token))
    # Cut to a terminal's width, but never where another program reads it.
    Console(width=None if sys.stdout.isatty() else _NO_TERMINAL_WIDTH).print(table)


def _plain(token: pb.Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "account_id": token.account_id,
        "name": token.name,
        "permissions": _permission_names(token),
        "gateways": list(token.restrictions.gateway_ids),
        "providers": list(token.restrictions.providers),
        "models": list(token.restrictions.models),
        "create_time": _moment(token.create_time),
        "expire_time": _moment(token.expire_time) if token.HasField("expire_time") else None,
        "revoke_time": _moment(token.revoke_time) if token.HasField("revoke_time") else None,
        "state": _state(token),
    }


def _permission_names(token: pb.Token) -> list[str]:
    from headrace.auth.v1 import auth_service_pb2 as pb

    names = {pb.Permission.Value(enum_name): name.value for name, enum_name in _ENUM_NAMES.items()}
    return [names.get(number, str(number)) for number in token.permissions]


def _permissions(token: pb.Token) -> str:
    return ", ".join(_permission_names(token))


def _state(token: pb.Token) -> str:
    if token.HasField("revoke_time"):
        return "revoked"
    if token.HasField("expire_time") and token.expire_time.ToDatetime(UTC) <= datetime.now(UTC):
        return "expired"
    return _expiry(token)


def _expiry(token: pb.Token) -> str:
    return f"until {_moment(token.expire_time)}" if token.HasField("expire_time") else "no expiry"


def _moment(stamp: Timestamp) -> str:
    return f"{stamp.ToDatetime(UTC):%Y-%m-%dT%H:%M:%SZ}"
