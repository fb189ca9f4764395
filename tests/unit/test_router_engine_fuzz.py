"""The route engine on routes that nobody thought of: each way ends, in one of the known outcomes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.router.core.engine.asked import Asked, Input
from services.router.core.engine.choice import sticky_draw
from services.router.core.engine.compiled import compile_route
from services.router.core.engine.effects import (
    Begin,
    CheckRate,
    Claimed,
    ClaimProbe,
    Done,
    Drawn,
    Event,
    Failed,
    NeedDraw,
    RateResult,
    Try,
)
from services.router.core.engine.health_view import Look
from services.router.core.engine.pattern import Effort
from services.router.core.engine.steps import begun, step
from services.router.core.engine.surroundings import Surroundings
from services.router.core.route_graph import check_elements
from tests.fakes.routes import ToldHealth

MODELS = [("openai", "a"), ("openai", "b"), ("anthropic", "c")]
FIELDS = st.sampled_from(["metadata.a", "metadata.b", "body.a", "body.b.0", "body.b.c", "headers.x"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["", "x", "1"])
)
TESTS = st.one_of(
    SCALARS,
    st.fixed_dictionaries({}, optional={"$eq": SCALARS, "$ne": SCALARS, "$exists": st.booleans()}).filter(
        bool
    ),
    st.builds(
        lambda name, value: {name: value}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.integers(-2, 2)
    ),
    st.builds(
        lambda name, values: {name: values}, st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, max_size=3)
    ),
    st.sampled_from(
        [{"$regex": "^x"}, {"$regex": "(1+)+$"}, {"$not": {"$eq": "x"}}, {"$not": {"$regex": "."}}]
    ),
)
CONDITIONS = st.recursive(
    st.dictionaries(FIELDS, TESTS, max_size=2),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"$and": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"$or": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"$not": part}, inner),
    ),
    max_leaves=4,
)


@st.composite
def routes(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a route: elements in a row, each of which leads to some that come after it."""
    size = draw(st.integers(1, 8))
    names = [f"n{index}" for index in range(size)]
    elements: list[dict[str, Any]] = []
    for index, name in enumerate(names):
        later = [*names[index + 1 :], "last", "e"]
        elements.append(draw(_element(name, later, is_last=index == size - 1)))
    elements.append(_model("last", {"success": "e"}, MODELS[0]))
    elements.append({"id": "e", "type": "end"})
    start = {"id": "s", "type": "start", "outputs": {"next": {"elementId": names[0]}}}
    return _reachable([start, *elements])


@st.composite
def _element(draw: st.DrawFn, name: str, later: list[str], *, is_last: bool) -> dict[str, Any]:
    to = st.sampled_from(later)
    kind = "model" if is_last else draw(st.sampled_from(["conditional", "percentage", "rate", "model"]))
    if kind == "conditional":
        outputs = {"true": draw(to), "false": draw(to)}
        properties: dict[str, Any] = {"conditions": draw(CONDITIONS)}
    elif kind == "percentage":
        outputs = {
            share: draw(to) for share in draw(st.sampled_from([["100%"], ["30%", "70%"], ["5.5%", "else"]]))
        }
        strategy = draw(st.sampled_from(["random", "weighted", "least-latency"]))
        properties = {"strategy": strategy}
        if strategy != "least-latency":
            properties |= draw(st.fixed_dictionaries({}, optional={"key": FIELDS}))
    elif kind == "rate":
        outputs = {"success": draw(to)} | draw(st.fixed_dictionaries({}, optional={"fallback": to}))
        properties = draw(
            st.fixed_dictionaries(
                {"limit": st.integers(1, 9), "window": st.integers(1, 99)},
                optional={"limitType": st.sampled_from(["count", "tokens", "cost"]), "key": FIELDS},
            )
        )
    else:
        fallbacks = draw(st.fixed_dictionaries({}, optional={"fallback": to}))
        return _model(name, {"success": "e"} | fallbacks, draw(st.sampled_from(MODELS)))
    targets = {output: {"elementId": target} for output, target in outputs.items()}
    return {"id": name, "type": kind, "properties": properties, "outputs": targets}


def _model(name: str, outputs: dict[str, str], model: tuple[str, str]) -> dict[str, Any]:
    return {
        "id": name,
        "type": "model",
        "properties": {"provider": model[0], "model": model[1]},
        "outputs": {output: {"elementId": target} for output, target in outputs.items()},
    }


