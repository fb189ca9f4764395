"""Prints the way of a request through a dynamic route, as `headrace route explain` shows it."""

from __future__ import annotations

from typing import Any

import typer

__all__ = ["print_way"]

_OUTCOMES = {
    "answered": "It is answered.",
    "failed": "It fails: nothing is left to be tried.",
    "refused": "It is refused: a limit is reached.",
}


def print_way(found: dict[str, Any]) -> None:
    """
    Print a simulation: a line for each element, then what is known of models and limits, then the end.

    Args:
        found: As the management API gives it.
    """
    attempts = {each["element_id"]: each for each in found["attempts"]}
    steps = found["steps"]
    width = max((len(each["element_id"]) for each in steps), default=0)
    kinds = max((len(each["type"]) for each in steps), default=0)
    for each in steps:
        line = f"{each['element_id']:<{width}}  {each['type']:<{kinds}}"
        attempt = attempts.get(each["element_id"])
        if attempt is not None:
            line += f"  {attempt['provider']}/{attempt['model']}"
        if each["output"]:
            line += f"  → {each['output']}"
        if each["reason"]:
            line += f"  ({each['reason']})"
        typer.echo(line)
        if attempt is not None and (known := _known(attempt)):
            typer.echo(f"{'':<{width}}  {'':<{kinds}}  {known}")
    for each in found["limits"]:
        typer.echo(_limit(each))
    typer.echo(_OUTCOMES.get(found["outcome"], found["outcome"]))


def _known(attempt: dict[str, Any]) -> str:
    """Say how a model does; nothing when all is as usual."""
    parts = []
    if attempt["circuit"] != "closed":
        parts.append(f"circuit {attempt['circuit'].replace('_', ' ')}")
    if attempt["success_rate"] is not None:
        parts.append(f"{attempt['success_rate']:.0%} of recent attempts succeeded")
    if attempt["first_byte_ms"] is not None:
        parts.append(f"first byte after {attempt['first_byte_ms']} ms")
    return ", ".join(parts)


def _limit(limit: dict[str, Any]) -> str:
    where = (
        f"element {limit['element_id']}"
        if limit["element_id"]
        else f"rule {limit['rule'] or 'of the gateway'}"
    )
    of = f" for {limit['key']}" if limit["key"] else ""
    used, most = (f"{limit[name]:.10g}" for name in ("used", "limit"))
    unit = "USD" if limit["unit"] == "cost" else limit["unit"]
    end = ", none is left" if limit["exceeded"] else ""
    return f"Limit of {where}{of}: {used} of {most} {unit} used{end}."
