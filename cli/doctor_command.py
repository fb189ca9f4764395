"""`headrace doctor`: looks at everything, and says what is wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.doctor.finding import Finding

__all__ = ["doctor"]


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is wrong with this machine's set-up, and what to do about it; status 1: broken."""
    from cli.doctor.finding import Level

    findings = asyncio.run(examine(os.environ))
    is_broken = any(finding.level is Level.BROKEN for finding in findings)
    if as_json:
        report = {"ok": not is_broken, "findings": [dataclasses.asdict(finding) for finding in findings]}
        typer.echo(json.dumps(report, indent=2))
    else:
        _print(findings)
    sys.exit(1 if is_broken else 0)


async def examine(env: Mapping[str, str]) -> list[Finding]:
    """Make every check that can be made."""
    from cli.config import CliConfig
    from cli.doctor import certificates, machine, running, setup
    from kit.config import ConfigError, load
    from kit.runtime_config import RuntimeConfig

    findings = [*machine.check_machine(), *setup.check_settings(env)]
    try:
        config, runtime = load(CliConfig, env), load(RuntimeConfig, env)
    except ConfigError:
        return findings  # said already; without them there is no telling where to look
    findings += [
        setup.check_data_dir(runtime.data_dir),
        setup.check_token(runtime.data_dir),
        setup.check_run_dir(runtime),
        setup.check_disk(runtime.data_dir),
        *setup.check_ports(config, runtime),
        *certificates.check_certificates(runtime),
    ]
    findings += [finding async for finding in running.check_running(config, runtime)]
    return findings


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    from cli.doctor.finding import Level

    marks = {Level.OK: ("✓", "green"), Level.NOTE: ("!", "yellow"), Level.BROKEN: ("✗", "bold red")}
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        mark, style = marks[finding.level]
        console.print(Text.assemble((f"{mark} ", style), (f"{finding.about:<15} ", "bold"), finding.text))
        if finding.remedy:
            console.print(Text(f"  {'':<15} → {finding.remedy}", style=style))
    wrong = sum(finding.level is Level.BROKEN for finding in findings)
    console.print()
    console.print(f"{wrong} of these must be put right." if wrong else "Nothing is broken.")
