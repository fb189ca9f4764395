"""`headrace apply`, `headrace export` and `headrace schema`: an installation as a file."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.options import Url, Yes
from cli.output import confirm, hand_over, note, print_json
from cli.session import connect

if TYPE_CHECKING:
    from cli.api import Api
    from cli.manifest.diff import Step
    from cli.manifest.marks import Problem
    from cli.manifest.plan import Plan

__all__ = ["EXIT_BROKEN", "EXIT_DIFFERENT", "apply", "export", "schema"]

EXIT_FAILED: Final = 1
EXIT_BROKEN: Final = 2
EXIT_DIFFERENT: Final = 3
_STANDARD_INPUT: Final = Path("<standard input>")


def apply(
    *,
    files: Annotated[
        list[Path],
        typer.Option("--file", "-f", help="File, or directory of files; `-` is standard input; repeatable."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the difference and change nothing.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: status 3 when there is a difference.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete what the lists in the files do not have, except tokens.")
    ] = False,
    prune_tokens: Annotated[
        bool, typer.Option("--prune-tokens", help="With --prune: revoke tokens that are not listed, too.")
    ] = False,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Print new tokens that no file is named for.")
    ] = False,
    account: Annotated[
        str, typer.Option("--account", help="Apply to this account, whichever one the files name.")
    ] = "",
    url: Url = "",
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is done as JSON.")] = False,
) -> None:
    """
    Make an installation what files say.

    A file with a mistake changes nothing: every mistake is told with its line, and the status is 2. Applying
    twice changes nothing the second time.
    """
    from cli.manifest.plan import Options, compare, read_files

    session = connect(url, account)
    options = Options(
        account=session.account,
        only_account=account,
        prune=prune or prune_tokens,
        prune_tokens=prune_tokens,
        show_secrets=show_secrets,
    )
    paths = [_STANDARD_INPUT if str(each) == "-" else each for each in files]
    texts = {_STANDARD_INPUT: sys.stdin.read()} if _STANDARD_INPUT in paths else {}
    compiled = read_files(paths, options, texts=texts)
    _end_if_broken(compiled.problems, as_json=as_json)
    plan = compare(session.api, compiled, options)
    _end_if_broken(plan.problems, as_json=as_json)
    if dry_run:
        _show(plan, as_json=as_json)
        sys.exit(EXIT_DIFFERENT if exit_code and plan.steps else 0)
    _make(session.api, plan, yes=yes, as_json=as_json)


@dataclass(slots=True)
class _Outcome:
    """What came of some steps: how many are made, what went wrong, and the secrets of new tokens by name."""

    done: int = 0
    error: str = ""
    secrets: dict[str, str] = field(default_factory=dict)


def _make(api: Api, plan: Plan, *, yes: bool, as_json: bool) -> None:
    from cli.manifest.diff import Action

    if not as_json:
        _show_difference(plan)
    deleted = [step.title for step in plan.steps if step.action is Action.DELETE]
    if deleted:
        confirm(f"Delete {', '.join(deleted)}?", yes=yes, is_named=False)
    outcome = _Outcome(error="It was interrupted.")
    try:
        _carry_out(api, plan.steps, outcome, is_quiet=as_json)
    finally:
        # However it ends: scripts are told what is made, and have the only copy of a secret.
        if as_json:
            _print_report(plan, outcome)
        elif outcome.error and plan.steps[outcome.done :]:
            _tell_failure(plan.steps, outcome)
    if outcome.error:
        sys.exit(EXIT_FAILED)


def _carry_out(api: Api, steps: list[Step], outcome: _Outcome, *, is_quiet: bool) -> None:
    from cli.api import ApiError
    from cli.manifest.carry_out import CarryOut

    carry_out = CarryOut(api, outcome.secrets.__setitem__ if is_quiet else _show_secret)
    for step in steps:
        try:
            carry_out.make(step)
        except ApiError as error:
            outcome.error = str(error)
            return
        outcome.done += 1
        if not is_quiet:
            note(f"[{outcome.done}/{len(steps)}] {step.action}d {step.title}")
    outcome.error = ""


def _show_secret(name: str, secret: str) -> None:
    """Print a secret at once: what comes after it may fail, and nobody else has it."""
    note(f"Token {name}, shown this once:")
    hand_over(secret)


def _tell_failure(steps: list[Step], outcome: _Outcome) -> None:
    failed = steps[outcome.done]
    where = f" ({failed.wanted.mark})" if failed.wanted else ""
    note(f"headrace: {failed.title}{where} could not be {failed.action}d: {outcome.error}")
    note(f"headrace: {outcome.done} of {len(steps)} changes are made. Not made:")
    for step in steps[outcome.done :]:
        note(f"headrace:   {step.action} {step.title}")
    note("headrace: Apply again to go on from here.")


def _end_if_broken(problems: list[Problem], *, as_json: bool) -> None:
    if not problems:
        return
    if as_json:
        found = [
            {"file": p.mark.file, "line": p.mark.line, "column": p.mark.column, "message": p.text}
            for p in problems
        ]
        print_json({"applied": False, "problems": found})
    for problem in problems:
        note(str(problem))
    count = "One mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    note(f"headrace: {count}; nothing was changed.")
    sys.exit(EXIT_BROKEN)


def _show(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        _print_report(plan, _Outcome(), applied=False)
    else:
        _show_difference(plan)


def _show_difference(plan: Plan) -> None:
    from cli.manifest.render import lines, summary

    styles = {"+": "green", "~": "yellow", "-": "red"}
    for line in lines(plan.steps):
        sign = line.strip()[:1]
        typer.echo(_styled(line, styles.get(sign)))
    if plan.steps:
        typer.echo(f"{summary(plan.steps)}; {plan.unchanged} as it is to be.")
    else:
        typer.echo("Nothing to change.")
    for text in plan.notes:
        note(f"headrace: {text}")


def _styled(line: str, color: str | None) -> str:
    return typer.style(line, fg=color) if color and sys.stdout.isatty() else line


def _print_report(plan: Plan, outcome: _Outcome, *, applied: bool = True) -> None:
    from cli.manifest.render import as_json

    report: dict[str, Any] = {
        "applied": applied and not outcome.error,
        "changes": [
            {**as_json(step), "done": number < outcome.done} for number, step in enumerate(plan.steps)
        ],
        "unchanged": plan.unchanged,
    }
    if plan.notes:
        report["notes"] = plan.notes
    if outcome.error:
        report["error"] = outcome.error
    if outcome.secrets:
        report["secrets"] = outcome.secrets
    print_json(report)


def export(
    *,
    account: Annotated[
        list[str], typer.Option("--account", help="Account; repeatable. Default: HEADRACE_ACCOUNT.")
    ] = [],  # noqa: B006  # typer reads it, nobody writes it
    all_accounts: Annotated[
        bool, typer.Option("--all", help="Every account that the token may see.")
    ] = False,
    url: Url = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
) -> None:
    """Print what accounts have as a file for `headrace apply`. Secrets are named, not told."""
    from cli.manifest.actual import find_accounts
    from cli.manifest.export import MODELINE
    from cli.manifest.export import export as make
    from cli.manifest.marks import write_yaml

    session = connect(url)
    ids = account or [session.account]
    if all_accounts:
        ids = [each.name for each in find_accounts(session.api)]
    made = make(session.api, ids, lambda text: note(f"headrace: {text}"))
    if as_json:
        print_json(made)
    else:
        typer.echo(MODELINE + write_yaml(made), nl=False)


def schema() -> None:
    """Print the JSON Schema of the file that `headrace apply` takes, for editors."""
    from cli.manifest.schema import schema_text

    typer.echo(schema_text(), nl=False)
