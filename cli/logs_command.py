"""`headrace logs`: shows what was recorded of requests."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.log_tail import LogTail
from cli.options import Url
from cli.rpc import fail
from cli.session import complete_gateway, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    no_args_is_help=True, help="See which requests were made, how they ended and what they cost."
)

_FOLLOW_S: Final = 0.5


@app.callback()
def _group() -> None:
    # Without a callback, typer would make the only command the group itself.
    pass


@app.command()
def tail(
    *,
    count: Annotated[
        int, typer.Option("-n", "--lines", min=0, max=1000, help="How many of the latest.")
    ] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is recorded from now on.")
    ] = False,
    gateway: Annotated[
        str, typer.Option("--gateway", help="Only of this gateway.", autocompletion=complete_gateway)
    ] = "",
    account: Annotated[
        list[str],
        typer.Option(
            "--account", help="Account; repeatable. Default: HEADRACE_ACCOUNT, `local`.", show_default=False
        ),
    ] = [],  # noqa: B006  # typer reads it, nobody writes it
    all_accounts: Annotated[
        bool, typer.Option("--all-accounts", help="Of every account that the token may see.")
    ] = False,
    url: Url = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print the latest log entries, oldest first."""
    if account and all_accounts:
        fail("Say either --account or --all-accounts.", status=2)
    session = connect(url)
    accounts = [] if all_accounts else account or [session.account]
    several = all_accounts or len(accounts) > 1
    if not as_json:
        typer.echo(_heading(account=several, gateway=not gateway))
    try:
        for entry in _entries(LogTail(session.api, accounts, gateway), count, follow=follow):
            line = json.dumps(entry) if as_json else row(entry, account=several, gateway=not gateway)
            typer.echo(line)
    except KeyboardInterrupt:
        sys.exit(130)


def _entries(log: LogTail, count: int, *, follow: bool) -> Iterator[dict[str, Any]]:
    yield from log.latest(count)
    while follow:
        found, more = log.newer()
        yield from found
        if not more:
            time.sleep(_FOLLOW_S)


_COLUMNS: Final = (24, 6, 40, 13, 11, 8)
_NAMES: Final = ("time", "status", "model", "tokens", "cost", "ms")
_PLACE: Final = 24


def _aligned(cells: tuple[str, ...]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, _COLUMNS, strict=True)]
    return " ".join(padded)


def _heading(*, account: bool, gateway: bool) -> str:
    place = "/".join(name for name, is_shown in (("account", account), ("gateway", gateway)) if is_shown)
    return " ".join([_aligned(_NAMES), *([f"{place:<{_PLACE}}"] if place else []), "id"])


def row(entry: dict[str, Any], *, account: bool, gateway: bool) -> str:
    """Return an entry as a line for people, with its account and its gateway if they are wanted."""
    flags = [
        word
        for word, is_set in (("cached", entry["cached"]), (entry["error_reason"], True))
        if is_set and word
    ]
    cells = (
        entry["created_at"].replace("T", " ").removesuffix("Z"),
        str(entry["status_code"] or "-"),
        entry["requested_model"] or entry["path"],
        _tokens(entry),
        "-" if entry["cost"] is None else f"${entry['cost']:.6f}",
        str(entry["duration"]),
    )
    named = (("account_id", account), ("gateway_id", gateway))
    place = "/".join(entry[name] for name, is_shown in named if is_shown)
    return " ".join([_aligned(cells), *([f"{place:<{_PLACE}}"] if place else []), entry["id"], *flags])


def _tokens(entry: dict[str, Any]) -> str:
    # Not known is not zero.
    counts = [entry["tokens_in"], entry["tokens_out"]]
    if counts == [None, None]:
        return "-"
    return "+".join("?" if count is None else str(count) for count in counts)
