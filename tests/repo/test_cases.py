"""
Whether every known case of translation has a test.

The cases are numbered; a test says in its docstring which ones it shows: "Case 7: …", "Cases 7 and 9: …".
`docs/dialects.md` says what is done in general.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 154
_NAMED = re.compile(r"Cases? ((?:\d+(?:, | and |-)?)+): \S")


def test_every_case_has_a_test() -> None:
    """Each number from the first to the last is named by at least one test."""
    shown = set(_shown())

    assert [] == [number for number in range(1, COUNT + 1) if number not in shown]
    assert [] == sorted(number for number in shown if not 1 <= number <= COUNT)


def _shown() -> Iterator[int]:
    for path in (ROOT / "tests").rglob("test_*.py"):
        source = path.read_text()
        if "Case" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                named = _NAMED.match(ast.get_docstring(node) or "")
                yield from _numbers(named[1]) if named else ()


def _numbers(text: str) -> Iterator[int]:
    for part in re.split(r", | and ", text):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
