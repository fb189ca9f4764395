"""Header names stand in one module, and in one document."""

from __future__ import annotations

import ast
import re

from services.edge import headers
from tests.repo.tree import CODE, ROOT, parsed, python_files

PAGE = ROOT / "docs" / "openai-compatibility.md"
MODULE = ROOT / "services" / "edge" / "headers.py"


def test_no_literals() -> None:
    """A gateway header's name is written in one place only; text for people may mention one."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value!r}"
        for path in python_files(*CODE)
        if path != MODULE
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and _is_name(node.value)
    ]

    assert [] == wrong


def test_page_has_every_header() -> None:
    """The page has a row for each header that the edge reads or writes."""
    known = {value for value in vars(headers).values() if isinstance(value, str) and _is_name(value)}
    documented = set(re.findall(r"^\| `(cf-aig-[a-z-]+)` \|", PAGE.read_text(), re.MULTILINE))

    assert known == documented


def _is_name(value: object) -> bool:
    text = value.encode() if isinstance(value, str) else value
    return isinstance(text, bytes) and re.fullmatch(rb"cf-aig-[a-z][a-z-]*", text, re.IGNORECASE) is not None
