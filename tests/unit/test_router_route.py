"""Which elements make a dynamic route, and what is said about those that do not."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.router.core.plan import Catalogue
from services.router.core.route import check_comment, check_name
from services.router.core.route_graph import check_elements

CATALOGUE = Catalogue(
    providers=frozenset({"openai", "workers-ai", "google-ai-studio", "custom-ops"}),
    aliases={"google": "google-ai-studio"},
)
OWN = frozenset({"mine"})


def _to(target: str) -> dict[str, str]:
    return {"elementId": target}


def _model(element_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": element_id,
        "type": "model",
        "properties": {"provider": "openai", "model": "gpt-4o-mini", "timeout": 10_000, "retries": 2},
        "outputs": {"success": _to("e")},
        **changes,
    }


START = {"id": "s", "type": "start", "outputs": {"next": _to("m1")}}
END = {"id": "e", "type": "end", "outputs": {}}
SIMPLE = [START, _model("m1"), END]
SUPPORT: list[dict[str, Any]] = [
    {"id": "s", "type": "start", "outputs": {"next": _to("c")}},
    {
        "id": "c",
        "type": "conditional",
        "properties": {"conditions": {"metadata.plan": {"$eq": "pro"}}},
        "outputs": {"true": _to("p"), "false": _to("r")},
    },
    {"id": "p", "type": "percentage", "outputs": {"90%": _to("m1"), "10%": _to("m2")}},
    {
        "id": "r",
        "type": "rate",
        "properties": {"limitType": "cost", "key": "metadata.user_id", "limit": 1, "window": 3600},
        "outputs": {"success": _to("m1"), "fallback": _to("m2")},
    },
    _model("m1", outputs={"success": _to("e"), "fallback": _to("m2")}),
    _model(
        "m2", properties={"provider": "workers-ai", "model": "@cf/meta/llama", "timeout": 1, "retries": 0}
    ),
    END,
]


def _knows(name: str) -> bool:
    return CATALOGUE.knows(name, OWN)


def _check(elements: object) -> None:
    text = json.dumps(elements)
    assert text == check_elements(text, _knows)


def _refused(elements: object) -> str:
    with pytest.raises(GatewayError) as caught:
        check_elements(json.dumps(elements), _knows)
    assert Reason.INVALID_REQUEST == caught.value.reason
    return caught.value.metadata["param"]


def _with(index: int, **changes: Any) -> list[dict[str, Any]]:
    elements = copy.deepcopy(SUPPORT)
    elements[index].update(changes)
    return elements


def _conditions(conditions: object) -> list[dict[str, Any]]:
    return _with(1, properties={"conditions": conditions})


def test_a_route_is_returned_as_it_was_sent() -> None:
    """Space and unknown members of elements stay: editors keep places and labels there."""
    text = json.dumps([{**element, "position": {"x": 1}, "label": "é"} for element in SUPPORT], indent=3)

    assert text == check_elements(text, _knows)


@pytest.mark.parametrize(
    "elements",
    [
        SIMPLE,
        SUPPORT,
        [START, _model("m1"), {"id": "e", "type": "end"}],
        [START, _model("m1"), {"id": "e", "type": "end", "outputs": None, "properties": {}}],
        [START, _model("m1", properties={"provider": "openai", "model": "x"}), END],
        [
            START,
            _model("m1", properties={"provider": "openai", "model": "x", "timeout": 10.0, "retries": 0.0}),
            END,
        ],
        [START, _model("m1", properties={"provider": "google", "model": "gemini"}), END],
        [START, _model("m1", properties={"provider": "custom-mine", "model": "x"}), END],
        [START, _model("m1", properties={"provider": "custom-ops", "model": "x"}), END],
        [{"id": "s", "type": "start", "outputs": {"next": {"element_id": "m1"}}}, _model("m1"), END],
        _with(1, properties={"condition": {"metadata.plan": "pro"}}),
        _with(1, properties={"conditions": '{"metadata.plan": {"$eq": "pro"}}'}),
        _with(2, outputs={"10%": _to("m1"), "else": _to("m2")}),
        _with(2, outputs={"33.3%": _to("m1"), "66.7 %": _to("m2")}),
        _with(
            2, outputs={"10%": _to("m1"), "20%": _to("m2"), "30%": _to("e"), "15%": _to("e"), "25%": _to("e")}
        ),
        _with(3, type="rate_limit", properties={"limit": 10, "interval": 60, "technique": "sliding"}),
        _with(3, properties={"limit_type": "count", "key": "", "limit": 5.0, "window": 0.5}),
        _with(3, properties={"limitType": "tokens", "limit": 1000, "window": 60}),
        _with(3, properties={"limitType": "cost", "limit": 0.5, "window": 60}),
        _with(2, properties={"key": "metadata.user_id"}),
        _with(2, properties={"key": "", "strategy": "least-latency"}),
        _with(2, properties={"key": "body.user", "strategy": "weighted"}),
        [
            START,
            _model("m1", properties={"provider": "openai", "model": "x", "stream_failover": False}),
            END,
        ],
        [
            START,
            _model("m1", outputs={"success": _to("m2"), "fallback": _to("m2")}),
            _model("m2"),
            END,
        ],
        _with(3, outputs={"success": _to("m1")}),
    ],
)
def test_what_makes_a_route(elements: object) -> None:
    """Both spellings of what clients and documents spell in two ways are taken."""
    _check(elements)


WRONG: list[tuple[object, str]] = [
    ({}, "elements"),
    ([], "elements"),
    ([START, END, *[_model(f"m{index}") for index in range(99)]], "elements"),
    ([1], "elements.0"),
    ([{"type": "start"}], "elements.0.id"),
    ([{"id": "s"}], "elements.0.type"),
    ([{"id": "", "type": "start"}], "elements.0.id"),
    ([{"id": "x" * 129, "type": "start"}], "elements.0.id"),
    ([{"id": "s", "type": "begin"}], "elements.0.type"),
    ([{"id": "s", "type": "start"}], "elements.0.outputs"),
    ([{"id": "s", "type": "start", "outputs": {}}], "elements.0.outputs.next"),
    ([{"id": "s", "type": "start", "outputs": {"next": "m1"}}], "elements.0.outputs.next"),
    ([{"id": "s", "type": "start", "outputs": {"next": {}}}], "elements.0.outputs.next.elementId"),
    ([{"id": "s", "type": "start", "outputs": {"next": {"elementId": 1}}}],
     "elements.0.outputs.next.elementId"),
    ([{**START, "properties": {"x": 1}}, _model("m1"), END], "elements.0.properties.x"),
    ([START, _model("m1"), {**END, "outputs": {"next": _to("m1")}}], "elements.2.outputs.next"),
    ([_model("m1"), END], "elements"),
    ([START, {**START, "id": "s2"}, _model("m1"), END], "elements.1.type"),
    ([START, _model("m1"), _model("m1"), END], "elements.2.id"),
    ([START, _model("m1", outputs={"success": _to("nope")}), END], "elements.1.outputs.success.elementId"),
    ([START, _model("m1"), _model("m2"), END], "elements.2"),
    ([START, _model("m1", outputs={"success": _to("m2")}), _model("m2"), END], "elements.2"),
    ([START, _model("m1", outputs={"success": _to("e"), "fallback": _to("m1")}), END],
     "elements.1.outputs.fallback"),
    ([START, _model("m1", outputs={"success": _to("s")}), END], "elements.1.outputs.success"),
    (
        [START, _model("m1", outputs={"success": _to("m2")}), _model("m2", outputs={"success": _to("m1")}),
         END],
        "elements.2.outputs.success",
    ),
    ([{"id": "s", "type": "start", "outputs": {"next": _to("e")}}, END], "elements"),
    ([START, _model("m1", outputs={}), END], "elements.1.outputs.success"),
    ([START, _model("m1", outputs={"success": _to("e"), "x": _to("e")}), END], "elements.1.outputs.x"),
    ([START, _model("m1", properties={}), END], "elements.1.properties.provider"),
    ([START, _model("m1", properties={"provider": "openai"}), END], "elements.1.properties.model"),
    ([START, _model("m1", properties={"provider": "nope", "model": "x"}), END],
     "elements.1.properties.provider"),
    ([START, _model("m1", properties={"provider": "custom-other", "model": "x"}), END],
     "elements.1.properties.provider"),
    *(
        ([START, _model("m1", properties={"provider": "openai", "model": "x", name: value}), END],
         f"elements.1.properties.{name}")
        for name, value in [
            ("model", ""), ("model", "x" * 257), ("timeout", -1), ("timeout", 86_400_001), ("timeout", 1.5),
            ("timeout", "1"), ("stream_failover", 1), ("retries", 6), ("retries", -1), ("retries", True),
            ("temperature", 1),
        ]
    ),
    (_with(1, properties={}), "elements.1.properties.conditions"),
    (_with(1, properties={"conditions": {}, "condition": {}}), "elements.1.properties.conditions"),
    (_with(1, outputs={"true": _to("p")}), "elements.1.outputs.false"),
    (_with(2, properties={"key": "user_id"}), "elements.2.properties.key"),
    (_with(2, properties={"strategy": "best"}), "elements.2.properties.strategy"),
    (_with(2, properties={"strategy": "least-latency", "key": "metadata.a"}), "elements.2.properties.key"),
    (_with(2, properties={"x": 1}), "elements.2.properties.x"),
    (_with(2, outputs={}), "elements.2.outputs"),
    (_with(2, outputs={"else": _to("m1")}), "elements.2.outputs"),
    (_with(2, outputs={"90%": _to("m1"), "9%": _to("m2")}), "elements.2.outputs"),
    (_with(2, outputs={"90%": _to("m1"), "11%": _to("m2")}), "elements.2.outputs"),
    (_with(2, outputs={"90%": _to("m1"), "11%": _to("m2"), "else": _to("e")}), "elements.2.outputs"),
    (_with(2, outputs={"0%": _to("m1"), "100%": _to("m2")}), "elements.2.outputs.0%"),
    (_with(2, outputs={"half": _to("m1"), "50%": _to("m2")}), "elements.2.outputs.half"),
    (_with(2, outputs={f"{share}%": _to("m1") for share in (10, 20, 30, 15, 5, 20.0)}), "elements.2.outputs"),
    *(
        (_with(3, properties={**SUPPORT[3]["properties"], name: value}), f"elements.3.properties.{name}")
        for name, value in [
            ("limit", 0), ("limit", "1"), ("window", 0), ("window", 10**9), ("limitType", "bytes"),
            ("key", "user_id"), ("key", 7), ("technique", "x"), ("x", 1),
        ]
    ),
    (_with(3, properties={"limit": 1, "window": 1, "interval": 1}), "elements.3.properties.window"),
    (_with(3, properties={"limit": 1}), "elements.3.properties.window"),
    (_with(3, properties={"limit": 1.5, "window": 1}), "elements.3.properties.limit"),
    (_with(3, properties={"limitType": "tokens", "limit": 0, "window": 1}), "elements.3.properties.limit"),
    (_with(3, properties={"window": 1}), "elements.3.properties.limit"),
    (_with(3, properties={"limit": 1, "window": 1, "limitType": "cost", "limit_type": "cost"}),
     "elements.3.properties.limitType"),
]  # fmt: skip


@pytest.mark.parametrize(("elements", "param"), WRONG)
def test_what_makes_none_is_named_by_its_path(elements: object, param: str) -> None:
    """Down to the member of the element that is wrong."""
    assert param == _refused(elements)


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"metadata.plan": "pro"},
        {"metadata.plan": None, "body.stream": True, "headers.x-tier": 1},
        {"metadata.a.b.c": {"$eq": "x", "$ne": 2}},
        {"body.model": {"$in": ["a", 1, None, True]}, "body.n": {"$nin": []}},
        {"body.max_tokens": {"$gt": 1, "$gte": 1.5, "$lt": "b", "$lte": 9}},
        {"headers.x": {"$exists": False}, "metadata.mail": {"$regex": r"^[^@]+@example\.com$"}},
        {"$and": [{"metadata.a": 1}, {"$or": [{"metadata.b": 2}, {"$not": {"metadata.c": 3}}]}]},
        {"metadata.a": {"$not": {"$in": ["x"]}}},
        {"metadata.a": {"$not": "x"}},
    ],
)
def test_conditions_that_are_understood(conditions: object) -> None:
    """As an object and as JSON text."""
    _check(_conditions(conditions))
    _check(_conditions(json.dumps(conditions)))


def test_patterns_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling one can take a second, and a route may have hundreds."""
    with monkeypatch.context() as patched:
        patched.setattr("re.compile", lambda *_: pytest.fail("compiled"))
        _check(_conditions({"metadata.a": {"$regex": "(?i)" + "[!-\\U0010ffff]" * 16}}))


