"""`headrace vault`: shows under which master keys stored keys are sealed, and changes the master key."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.rpc import TIMEOUT_S, channel, run, runtime_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from headrace.auth.v1 import vault_pb2 as pb
    from kit.runtime_config import RuntimeConfig

app = typer.Typer(no_args_is_help=True, help="Look after the master key that stored keys are sealed under.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# A step seals a few keys; this is for the whole of a large vault, which may be broken off and begun again.
_LONGEST_S: Final = 3600.0


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show the master keys that there are, by public name, and how many keys are sealed under each."""
    found = run(_status(runtime_of(os.environ)))
    if as_json:
        typer.echo(json.dumps(plain(found.master_key_ids, found.sealed_counts), indent=2))
        return
    for line in lines(found.master_key_ids, found.sealed_counts):
        typer.echo(line)


@app.command()
def rotate(
    *,
    generate: Annotated[
        bool,
        typer.Option(
            "--generate/--no-generate",
            help="Make a new master key first, or rotate to the one that is first in HEADRACE_MASTER_KEY.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """
    Seal all stored keys under a new master key.

    Everything goes on meanwhile. Ctrl-C at any point does no harm: run it again, and it goes on.
    """
    last = run(_rotate(runtime_of(os.environ), generate=generate, quiet=as_json))
    if as_json:
        typer.echo(json.dumps({"master_key_id": last.master_key_id, "sealed": last.done_count}, indent=2))
        return
    typer.echo(f"{_keys(last.done_count)} sealed under the master key {last.master_key_id}.")


def plain(ids: Any, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the state of the vault as JSON has it."""
    return {
        "master_keys": [{"id": name, "sealed": counts.get(name, 0), "known": True} for name in ids]
        + [{"id": name, "sealed": counts[name], "known": False} for name in sorted(set(counts) - set(ids))]
    }


def lines(ids: Any, counts: Mapping[str, int]) -> list[str]:
    """Return the state of the vault for people, newest master key first."""
    known = [f"{name}  {_keys(counts.get(name, 0))}{'' if at else '  newest'}" for at, name in enumerate(ids)]
    missing = [
        f"{name}  {_keys(counts[name])}  MISSING: put this master key back" for name in set(counts) - set(ids)
    ]
    return [*known, *sorted(missing)] or ["There is no master key."]


def _keys(count: int) -> str:
    return "1 key" if count == 1 else f"{count} keys"


async def _status(runtime: RuntimeConfig) -> pb.GetVaultResponse:
    from headrace.auth.v1 import vault_pb2 as pb
    from headrace.auth.v1.vault_pb2_grpc import VaultServiceStub

    async with channel("auth", runtime) as opened:
        vault: Any = VaultServiceStub(opened)
        found: pb.GetVaultResponse = await vault.GetVault(pb.GetVaultRequest(), timeout=TIMEOUT_S)
        return found


async def _rotate(runtime: RuntimeConfig, *, generate: bool, quiet: bool) -> pb.RotateMasterKeyResponse:
    from headrace.auth.v1 import vault_pb2 as pb
    from headrace.auth.v1.vault_pb2_grpc import VaultServiceStub

    async with channel("auth", runtime) as opened:
        vault: Any = VaultServiceStub(opened)
        request = pb.RotateMasterKeyRequest(generate=generate)
        last: pb.RotateMasterKeyResponse = await _shown(
            vault.RotateMasterKey(request, timeout=_LONGEST_S), quiet=quiet
        )
        return last


async def _shown(steps: AsyncIterator[pb.RotateMasterKeyResponse], *, quiet: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    last = None
    # On standard error, so that what is printed at the end can be read by a program.
    columns = (TextColumn("sealing"), BarColumn(), MofNCompleteColumn())
    hidden = quiet or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task("sealing", total=None)
        async for last in steps:
            bar.update(task, completed=last.done_count, total=last.total_count)
    return last
