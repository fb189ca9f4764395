"""Span, attribute and metric names stand in one module, and in one document."""

from __future__ import annotations

import ast
import re

from kit.telemetry import names
from tests.repo.tree import CODE, ROOT, parsed, python_files, text

PAGE = ROOT / "docs" / "telemetry.md"
MODULE = ROOT / "kit" / "telemetry" / "names.py"
_ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_CONSTANT = re.compile(r"\b[A-Z][A-Z0-9_]+\b")
# Values of attributes are ordinary words, and other modules mean other things by them.
_VALUES = ("OPERATION_", "RPC_SYSTEM_GRPC")


def constants() -> dict[str, str]:
    """Return the names, by the constant that holds them."""
    return {
        key: value
        for key, value in vars(names).items()
        if isinstance(value, str) and key.isupper() and not key.startswith(_VALUES)
    }


def used() -> set[str]:
    """Return the names whose constants are used."""
    sources = [text(path) for path in python_files(*CODE) if path != MODULE]
    words = {word for source in sources if "telemetry" in source for word in _CONSTANT.findall(source)}
    return {value for key, value in constants().items() if key in words}


def test_no_literals() -> None:
    """A telemetry name is written in one place only."""
    known = set(constants().values())
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for path in python_files(*CODE)
        if path != MODULE
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and node.value in known
    ]

    assert [] == wrong


def test_names_differ() -> None:
    """No two constants hold the same name."""
    assert len(set(constants().values())) == len(constants())


def test_names_of_ours_say_so() -> None:
    """A metric's name begins with `headrace_`, and says its unit or that it is a total."""
    metrics = {key: value for key, value in constants().items() if key.startswith("METRIC_")}

    assert [] == [value for value in metrics.values() if not re.fullmatch(r"headrace_[a-z_]+", value)]


def test_page_lists_every_name() -> None:
    """The page describes what is emitted, and sets apart what is only reserved."""
    emitted, _, reserved = PAGE.read_text().partition("## Reserved")
    every = set(constants().values())

    assert used() == set(_ROW.findall(emitted)) & every
    assert every - used() == set(_ROW.findall(reserved))