def _nested(depth: int) -> object:
    found: object = {"metadata.a": 1}
    for _ in range(depth):
        found = {"$not": found}
    return found


@pytest.mark.parametrize(
    ("conditions", "path"),
    [
        ([], ""),
        (7, ""),
        ("{", ""),
        ({"plan": "pro"}, ".plan"),
        ({"metadata": "pro"}, ".metadata"),
        ({"metadata.": "pro"}, ".metadata."),
        ({"metadata.$x": "pro"}, ".metadata.$x"),
        ({"$nor": []}, ".$nor"),
        ({"$and": {}}, ".$and"),
        ({"$or": []}, ".$or"),
        ({"$and": [1]}, ".$and.0"),
        ({"$or": [{"metadata.a": {"$x": 1}}]}, ".$or.0.metadata.a.$x"),
        ({"metadata.a": {}}, ".metadata.a"),
        ({"metadata.a": []}, ".metadata.a"),
        ({"metadata.a": {"b": 1}}, ".metadata.a.b"),
        ({"metadata.a": {"$eq": {}}}, ".metadata.a.$eq"),
        ({"metadata.a": {"$in": "x"}}, ".metadata.a.$in"),
        ({"metadata.a": {"$in": [1] * 101}}, ".metadata.a.$in"),
        ({"metadata.a": {"$in": [[]]}}, ".metadata.a.$in.0"),
        ({"metadata.a": {"$gt": None}}, ".metadata.a.$gt"),
        ({"metadata.a": {"$lt": True}}, ".metadata.a.$lt"),
        ({"metadata.a": {"$exists": 1}}, ".metadata.a.$exists"),
        ({"metadata.a": {"$regex": "("}}, ".metadata.a.$regex"),
        ({"metadata.a": {"$regex": ""}}, ".metadata.a.$regex"),
        ({"metadata.a": {"$regex": "x" * 257}}, ".metadata.a.$regex"),
        ({"metadata.a": {"$regex": "a{99999999999999999999}"}}, ".metadata.a.$regex"),
        ({"metadata.a": {"$regex": "((a{9}){9}){9}"}}, ".metadata.a.$regex"),
        *(
            ({"metadata.a": {"$regex": pattern}}, ".metadata.a.$regex")
            for pattern in (r"(a)\1", "(?P<x>a)(?P=x)", "a(?=b)", "a(?!b)", "(?<=a*)b", "(?>a)", "(b(a++))?")
        ),
        ({"metadata.a": "x" * 1025}, ".metadata.a"),
        ({"metadata.a": "\u0000"}, ".metadata.a"),
    ],
)
def test_conditions_that_are_not(conditions: object, path: str) -> None:
    """The error has the path into the conditions."""
    assert f"elements.1.properties.conditions{path}" == _refused(_conditions(conditions))


