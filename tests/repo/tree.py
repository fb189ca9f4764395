"""
The files of the repository, as the tests of this directory look at them.

Works in an unpacked archive too, where there is no git: what `.gitignore` names is left out by name.
"""

from __future__ import annotations

import ast
import gc
import os
from functools import cache
from pathlib import Path

__all__ = ["CODE", "ROOT", "SERVICES", "files", "functions", "module_name", "parsed", "python_files", "text"]

ROOT = Path(__file__).resolve().parents[2]
# Hand-written code that ships; generated code and tests are apart.
CODE = ("kit", "services", "cli", "deploy")
SERVICES = ("auth", "cache", "edge", "ledger", "providers", "router")

_NOT_TEXT = {".gguf", ".png", ".ico"}


@cache
def files() -> tuple[Path, ...]:
    """Return every file that belongs to the repository."""
    ignored = {".git", *_ignored(ROOT / ".gitignore"), *_ignored(ROOT / "tests" / "node" / ".gitignore")}
    found: list[Path] = []
    for directory, names, leaves in os.walk(ROOT):
        names[:] = sorted(name for name in names if name not in ignored)
        found += [Path(directory, leaf) for leaf in sorted(leaves) if leaf not in ignored]
    return tuple(found)


def python_files(*directories: str) -> list[Path]:
    """Return the Python files below some directories of the root."""
    return [
        path
        for path in files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in directories and path.parent != ROOT
    ]


def text(path: Path) -> str:
    """Return a file's text; empty for what is none."""
    if path.suffix in _NOT_TEXT:
        return ""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


@cache
def parsed(path: Path) -> ast.Module:
    """Return a Python file's syntax tree."""
    # Trees are a million objects that stay: garbage collection while they grow is most of the work.
    gc.disable()
    try:
        return ast.parse(path.read_text(), filename=str(path))
    finally:
        gc.enable()
        gc.freeze()


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return all functions and methods of a syntax tree."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def module_name(path: Path) -> str:
    """Return the name under which a Python file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _ignored(path: Path) -> set[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.strip().strip("/") for line in lines if line.strip() and not line.startswith("#")}
