"""
The tables of `docs/compatibility.md`, made of what a run of the matrix has found.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tests.e2e.matrix import CLIENTS, NATIVE_CLIENTS, TARGETS
from tests.fakes.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DOCUMENT", "OWN", "PARTS", "Outcomes", "Part", "written"]

Part = Literal["chat", "stream", "tools", "streamed tools"]

DOCUMENT: Final = Path(ROOT / "docs" / "compatibility.md")
PARTS: Final[tuple[Part, ...]] = ("chat", "stream", "tools", "streamed tools")
# In place of a target: the client's own provider, on its own path.
OWN: Final = "own"

_WORKS: Final = "✓"
_FAILS: Final = "✗"
_NEVER: Final = "-"
_TABLES: Final = re.compile(r"(?<=<!-- tables -->\n\n).*(?=\n\n<!-- end of tables -->)", re.DOTALL)

_Key = tuple[str, str, Part]


class Outcomes:
    """What works, of the cells that were tried."""

    def __init__(self) -> None:
        self._marks: dict[_Key, str] = {}

    @contextlib.contextmanager
    def judging(self, client: str, target: str, part: Part) -> Iterator[None]:
        """Note that something works unless what is done in the context fails."""
        self._marks[client, target, part] = _FAILS
        yield
        self._marks[client, target, part] = _WORKS

    def never(self, client: str, target: str, part: Part) -> None:
        """Note that something cannot work, for a reason that is the client's own."""
        self._marks[client, target, part] = _NEVER

    @property
    def complete(self) -> bool:
        """True when every cell was tried."""
        cells = {(client, target) for client in CLIENTS for target in TARGETS}
        cells |= {(client, OWN) for client in NATIVE_CLIENTS}
        return {(*cell, part) for cell in cells for part in PARTS} == self._marks.keys()

    def tables(self, document: str) -> str:
        """
        Write the tables.

        Args:
            document: Text of the document, from which the cells are taken that were not tried.
        """
        known = _cells(document)

        def cell(row: str, column: str, client: str, target: str) -> str:
            before = known.get((row, column), "").split() or [_FAILS] * len(PARTS)
            marks = [
                self._marks.get((client, target, part), old) for part, old in zip(PARTS, before, strict=True)
            ]
            return " ".join(marks)

        titles = [f"{target.title}: {target.speaks}" for target in TARGETS.values()]
        every = [
            [title, *(cell(title, titles[i], name, target) for i, target in enumerate(TARGETS))]
            for name, row in CLIENTS.items()
            if (title := f"{row.sdk}: {row.asks_by}")
        ]
        own = [
            [row.sdk, row.asks_by, cell(row.sdk, _MARKS, name, OWN)] for name, row in NATIVE_CLIENTS.items()
        ]
        return "\n\n".join((_table(["", *titles], every), _table(["SDK", "path", _MARKS], own)))


_MARKS: Final = ", ".join(PARTS)


def written(document: str, tables: str) -> str:
    """Put tables into the document."""
    return _TABLES.sub(lambda _: tables, document)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def _cells(document: str) -> dict[tuple[str, str], str]:
    """Read the tables: what stands in which row and column."""
    found = _TABLES.search(document)
    cells: dict[tuple[str, str], str] = {}
    for table in (found[0] if found else "").split("\n\n"):
        heads, *rows = [
            [part.strip() for part in line.strip("|").split("|")] for line in table.splitlines()
        ] or [[]]
        for row in rows:
            cells |= {(row[0], head): part for head, part in zip(heads, row, strict=False)}
    return cells
