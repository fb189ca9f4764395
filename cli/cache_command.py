"""`headrace cache`: forgets kept answers."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Account, Url, Yes
from cli.output import confirm, note
from cli.rpc import fail
from cli.session import complete_gateway, connect

app = typer.Typer(no_args_is_help=True, help="Forget kept answers.")


@app.callback()
def cache() -> None:
    """Forget kept answers."""


@app.command()
def purge(
    gateway: Annotated[
        str | None,
        typer.Argument(
            help="Id of the gateway. Left out: all gateways of the account.",
            autocompletion=complete_gateway,
            metavar="[GATEWAY]",
            show_default=False,
        ),
    ] = None,
    *,
    provider: Annotated[
        str | None, typer.Option("--provider", help="Only what this one answered, such as `openai`.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Only the answers under this key (`cf-aig-cache-key`).")
    ] = None,
    account: Account = "",
    url: Url = "",
    yes: Yes = False,
) -> None:
    """
    Forget kept answers, and those that are being fetched now.

    It is done at once, however many they are; the room that they take is free when their time is over.
    """
    if "" in (gateway, provider, key):
        # A shell's variable that is not set, most likely: everything is not what was meant.
        fail("Give a name, or leave it out: an empty one does not stand for all.", status=2)
    if key and not gateway:
        fail("A key is one of a gateway: name the gateway as well.", status=2)
    if key and provider:
        fail("Give --key or --provider, not both.", status=2)
    session = connect(url, account)
    where = f"the gateway {gateway} of {session.account}" if gateway else f"all gateways of {session.account}"
    what = (
        f"the answers under {key!r}" if key else f"the answers of {provider}" if provider else "all answers"
    )
    if not (key or provider):
        confirm(f"Forget {what} of {where}?", yes=yes)
    path = session.gateway(gateway, "cache") if gateway else session.path("ai-gateway", "cache")
    session.api.delete(path, {"provider": provider, "key": key})
    note(f"Forgot {what} of {where}.")