@pytest.mark.parametrize(
    "conditions", [_nested(17), {"$or": [{"metadata.a": 1}] * 101}, {"$and": [{"$or": [{}] * 60}] * 4}]
)
def test_conditions_are_bounded(conditions: object) -> None:
    """Neither too deep nor too many, however they are spread."""
    assert _refused(_conditions(conditions)).startswith("elements.1.properties.conditions")


@pytest.mark.parametrize("text", ["", "{", "null", "7", "[" * 3000, "[" * 65 + "]" * 65, " " * 262_145])
def test_what_is_no_array_of_elements_is_refused(text: str) -> None:
    """Whatever the text is."""
    with pytest.raises(GatewayError) as caught:
        check_elements(text, _knows)

    assert (Reason.INVALID_REQUEST, "elements") == (caught.value.reason, caught.value.metadata["param"])


def test_a_hundred_elements_in_a_row_make_a_route() -> None:
    """As many as there may be, one behind the other."""
    models = [
        _model(f"m{index}", outputs={"success": _to("e"), "fallback": _to(f"m{index + 1}")})
        for index in range(1, 98)
    ]

    _check([START, *models, _model("m98"), END])


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a", True),
        ("A.b_c-9", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ("a/b", False),
        ("é", False),
        ("a\n", False),
    ],
)
def test_names(name: str, good: bool) -> None:  # noqa: FBT001 - a table's column
    """The pattern of a route's name, and its bounds."""
    if good:
        assert name == check_name(name)
        return
    with pytest.raises(GatewayError) as caught:
        check_name(name)
    assert "name" == caught.value.metadata["param"]


