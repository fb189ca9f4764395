"""What commands print: JSON for scripts, tables and sentences for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from cli.rpc import fail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["cell", "confirm", "hand_over", "note", "print_json", "print_object", "print_table"]

_NO_TERMINAL_WIDTH: Final = 1000


def print_json(value: Any) -> None:
    """Print a result as the API gave it."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def hand_over(secret: str) -> None:
    """
    Print a secret that is shown this once, and see that it is out.

    Raises:
        OSError: Nobody has it.
    """
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows; cut to a terminal's width, but never where another program reads them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        # Text, not markup: names may hold brackets.
        table.add_row(*(Text(cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else _NO_TERMINAL_WIDTH).print(table)


def print_object(value: dict[str, Any]) -> None:
    """Print an object, a line for each member."""
    print_table(("field", "value"), value.items())


def cell(value: Any) -> str:
    """Write a value for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def note(text: str) -> None:
    """Say something that is not the result."""
    sys.stderr.write(f"{text}\n")


def confirm(question: str, *, yes: bool, is_named: bool = True) -> None:
    """
    Ask a person before something is lost; end the program unless they agree.

    Args:
        question: What is asked.
        yes: Whether `--yes` was said.
        is_named: Whether what is lost was named. A script means what it names; the rest must be agreed to.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        if is_named:
            return
        fail(f"{question} Say --yes: there is nobody to ask.", status=2)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        fail("Nothing was changed.")
