"""
Whether elements make a route: a way from the start through models to an end, which never comes back.

A way that came back could go round for ever, so that is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.router.core.json_reader import parse
from services.router.core.route_elements import Element, read_element

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.router.core.json_reader import Value

__all__ = ["check_elements"]

_MOST_BYTES: Final = 256 * 1024
_MOST_ELEMENTS: Final = 100
# Of all its conditions together: each keeps what it found out.
_MOST_PATTERNS: Final = 50


def check_elements(text: str, knows: Callable[[str], bool]) -> str:
    """
    Return the JSON text of elements that make a route, as it is.

    Args:
        text: A JSON array.
        knows: Tells whether there is a provider of a name.

    Raises:
        GatewayError: INVALID_REQUEST; `param` is the path to what is wrong, such as
            `elements.1.properties.provider`.
    """
    value = parse(text, "elements", most_bytes=_MOST_BYTES)
    elements: dict[str, Element] = {}
    for item in value.items(least=1, most=_MOST_ELEMENTS):
        element = read_element(item, knows)
        if element.id in elements:
            raise item.at("id").error("Another element has this id.")
        elements[element.id] = element
    if sum(element.patterns for element in elements.values()) > _MOST_PATTERNS:
        raise value.error(f"A route has at most {_MOST_PATTERNS} patterns.")
    start = _start(value, elements.values())
    _check_targets(elements)
    _check_order(elements, start)
    _check_reach(elements, start)
    for kind in ("model", "end"):
        if all(element.type != kind for element in elements.values()):
            raise value.error(f"An element of the type {kind} is expected.")
    return text


def _start(value: Value, elements: Iterable[Element]) -> Element:
    starts = [element for element in elements if element.type == "start"]
    if not starts:
        raise value.error("An element of the type start is expected.")
    if len(starts) > 1:
        raise starts[1].place.at("type").error("There is a start already.")
    return starts[0]


def _check_targets(elements: dict[str, Element]) -> None:
    for element in elements.values():
        for name, target in element.outputs.items():
            if target not in elements:
                raise element.places[name].at("elementId").error("There is no element of this id.")


def _check_order(elements: dict[str, Element], start: Element) -> None:
    """Go every way from the start, depth first: none may come back."""
    done: set[str] = set()
    under_way = {start.id}
    ways = [(start, iter(start.outputs))]
    while ways:
        element, outputs = ways[-1]
        name = next(outputs, None)
        if name is None:
            under_way.discard(element.id)
            done.add(element.id)
            ways.pop()
            continue
        target = elements[element.outputs[name]]
        if target.id in under_way:
            raise element.places[name].error("This way comes back to where it was.")
        if target.id not in done:
            under_way.add(target.id)
            ways.append((target, iter(target.outputs)))


def _check_reach(elements: dict[str, Element], start: Element) -> None:
    """Go the ways that requests can take: they must lead to all elements, and an answer ends a way."""
    met: set[str] = set()
    ahead = [start.id]
    while ahead:
        element = elements[ahead.pop()]
        if element.id in met:
            continue
        met.add(element.id)
        ahead += (
            target
            for name, target in element.outputs.items()
            if element.type != "model" or name != "success" or elements[target].type == "end"
        )
    for element in elements.values():
        if element.id not in met:
            raise element.place.error("No way leads to this element; where a model answers, the route ends.")
