"""`headrace migrate`: brings the tables of all services up to date."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from cli.output import note
from cli.rpc import fail

__all__ = ["migrate"]


def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 when something is to do.")
    ] = False,
) -> None:
    """
    Bring the tables of auth, router and ledger up to date.

    Services do so themselves when they start, unless HEADRACE_DATABASE_MIGRATE is off.
    """
    from kit import logs
    from kit.config import ConfigError
    from kit.database_errors import DatabaseUnusableError
    from kit.errors import GatewayError
    from services.migrate import migrate_all

    logs.configure("headrace", level="warning", stream=sys.stderr)
    try:
        log = logs.get("headrace", "migrate")
        to_do = asyncio.run(migrate_all(os.environ, note, log=log, check=check))
    except ConfigError as error:
        fail("\n".join(error.problems), status=2)
    except DatabaseUnusableError as error:
        fail(str(error))
    except GatewayError as error:
        fail(error.message)
    if check and to_do:
        fail("The tables are not up to date: run `headrace migrate`.")
