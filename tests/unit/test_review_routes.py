"""Dynamic routes where they could go wrong: odd but accepted elements, much work, much memory, long ways."""

from __future__ import annotations

import gc
import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import decision_pb2
from kit.generation import WatchHub
from services.edge.pipeline.decision import passed
from services.router.core.engine import conditions
from services.router.core.engine.asked import Asked, Input
from services.router.core.engine.choice import choose
from services.router.core.engine.compiled import Percentage, compile_route
from services.router.core.engine.conditions import compile_conditions, hold
from services.router.core.engine.health_view import Look
from services.router.core.engine.pattern import Effort, ExhaustedError, Pattern
from services.router.core.engine.state import Continuation, Ticket, read_continuation, write_continuation
from services.router.core.limit_ticket import read_ticket
from services.router.core.route_graph import check_elements
from services.router.server.route_book import RouteBook
from tests.fakes.routes import MemoryRoutes, ToldHealth

MODEL: dict[str, Any] = {
    "id": "m",
    "type": "model",
    "properties": {"provider": "openai", "model": "x"},
    "outputs": {"success": {"elementId": "e"}},
}
END = {"id": "e", "type": "end", "outputs": {}}
TO_MODEL = {"elementId": "m"}


def _between(*elements: dict[str, Any]) -> str:
    start = {"id": "s", "type": "start", "outputs": {"next": {"elementId": elements[0]["id"]}}}
    return json.dumps([start, *elements, END])


def _asked(body: Any) -> Asked:
    return Asked(account_id="a", given=frozenset(Input), body=orjson.dumps(body))


@pytest.mark.parametrize(
    "elements",
    [
        [{**MODEL, "outputs": {"success": {"elementId": "e"}, "fallback": None}}],
        [{**MODEL, "properties": {**MODEL["properties"], "timeout": None, "retries": None}}],
        [
            {
                "id": "r",
                "type": "rate",
                "properties": {"limit": 1, "window": None, "interval": 60, "limitType": None, "key": None},
                "outputs": {"success": TO_MODEL, "fallback": None},
            },
            MODEL,
        ],
        [
            {
                "id": "c",
                "type": "conditional",
                "properties": {"conditions": None, "condition": {"metadata.a": 1}},
                "outputs": {"true": TO_MODEL, "false": TO_MODEL},
            },
            MODEL,
        ],
        [
            {
                "id": "p",
                "type": "percentage",
                "properties": {"key": None, "strategy": None},
                "outputs": {"100%": {"elementId": None, "element_id": "m"}},
            },
            MODEL,
        ],
    ],
)
def test_what_is_accepted_can_be_carried_out(elements: list[dict[str, Any]]) -> None:
    """Null is as if it were left out, which clients write that know all members: no route of it breaks."""
    text = check_elements(_between(*elements), lambda _: True)

    assert {"s", "e"} < compile_route(text, {}).nodes.keys()


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, 1.5]), st.sampled_from("01a")
)


@given(st.lists(SCALARS, max_size=4), st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), st.booleans())
def test_one_of_several_is_each_of_them(choices: list[Any], value: Any, missing: bool) -> None:  # noqa: FBT001
    """`$in` holds exactly where one `$eq` of its choices does."""
    asked = _asked({} if missing else {"x": value})
    one = compile_conditions({"body.x": {"$in": choices}})
    each = [compile_conditions({"body.x": {"$eq": choice}}) for choice in choices]

    assert any(hold(test, asked, Effort()).holds for test in each) is hold(one, asked, Effort()).holds


