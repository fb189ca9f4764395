"""A route in the form that it is carried out in, made of the elements of one version."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from services.router.core.engine.asked import Field, Input, read_field
from services.router.core.engine.conditions import Condition, compile_conditions, fields_of, patterns_in

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CompiledRoute",
    "Conditional",
    "End",
    "Model",
    "Node",
    "Percentage",
    "Rate",
    "Share",
    "Start",
    "Strategy",
    "Unit",
    "compile_route",
]

Strategy = Literal["random", "least-latency", "weighted"]
Unit = Literal["requests", "tokens", "cost"]
_NANO_USD: Final = 1_000_000_000
_UNITS: Final[dict[str, Unit]] = {"count": "requests", "tokens": "tokens", "cost": "cost"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where every way begins."""

    id: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditional:
    """A way for requests that satisfy conditions, and one for those that do not."""

    id: str
    condition: Condition
    true: str
    false: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """
    One output of a percentage.

    Attributes:
        name: As it was written, such as `10%` or `else`.
        part: Of 1.
        target: What comes next.
        first: The first model down that way, taking each element's first output.
    """

    name: str
    part: float
    target: str
    first: Model | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentage:
    """
    Several ways, each with a share of the requests.

    Attributes:
        key: What is at this field always takes the same way. None: each request draws.
    """

    id: str
    shares: tuple[Share, ...]
    strategy: Strategy
    key: Field | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """
    A limit, for everything or for each value of a field.

    Attributes:
        limit: In requests, tokens or billionths of a US dollar.
        fallback: What comes next above the limit. None: nothing, the request is refused.
    """

    id: str
    unit: Unit
    key: Field | None
    limit: int
    window_s: int
    technique: str
    success: str
    fallback: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """
    A model to be tried.

    Attributes:
        first_byte_ms: How long it may be silent. None: as the gateway has it.
        retries: How often it is tried again. None: as the gateway has it.
        stream_failover: Whether a stream that breaks off is continued by the fallback. None: as the gateway
            has it.
        fallback: What comes next when it fails. None: nothing, the route failed.
    """

    id: str
    provider: str
    model: str
    first_byte_ms: int | None
    retries: int | None
    stream_failover: bool | None
    fallback: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where a way ends without a model."""

    id: str


Node = Start | Conditional | Percentage | Rate | Model | End


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRoute:
    """
    A route.

    Attributes:
        id: Of the route, whose counts and sticky shares stay when it gets another version. Empty: it is not
            stored.
        needs: What it looks at of a request.
        watches_health: Whether a way may depend on how providers do.
        patterns: How many patterns it has, each of which remembers what it found out.
    """

    id: str
    name: str
    version_id: str
    start: str
    nodes: Mapping[str, Node]
    needs: frozenset[Input]
    watches_health: bool
    patterns: int


def compile_route(
    elements: str, aliases: Mapping[str, str], *, route_id: str = "", name: str = "", version_id: str = ""
) -> CompiledRoute:
    """
    Make a route of elements.

    Args:
        elements: JSON text of what was checked to be one.
        aliases: Other names of providers.
        route_id: Of the route.
        name: Of the route.
        version_id: Of the version.
    """
    raw = {element["id"]: element for element in orjson.loads(elements)}
    compiler = _Compiler(raw, aliases)
    nodes = {element_id: compiler.node(element_id) for element_id in raw}
    return CompiledRoute(
        id=route_id,
        name=name,
        version_id=version_id,
        start=next(node.id for node in nodes.values() if isinstance(node, Start)),
        nodes=nodes,
        needs=frozenset(field.source for node in nodes.values() for field in _looks_at(node)),
        watches_health=any(map(_watches_health, nodes.values())),
        patterns=sum(patterns_in(node.condition) for node in nodes.values() if isinstance(node, Conditional)),
    )


class _Compiler:
    def __init__(self, raw: Mapping[str, Any], aliases: Mapping[str, str]) -> None:
        self._raw = raw
        self._aliases = aliases

    def node(self, element_id: str) -> Node:
        """Make one element's node."""
        element = self._raw[element_id]
        properties = element.get("properties") or {}
        outputs = _targets(element)
        kind = element["type"]
        if kind == "start":
            return Start(id=element_id, next=outputs["next"])
        if kind == "conditional":
            raw = properties.get("conditions")
            condition = compile_conditions(properties["condition"] if raw is None else raw)
            return Conditional(
                id=element_id, condition=condition, true=outputs["true"], false=outputs["false"]
            )
        if kind == "percentage":
            return self._percentage(element_id, properties, outputs)
        if kind in ("rate", "rate_limit"):
            return _rate(element_id, properties, outputs)
        if kind == "model":
            return self._model(element_id, properties, outputs)
        return End(id=element_id)

    def _percentage(
        self, element_id: str, properties: Mapping[str, Any], outputs: Mapping[str, str]
    ) -> Percentage:
        parts = {name: float(name.rstrip("% ")) / 100 for name in outputs if name != "else"}
        # What is given to `else` is what the others leave.
        parts["else"] = max(0.0, 1 - math.fsum(parts.values()))
        return Percentage(
            id=element_id,
            shares=tuple(
                Share(name=name, part=parts[name], target=target, first=self._first_model(target))
                for name, target in outputs.items()
            ),
            strategy=properties.get("strategy") or "random",
            key=read_field(properties["key"]) if properties.get("key") else None,
        )

    def _model(self, element_id: str, properties: Mapping[str, Any], outputs: Mapping[str, str]) -> Model:
        provider = properties["provider"]
        # Zero means that there is no limit here, which is to say the gateway's.
        timeout = int(properties.get("timeout") or 0)
        retries = properties.get("retries")
        return Model(
            id=element_id,
            provider=self._aliases.get(provider, provider),
            model=properties["model"],
            first_byte_ms=timeout or None,
            retries=None if retries is None else int(retries),
            stream_failover=properties.get("stream_failover"),
            fallback=outputs.get("fallback"),
        )

    def _first_model(self, element_id: str) -> Model | None:
        # No way comes back to where it was, so this ends.
        while True:
            element = self._raw[element_id]
            if element["type"] == "model":
                return self._model(element_id, element["properties"], _targets(element))
            outputs = _targets(element)
            if not outputs:
                return None
            element_id = next(iter(outputs.values()))


def _rate(element_id: str, properties: Mapping[str, Any], outputs: Mapping[str, str]) -> Rate:
    kind = properties.get("limitType") or properties.get("limit_type") or "count"
    window = properties.get("window") or properties["interval"]
    limit = properties["limit"]
    return Rate(
        id=element_id,
        unit=_UNITS[kind],
        key=read_field(properties["key"]) if properties.get("key") else None,
        limit=max(1, round(limit * _NANO_USD)) if kind == "cost" else int(limit),
        window_s=max(1, math.ceil(window)),
        technique=properties.get("technique") or "fixed",
        success=outputs["success"],
        fallback=outputs.get("fallback"),
    )


def _targets(element: Mapping[str, Any]) -> dict[str, str]:
    # Null is as if it were left out: some clients write all that there could be.
    return {
        name: target.get("elementId") or target["element_id"]
        for name, target in (element.get("outputs") or {}).items()
        if target is not None
    }


def _looks_at(node: Node) -> frozenset[Field]:
    if isinstance(node, Conditional):
        return fields_of(node.condition)
    if isinstance(node, Percentage | Rate) and node.key is not None:
        return frozenset((node.key,))
    return frozenset()


def _watches_health(node: Node) -> bool:
    if isinstance(node, Model):
        return node.fallback is not None
    return isinstance(node, Percentage) and node.strategy != "random"