def _reachable(elements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {element["id"]: element for element in elements}
    met: set[str] = set()
    ahead = ["s"]
    while ahead:
        name = ahead.pop()
        if name not in met:
            met.add(name)
            ahead += [target["elementId"] for target in by_id[name].get("outputs", {}).values()]
    return [element for element in elements if element["id"] in met]


LOOKS = st.builds(
    Look,
    circuit=st.sampled_from(["closed", "open", "half_open"]),
    success_rate=st.one_of(st.none(), st.floats(0, 1)),
    first_byte_s=st.one_of(st.none(), st.floats(0, 10)),
    weight=st.floats(0.05, 1),
)
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=6,
)


class ChangingHealth(ToldHealth):
    """Says something else each time, as it may."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        self._draw = draw

    def look(self, provider: str, model: str, account_id: str) -> Look:
        """Draw what is said."""
        look: Look = self._draw(LOOKS)
        return look


@settings(max_examples=100)
@given(routes(), st.data())
def test_every_way_through_every_route_ends(elements: list[dict[str, Any]], data: st.DataObject) -> None:
    """Whatever is asked, drawn, counted, and known of providers, even when that changes on the way."""
    assume(_is_taken(elements))
    route = compile_route(json.dumps(elements), {}, route_id="r")
    asked = Asked(
        account_id="acme",
        given=frozenset(Input),
        body=json.dumps(data.draw(BODIES)).encode(),
        headers={"x": ["1"]} if data.draw(st.booleans()) else {},
        metadata=data.draw(st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "x", "1"]))),
    )
    around = Surroundings(asked=asked, health=ChangingHealth(data.draw), effort=Effort())
    state = begun(route)
    event: Event = Begin()
    tried: Counter[str] = Counter()
    for _ in range(20 * len(elements)):
        state, effect = step(route, around, state, event)
        match effect:
            case Done(outcome=outcome):
                assert outcome in ("failed", "empty", "refused")
                break
            case Try(node=node):
                tried[node.id] += 1
                if data.draw(st.booleans()):
                    break
                event = Failed(reason="UPSTREAM_CUT")
            case NeedDraw():
                event = Drawn(data.draw(st.floats(0, 1, exclude_max=True)))
            case CheckRate(node=rate):
                event = RateResult(taken=data.draw(st.booleans()), used=rate.limit)
            case ClaimProbe():
                event = Claimed(data.draw(st.booleans()))
            case _:
                raise AssertionError(effect)
    else:
        raise AssertionError("the way does not end")
    assert all(count == 1 for count in tried.values())
    passed = [each.element_id for each in state.trace]
    assert len(passed) == len(set(passed)) <= len(elements)
    assert all(len(each.reason) < 400 for each in state.trace)


@given(routes(), st.data())
def test_a_route_that_is_broken_is_refused(elements: list[dict[str, Any]], data: st.DataObject) -> None:
    """One output that leads back, or nowhere, is enough."""
    assume(_is_taken(elements))
    element = data.draw(st.sampled_from([each for each in elements if each.get("outputs")]))
    output = data.draw(st.sampled_from(sorted(element["outputs"])))
    element["outputs"][output] = {"elementId": data.draw(st.sampled_from(["s", "nowhere", element["id"]]))}

    assert not _is_taken(elements)


def _is_taken(elements: list[dict[str, Any]]) -> bool:
    try:
        check_elements(json.dumps(elements), {"openai", "anthropic"}.__contains__)
    except GatewayError as error:
        assert Reason.INVALID_REQUEST == error.reason  # noqa: PT017
        assert error.metadata["param"].startswith("elements")  # noqa: PT017
        return False
    return True


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_value_always_draws_the_same(element_id: str, value: str) -> None:
    """So that a user stays where they are, whatever replica decides."""
    first = sticky_draw("route", element_id, value)

    assert first == sticky_draw("route", element_id, value)
    assert 0 <= first < 1


def test_values_are_spread_evenly_and_anew_for_each_element() -> None:
    """A tenth of them is in each tenth, and who is first in one element is not so in another."""
    draws = [(sticky_draw("r", "p", str(user)), sticky_draw("r", "q", str(user))) for user in range(5000)]
    tenths = Counter(int(first * 10) for first, _ in draws)
    both = sum(first < 0.1 and second < 0.1 for first, second in draws)

    assert all(400 < tenths[index] < 600 for index in range(10))
    assert 20 < both < 90
