"""
The `headrace` command.

Commands import what they need when they are called, so that `--help` and `version` are quick.
"""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.main import get_command_name

from cli import (
    account_command,
    apply_command,
    audit_command,
    cache_command,
    doctor_command,
    gateway_command,
    key_command,
    logs_command,
    migrate_command,
    provider_command,
    restart_command,
    route_command,
    token_command,
    vault_command,
)
from cli.telling import TellingGroup

if TYPE_CHECKING:
    from typer.models import CommandInfo

app = typer.Typer(
    name="headrace",
    cls=TellingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A self-hosted AI gateway. Begin with `headrace up`.",
    epilog="Settings come from HEADRACE_* variables: docs/configuration.md lists them all.",
)
app.add_typer(account_command.app, name="account")
app.add_typer(gateway_command.app, name="gateway")
app.add_typer(cache_command.app, name="cache")
app.add_typer(provider_command.app, name="provider")
app.add_typer(key_command.app, name="key")
app.add_typer(route_command.app, name="route")
app.add_typer(token_command.app, name="token")
app.add_typer(vault_command.app, name="vault")
app.add_typer(audit_command.app, name="audit")
app.add_typer(logs_command.app, name="logs")
app.command()(apply_command.apply)
app.command()(apply_command.export)
app.command()(apply_command.schema)
app.command("doctor")(doctor_command.doctor)
app.command()(migrate_command.migrate)

app.command("restart-envoy")(restart_command.restart_envoy)

Files = Annotated[
    list[Path],
    typer.Option(
        "--file", "-f", help="File or directory to apply when ready, and whenever it changes; repeatable."
    ),
]


@app.command()
def up(
    *,
    inline: Annotated[
        bool, typer.Option("--inline", help="All services in one process: less memory and CPU.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=64, help="How many edges. Default: HEADRACE_WORKERS, 1."),
    ] = None,
    no_envoy: Annotated[
        bool, typer.Option("--no-envoy", help="The edge listens on the ports itself.")
    ] = False,
    no_local_model: Annotated[
        bool, typer.Option("--no-local-model", help="Do without the model on this machine.")
    ] = False,
    files: Files = [],  # noqa: B006  # typer reads it, nobody writes it
) -> None:
    """
    Start everything and keep it running until Ctrl-C.

    A process that dies is started again. Data lies in HEADRACE_DATA_DIR (`.headrace`); the first start writes
    a token to the file `token` there.
    """
    from cli.up import up as start

    local_model = not no_local_model and _wants_local_model()
    sys.exit(
        start(
            os.environ,
            inline=inline,
            workers=workers,
            with_envoy=not no_envoy,
            local_model=local_model,
            files=files,
        )
    )


def _wants_local_model() -> bool:
    return os.environ.get("HEADRACE_LOCAL_ENABLED", "").strip().lower() not in {"0", "false", "no", "off"}


@app.command()
def serve(
    target: Annotated[
        str, typer.Argument(help="auth, router, cache, ledger, providers, edge, all, or envoy.")
    ],
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Provider to serve, with `providers`; repeatable.")
    ] = None,
) -> None:
    """Run one service in the foreground, as a container does."""
    from cli.config import service_environment
    from services.__main__ import main as serve_target

    arguments = [target, *(["--only", *only] if only else [])]
    sys.exit(serve_target(arguments, service_environment(os.environ)))


@app.command()
def version() -> None:
    """Print the version."""
    from kit.version import VERSION

    typer.echo(f"headrace {VERSION}")


def main() -> None:
    """Run the command line."""
    _without_others(sys.argv[1] if len(sys.argv) > 1 else "")(prog_name="headrace")


def _without_others(name: str) -> typer.Typer:
    """Leave out what was not asked for: Typer builds every command, a fifth of the time that one takes."""
    groups = [group for group in app.registered_groups if group.name == name]
    commands = [command for command in app.registered_commands if name == _name(command)]
    if not groups and not commands:
        return app
    least = copy.copy(app)
    least.registered_groups = groups
    # A command all by itself would take its name for an argument.
    least.registered_commands = [*commands, app.registered_commands[-1]] if commands else []
    return least


def _name(command: CommandInfo) -> str:
    assert command.callback is not None
    return command.name or get_command_name(command.callback.__name__)


if __name__ == "__main__":
    main()