@pytest.mark.parametrize("place", ["body.x", "headers.x"])
def test_what_is_compared_is_counted(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many choices for many values are not more work than a request may be."""
    compared = 0
    same = conditions._same

    def counted(value: Any, operand: Any) -> bool:
        nonlocal compared
        compared += 1
        return same(value, operand)

    monkeypatch.setattr(conditions, "_same", counted)
    raw = {"$and": [{place: {"$nin": [f"x{number}" for number in range(100)]}}] * 60}
    asked = _asked({"x": ["y"] * 1000})
    asked.headers = {"x": ["y"] * 1000}
    effort = 60_000
    with suppress(ExhaustedError):
        hold(compile_conditions(raw), asked, Effort(effort))

    assert compared <= effort


async def test_what_patterns_remember_has_a_bound() -> None:
    """However many routes with patterns are asked for, only so many are in memory."""
    routes = MemoryRoutes()
    book = RouteBook(store=routes, hub=WatchHub(0), aliases={})
    conditional = {
        "id": "c",
        "type": "conditional",
        "properties": {
            "conditions": {"$or": [{"metadata.a": {"$regex": f"x{number}"}} for number in range(50)]}
        },
        "outputs": {"true": TO_MODEL, "false": TO_MODEL},
    }
    elements = _between(conditional, MODEL)
    for number in range(50):
        routes.put("a", "g", f"r{number}", elements)
        assert await book.find("a", "g", f"r{number}", 0) is not None
    gc.collect()

    assert 2000 >= sum(isinstance(found, Pattern) for found in gc.get_objects())


async def test_a_renamed_route_is_known_by_its_new_name() -> None:
    """A version is compiled once, and says the name that its route has by now."""
    routes = MemoryRoutes()
    book = RouteBook(store=routes, hub=WatchHub(0), aliases={})
    made = routes.put("a", "g", "old", _between(MODEL))
    before = await book.find("a", "g", "old", 0)
    routes._routes["a", "g", "new"] = type(made)(
        **{name: getattr(made, name) for name in made.__slots__} | {"name": "new"}
    )
    after = await book.find("a", "g", "new", 1)

    assert ("old", "new") == (before and before.name, after and after.name)


def test_a_way_may_pass_as_many_limits_as_a_route_has_elements() -> None:
    """What counts a request goes with it to the next plan, and to the reservation."""
    tickets = tuple(Ticket(f"key{number}", "tokens", 10, 60, "fixed") for number in range(97))
    after = Continuation(route_id="r", version_id="v", at="m", tickets=tickets)
    ticket = orjson.dumps([{name: getattr(each, name) for name in each.__slots__} for each in tickets])

    assert after == read_continuation(write_continuation(after))
    assert 97 == len(read_ticket(ticket))


def test_a_route_that_is_gone_through_twice_tells_of_both() -> None:
    """Steps of a universal request may ask for the same route; the second answer is not the first's."""
    once = [("s", "next"), ("m", "")]
    gone = decision_pb2.Decision(
        steps=[decision_pb2.DecisionStep(element_id=name, output=output) for name, output in once * 2]
    )
    found = passed(gone, "m", answered=True)

    assert ["next", "", "next", "success"] == [step.output for step in found.steps]


@pytest.mark.parametrize("strategy", ["weighted", "least-latency"])
@pytest.mark.parametrize(("failing", "taken"), [("a", "else"), ("b", "100%"), ("", "100%")])
def test_what_remains_is_nothing_until_all_else_is_out(strategy: str, failing: str, taken: str) -> None:
    """An `else` beside 100% has no share of its own, and is asked when the circuit of the others is open."""
    percentage = {
        "id": "p",
        "type": "percentage",
        "properties": {"strategy": strategy},
        "outputs": {"100%": {"elementId": "a"}, "else": {"elementId": "b"}},
    }
    models = [{**MODEL, "id": name, "properties": {"provider": "openai", "model": name}} for name in "ab"]
    node = compile_route(_between(percentage, *models), {}).nodes["p"]
    assert isinstance(node, Percentage)
    looks = {"openai/a": Look(first_byte_s=1.0), "openai/b": Look(first_byte_s=0.1)}
    looks |= {f"openai/{failing}": Look(circuit="open")}
    found = choose(node, ToldHealth(looks), "account", frozenset(), 0.5, drew=True)

    assert taken == (found and found.share.name)