@pytest.mark.parametrize(
    ("comment", "good"),
    [
        ("", True),
        ("a\nb", True),
        ("x" * 1000, True),
        ("x" * 1001, False),
        ("\x00", False),
        ("\x1b[0m", False),
    ],
)
def test_comments(comment: str, good: bool) -> None:  # noqa: FBT001 - a table's column
    """Lines of printable text, up to a bound."""
    if good:
        assert comment == check_comment(comment)
        return
    with pytest.raises(GatewayError) as caught:
        check_comment(comment)
    assert "comment" == caught.value.metadata["param"]


WORDS = st.sampled_from(
    [
        "id", "type", "outputs", "properties", "elementId", "next", "true", "false", "success", "fallback",
        "10%", "else", "conditions", "$and", "$or", "$not", "$eq", "$in", "$regex", "metadata.a", "provider",
        "model", "limit", "window",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["start", "conditional", "percentage", "rate", "model", "end", "s", "m1", "e", "openai"]),
)
JSON = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(WORDS, st.text(max_size=5)), inner, max_size=5)
    ),
    max_leaves=20,
)


def _survives(elements: object) -> None:
    text = json.dumps(elements)
    try:
        assert text == check_elements(text, _knows)
    except GatewayError as error:
        assert Reason.INVALID_REQUEST == error.reason  # noqa: PT017 - either outcome is right
        assert "elements" == error.metadata["param"].split(".")[0]  # noqa: PT017


@given(JSON)
def test_any_json_is_taken_or_refused(elements: Any) -> None:
    """Nothing else happens, and what is taken is given back as it is."""
    _survives(elements)


@given(st.data())
def test_a_route_with_anything_put_into_it_is_taken_or_refused(data: st.DataObject) -> None:
    """One place of a route that works gets any value: the deep readers see it too."""
    elements: Any = copy.deepcopy(SUPPORT)
    at, place = elements, data.draw(st.integers(0, len(elements) - 1))
    while isinstance(at[place], dict | list) and at[place] and data.draw(st.booleans()):
        at = at[place]
        place = (
            data.draw(st.sampled_from(list(at)))
            if isinstance(at, dict)
            else data.draw(st.integers(0, len(at) - 1))
        )
    at[place] = data.draw(JSON)
    _survives(elements)
