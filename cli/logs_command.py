"""`headrace logs`: shows what the ledger recorded."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.rpc import TIMEOUT_S, channel, run, runtime_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.ledger.v1 import log_entry_pb2
    from kit.runtime_config import RuntimeConfig

app = typer.Typer(
    no_args_is_help=True, help="See which requests were made, how they ended and what they cost."
)

_FOLLOW_S: Final = 0.5
_PAGE: Final = 500


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
    gateway: Annotated[str, typer.Option("--gateway", help="Only of this gateway.")] = "",
    account: Annotated[str, typer.Option("--account", help="Account. Default: HEADRACE_ACCOUNT.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print the latest log entries, oldest first."""
    runtime = runtime_of(os.environ)
    run(_print(runtime, account or runtime.account, gateway, count, follow=follow, as_json=as_json))


async def _print(
    runtime: RuntimeConfig, account_id: str, gateway_id: str, count: int, *, follow: bool, as_json: bool
) -> None:
    if not as_json:
        typer.echo(_HEADING)
    async for entry in _entries(runtime, account_id, gateway_id, count, follow=follow):
        typer.echo(json.dumps(plain(entry)) if as_json else row(entry))


async def _entries(
    runtime: RuntimeConfig, account_id: str, gateway_id: str, count: int, *, follow: bool
) -> AsyncIterator[log_entry_pb2.LogEntry]:
    from headrace.ledger.v1 import ledger_service_pb2 as pb
    from headrace.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub

    async with channel("ledger", runtime) as opened:
        ledger: Any = LedgerServiceStub(opened)
        request = pb.ListRequest(account_id=account_id, gateway_id=gateway_id, page_size=max(1, count))
        # One more than asked for nothing: where to go on from is the latest entry even if none is shown.
        latest = await ledger.List(request, timeout=TIMEOUT_S)
        shown = list(reversed(latest.entries))
        for entry in shown[len(shown) - count :] if count else []:
            yield entry
        last_id = shown[-1].id if shown else ""
        while follow:
            request = pb.ListRequest(
                account_id=account_id,
                gateway_id=gateway_id,
                page_size=_PAGE,
                after_id=last_id,
                ascending=True,
            )
            newer = await ledger.List(request, timeout=TIMEOUT_S)
            for entry in newer.entries:
                yield entry
                last_id = entry.id
            if len(newer.entries) < _PAGE:
                await asyncio.sleep(_FOLLOW_S)


_COLUMNS: Final = (24, 6, 40, 13, 11, 8)
_NAMES: Final = ("time", "status", "model", "tokens", "cost", "ms")


def _aligned(cells: tuple[str, ...]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, _COLUMNS, strict=True)]
    return " ".join(padded)


_HEADING: Final = f"{_aligned(_NAMES)} id"


def row(entry: log_entry_pb2.LogEntry) -> str:
    """Return an entry as a line for people."""
    flags = [
        word for word, is_set in (("cached", entry.cached), (entry.error_reason, True)) if is_set and word
    ]
    cells = (
        f"{entry.create_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S.%f}"[:23],
        str(entry.status or "-"),
        entry.requested_model or entry.path,
        _tokens(entry),
        _cost(entry),
        f"{entry.duration.ToTimedelta().total_seconds() * 1000:.0f}",
    )
    return " ".join([_aligned(cells), entry.id, *flags])


def plain(entry: log_entry_pb2.LogEntry) -> dict[str, Any]:
    """Return an entry as JSON has it: every field by its proto name, without bodies."""
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(entry, preserving_proto_field_name=True)
    found.pop("payload", None)
    return found


def _cost(entry: log_entry_pb2.LogEntry) -> str:
    return f"${entry.cost.nano_usd / 1e9:.6f}" if entry.HasField("cost") else "-"


def _tokens(entry: log_entry_pb2.LogEntry) -> str:
    # Not known is not zero.
    usage = entry.usage
    known_in, known_out = usage.HasField("input_tokens"), usage.HasField("output_tokens")
    if not known_in and not known_out:
        return "-"
    return f"{usage.input_tokens if known_in else '?'}+{usage.output_tokens if known_out else '?'}"
