"""
The bounds of a tool's free text: chat completions nest a grammar's members, responses do not.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["flat_grammar", "nested_grammar"]

_GRAMMAR: Final = "grammar"


def nested_grammar(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """Read `format` of a custom tool as chat completions have it; None: any text will do."""
    if given is None or given.get("type") == "text":
        return None
    if given.get("type") != _GRAMMAR or isinstance(given.get(_GRAMMAR), dict):
        return given
    members = {name: value for name, value in given.items() if name != "type"}
    return {"type": _GRAMMAR, _GRAMMAR: members}


def flat_grammar(grammar: dict[str, Any] | None) -> dict[str, Any] | None:
    """Write `format` of a custom tool as responses have it; None: any text will do."""
    if grammar is None or grammar.get("type") == "text":
        return None
    inner = grammar.get(_GRAMMAR)
    return {**inner, "type": _GRAMMAR} if isinstance(inner, dict) else grammar
