"""
The tables of the route engine: routes, requests through them, and the way that each takes.

They are run on the engine alone, through router's own `Plan`, and on the running system.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from services.router.core.engine.health_view import Look

__all__ = ["RouteCase", "condition_cases", "route_cases"]

_TABLES = Path(__file__).parent.parent / "unit" / "router_engine"

# Around a condition: one way for requests that satisfy it, and one for those that do not.
_AROUND = """
- {id: s, type: start, outputs: {next: {elementId: c}}}
- {id: c, type: conditional, outputs: {"true": {elementId: holds}, "false": {elementId: fails}}}
- {id: holds, type: model, properties: {provider: openai, model: a}, outputs: {success: {elementId: e}}}
- {id: fails, type: model, properties: {provider: openai, model: b}, outputs: {success: {elementId: e}}}
- {id: e, type: end, outputs: {}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCase:
    """
    One request through one route.

    Attributes:
        name: Of the route, and what the case shows.
        elements: JSON text.
        body: None: it has none.
        failing: Models that fail when they are tried.
        draw: What chance draws.
        used: By element, what of its limit is used before.
        health: By `provider/model`; what is missing is not known.
        probes: How many probes are left of what is half open.
        tries: Models that are tried, in order.
        outcome: `answered`, `failed`, `empty` or `refused`.
        way: Elements that are passed, each with the output that is taken; None: not looked at.
        ticket: How many limits count what is tried; None: not looked at.
    """

    name: str
    elements: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    failing: frozenset[str] = frozenset()
    draw: float = 0.0
    used: dict[str, int] = field(default_factory=dict)
    health: dict[str, Look] = field(default_factory=dict)
    probes: int = 1
    tries: tuple[str, ...]
    outcome: str
    way: tuple[str, ...] | None = None
    ticket: int | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def body_bytes(self) -> bytes:
        """The body as it is sent."""
        return b"" if self.body is None else json.dumps(self.body).encode()


@cache
def _rows(name: str) -> list[dict[str, Any]]:
    return list(yaml.load((_TABLES / name).read_text(), Loader=yaml.CSafeLoader))


def route_cases() -> list[RouteCase]:
    """Return the cases of `routes.yaml`."""
    return [
        _case(route["name"], route["elements"], case)
        for route in _rows("routes.yaml")
        for case in route["cases"]
    ]


def condition_cases() -> list[RouteCase]:
    """Return the rows of `conditions.yaml`, each as a route with that condition."""
    found = []
    for row in _rows("conditions.yaml"):
        elements = yaml.load(_AROUND, Loader=yaml.CSafeLoader)
        elements[1]["properties"] = {"conditions": row["if"]}
        found.append(
            RouteCase(
                name=json.dumps([row["if"], row["in"]]),
                elements=json.dumps(elements),
                body=row["in"].get("body"),
                headers=row["in"].get("headers", {}),
                metadata=row["in"].get("metadata", {}),
                tries=("holds" if row["holds"] else "fails",),
                outcome="answered",
            )
        )
    return found


def _case(route: str, elements: Any, case: dict[str, Any]) -> RouteCase:
    fields = {
        name: case[name] for name in ("body", "headers", "metadata", "draw", "used", "probes") if name in case
    }
    return RouteCase(
        name=f"{route}: {case['it']}",
        elements=json.dumps(elements),
        failing=frozenset(case.get("failing", ())),
        health={name: Look(**look) for name, look in case.get("health", {}).items()},
        tries=tuple(case["tries"]),
        outcome=case["outcome"],
        way=tuple(case["way"]),
        ticket=case.get("ticket"),
        **fields,
    )
