"""Modules and functions stay small enough to be read."""

from __future__ import annotations

from tests.repo.tree import ROOT, functions, parsed, python_files

# A module is about one noun. A test module covers the whole surface of what it tests, so it may be longer.
MODULE_LINES = 400
TEST_MODULE_LINES = 600
FUNCTION_LINES = 80
# Longer ones, each with how long it may be and why it is not split.
EXCEPTIONS: dict[str, tuple[int, str]] = {}

DIRECTORIES = ("kit", "services", "cli", "deploy", "scripts", "bench", "tests")


def test_modules() -> None:
    """No module is longer than its budget."""
    too_long = {}
    for path in python_files(*DIRECTORIES):
        name = str(path.relative_to(ROOT))
        limit = TEST_MODULE_LINES if name.startswith("tests/") else MODULE_LINES
        limit = EXCEPTIONS.get(name, (limit, ""))[0]
        lines = len(path.read_text().splitlines())
        if lines > limit:
            too_long[name] = lines

    assert {} == too_long


def test_exceptions_are_needed() -> None:
    """An exception names a file that is there, is needed, and has a reason."""
    for name, (limit, reason) in EXCEPTIONS.items():
        lines = len((ROOT / name).read_text().splitlines())

        assert MODULE_LINES < lines <= limit
        assert reason


def test_functions() -> None:
    """No function is longer than fits on a large screen; a migration is a list, written by a program."""
    too_long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in python_files(*DIRECTORIES)
        if path.parent.name != "versions"
        for node in functions(parsed(path))
        if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    }

    assert {} == too_long


def test_no_module_is_called_after_nothing() -> None:
    """No module has a name that says nothing of what it holds."""
    empty_names = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}

    assert [] == [str(p.relative_to(ROOT)) for p in python_files(*DIRECTORIES) if p.stem in empty_names]
