"""Modules say what they own, and tests what they show."""

from __future__ import annotations

import ast

from tests.repo.tree import CODE, ROOT, functions, parsed, python_files


def test_every_module_says_what_it_is() -> None:
    """Each module that ships, and each script, begins with a docstring."""
    missing = [
        str(path.relative_to(ROOT))
        for path in python_files(*CODE, "scripts", "bench")
        if not ast.get_docstring(parsed(path))
    ]

    assert [] == missing


def test_every_test_says_what_it_shows() -> None:
    """Each test has a sentence that names the behaviour."""
    missing = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files("tests")
        if path.name.startswith("test_")
        for node in functions(parsed(path))
        if node.name.startswith("test_") and not _is_sentence(ast.get_docstring(node))
    ]

    assert [] == missing


def _is_sentence(docstring: str | None) -> bool:
    return docstring is not None and docstring.strip().endswith((".", "?", "…", ":", ")"))
