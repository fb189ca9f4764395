"""Options that many commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.session import complete_gateway

__all__ = ["Account", "AsJson", "FromFile", "Gateway", "GatewayId", "Sets", "Url", "Yes"]

Account = Annotated[
    str, typer.Option("--account", help="Account. Default: HEADRACE_ACCOUNT, `local`.", show_default=False)
]
Url = Annotated[
    str,
    typer.Option("--url", help="Where Headrace answers. Default: HEADRACE_URL, else this machine."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's result as JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
FromFile = Annotated[
    Path | None,
    typer.Option("--from-file", "-f", help="YAML or JSON file to take it from; `-` is standard input."),
]
Sets = Annotated[
    list[str],
    typer.Option("--set", help="Any field as `path=JSON`, such as `retry_delay=null`; repeatable."),
]
GatewayId = Annotated[
    str, typer.Argument(help="Id of the gateway.", autocompletion=complete_gateway, metavar="GATEWAY")
]
Gateway = Annotated[
    str,
    typer.Option("--gateway", "-g", help="Id of the gateway.", autocompletion=complete_gateway),
]
