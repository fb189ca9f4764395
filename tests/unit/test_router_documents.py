"""The settings of a gateway that are objects: what is taken, how it is written, and what is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.router.core.documents import Documents, checked_documents

NAMES = [field.name for field in fields(Documents)]
RULE = {"limitType": "cost", "limit": 5, "window": 60}
RATE = {"limitType": "requests", "limit": 5, "window": 60}
FULL_RULE = {
    "id": "r1",
    "enabled": False,
    "limitType": "cost",
    "limit": 0.5,
    "window": 1,
    "technique": "fixed",
    "model": {"mode": "filter", "values": ["openai/gpt-4o"]},
    "provider": {"mode": "filter", "values": []},
    "metadata": {"user": {"mode": "partition"}, "team": {"mode": "filter", "values": ["a"]}},
}
EACH = {name: {"mode": "partition"} for name in ("model", "provider", "token")}
POLICY = {"id": "p", "enabled": True, "action": "FLAG", "check": ["REQUEST"], "profiles": ["x"]}
TARGET = {"url": "https://otel.example/v1/traces", "headers": {"x-team": "blue"}}
STRIPE = {"authorization": "stripe-key", "usage_events": [{"payload": "{}"}]}


def _kept(name: str, document: object) -> Any:
    found = checked_documents(Documents(**{name: json.dumps(document)}))
    text = getattr(found, name)
    return json.loads(text) if text else None


def _refused(name: str, text: str) -> str:
    with pytest.raises(GatewayError) as caught:
        checked_documents(Documents(**{name: text}))
    assert Reason.INVALID_REQUEST == caught.value.reason
    return caught.value.metadata["param"]


SAME = [
    ("guardrails", {"prompt": {}, "response": {}}),
    ("guardrails", {"prompt": {"S1": "FLAG", "S13": "BLOCK", "P1": "FLAG"}, "response": {"S2": "BLOCK"}}),
    ("dlp", {"enabled": False, "action": "BLOCK", "profiles": []}),
    ("dlp", {"enabled": True, "policies": []}),
    ("dlp", {"enabled": True, "policies": [{**POLICY, "check": ["REQUEST", "RESPONSE"]}]}),
    ("otel", []),
    ("otel", [{**TARGET, "content_type": "protobuf", "authorization": "my-secret"}]),
    ("otel", [{"url": "http://collector:4318", "headers": {}, "content_type": "json"}] * 20),
    ("spend_limits", {"enabled": True, "rules": [FULL_RULE]}),
    ("spend_limits", {"enabled": True, "rules": [{**FULL_RULE, **EACH, "mode": "hard"}]}),
    ("rate_limits", {"enabled": True, "rules": [{**FULL_RULE, **EACH, "limitType": "tokens", "limit": 7}]}),
    ("rate_limits", {"enabled": False, "rules": [{**FULL_RULE, "limitType": "requests", "limit": 10**12}]}),
    ("stripe", STRIPE),
    ("stripe", {"authorization": "store/a.b:c", "usage_events": []}),
    ("stripe", {"authorization": "f" * 32, "usage_events": [{"payload": "x" * 16_384}]}),
]


@pytest.mark.parametrize(("name", "document"), SAME)
def test_what_is_whole_is_kept_as_it_is(name: str, document: object) -> None:
    """A document with nothing left out comes back as it went in."""
    assert document == _kept(name, document)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", "null"])
def test_what_is_left_out_or_null_is_not_set(name: str, text: str) -> None:
    """No document and `null` are the same."""
    assert Documents() == checked_documents(Documents(**{name: text}))


@pytest.mark.parametrize(
    ("name", "document", "kept"),
    [
        ("spend_limits", {}, {"enabled": False, "rules": []}),
        ("spend_limits", {"enabled": None, "rules": None}, {"enabled": False, "rules": []}),
        ("rate_limits", {"enabled": True}, {"enabled": True, "rules": []}),
        ("spend_limits", {"rules": [{**FULL_RULE, "mode": "soft", "token": None}]},
         {"enabled": False, "rules": [FULL_RULE]}),
        ("otel", [TARGET], [{**TARGET, "content_type": "json"}]),
        ("otel", [{"url": "http://a"}], [{"url": "http://a", "headers": {}, "content_type": "json"}]),
        ("dlp", {"enabled": True, "policies": [{**POLICY, "check": ["RESPONSE", "RESPONSE"]}]},
         {"enabled": True, "policies": [{**POLICY, "check": ["RESPONSE"]}]}),
        ("guardrails", {"prompt": {"S1": None}, "response": {}}, {"prompt": {}, "response": {}}),
    ],
)  # fmt: skip
def test_defaults_are_filled_in(name: str, document: object, kept: object) -> None:
    """What was left out is there afterwards, and what stands twice stands once."""
    assert kept == _kept(name, document)


@pytest.mark.parametrize("member", ["limitType", "limit_type"])
def test_a_rule_gets_its_defaults_and_an_id(member: str) -> None:
    """The id is short, is made from the rule, and differs for each rule; sent again, it is the same."""
    rules = [{member: "cost", "limit": 5, "window": 60.0}, {member: "cost", "limit": 5, "window": 60}]
    first = _kept("spend_limits", {"rules": rules})["rules"]
    again = _kept("spend_limits", {"rules": rules})["rules"]
    expected = {"enabled": True, "limitType": "cost", "limit": 5, "window": 60, "technique": "sliding"}

    assert [expected] * 2 == [{name: rule[name] for name in rule if name != "id"} for rule in first]
    assert first == again
    assert 2 == len({rule["id"] for rule in first})
    assert {8} == {len(rule["id"]) for rule in first}


def test_an_id_that_is_given_is_never_made_for_another_rule() -> None:
    """A rule without an id gives way to one that has the id it would get."""
    made = _kept("spend_limits", {"rules": [RULE]})["rules"][0]["id"]
    rules = _kept("spend_limits", {"rules": [RULE, {**RULE, "id": made, "limit": 7}]})["rules"]

    assert made == rules[1]["id"] != rules[0]["id"]


REFUSED: list[tuple[str, object, str]] = [
    *((name, "x", name) for name in NAMES),
    *((name, 7, name) for name in NAMES),
    ("guardrails", {"prompt": {}}, "guardrails.response"),
    ("guardrails", {"prompt": {}, "response": {}, "x": 1}, "guardrails.x"),
    ("guardrails", {"prompt": {"S14": "FLAG"}, "response": {}}, "guardrails.prompt.S14"),
    ("guardrails", {"prompt": {"S1": "IGNORE"}, "response": {}}, "guardrails.prompt.S1"),
    ("dlp", {}, "dlp.enabled"),
    ("dlp", {"enabled": True}, "dlp.action"),
    ("dlp", {"enabled": 1, "action": "FLAG", "profiles": []}, "dlp.enabled"),
    ("dlp", {"enabled": True, "action": "FLAG", "profiles": [""]}, "dlp.profiles.0"),
    ("dlp", {"enabled": True, "action": "FLAG", "profiles": ["x"] * 101}, "dlp.profiles"),
    ("dlp", {"enabled": True, "policies": [], "action": "FLAG"}, "dlp.action"),
    ("dlp", {"enabled": True, "policies": [POLICY, POLICY]}, "dlp.policies.1.id"),
    ("dlp", {"enabled": True, "policies": [{**POLICY, "check": ["BOTH"]}]}, "dlp.policies.0.check.0"),
    ("dlp", {"enabled": True, "policies": [{**POLICY, "x": 1}]}, "dlp.policies.0.x"),
    ("dlp", {"enabled": True, "policies": [POLICY] * 101}, "dlp.policies"),
    ("otel", {}, "otel"),
    ("otel", [TARGET] * 21, "otel"),
    ("otel", [{"headers": {}}], "otel.0.url"),
    ("otel", [{**TARGET, "url": "ftp://a"}], "otel.0.url"),
    ("otel", [{**TARGET, "url": "https://"}], "otel.0.url"),
    ("otel", [{**TARGET, "url": "https://[::1"}], "otel.0.url"),
    ("otel", [{**TARGET, "url": "https://a b"}], "otel.0.url"),
    ("otel", [{**TARGET, "url": "https://user:key@a"}], "otel.0.url"),
    ("otel", [{**TARGET, "url": "https://a?key=" + "a1" * 20}], "otel.0.url"),
    ("otel", [{**TARGET, "url": "https://a/" + "a" * 2048}], "otel.0.url"),
    ("otel", [{**TARGET, "headers": {"a b": "c"}}], "otel.0.headers.a b"),
    ("otel", [{**TARGET, "headers": {"x-a": 1}}], "otel.0.headers.x-a"),
    ("otel", [{**TARGET, "headers": {"x-a": "b\r\nc: d"}}], "otel.0.headers.x-a"),
    ("otel", [{**TARGET, "headers": {f"x-{index}": "" for index in range(33)}}], "otel.0.headers"),
    ("otel", [{**TARGET, "content_type": "xml"}], "otel.0.content_type"),
    ("otel", [{**TARGET, "authorization": ""}], "otel.0.authorization"),
    ("otel", [{**TARGET, "x": 1}], "otel.0.x"),
    ("spend_limits", {"enabled": "yes"}, "spend_limits.enabled"),
    ("spend_limits", {"rules": [RULE] * 21}, "spend_limits.rules"),
    ("spend_limits", {"rules": [RULE, RULE, {**RULE, "window": 0}]}, "spend_limits.rules.2.window"),
    ("spend_limits", {"rules": [{**RULE, "window": 1.5}]}, "spend_limits.rules.0.window"),
    ("spend_limits", {"rules": [{**RULE, "window": 2**31}]}, "spend_limits.rules.0.window"),
    ("spend_limits", {"rules": [{**RULE, "limit": 0}]}, "spend_limits.rules.0.limit"),
    ("spend_limits", {"rules": [{**RULE, "limit": True}]}, "spend_limits.rules.0.limit"),
    ("spend_limits", {"rules": [{**RULE, "limit": 10**10}]}, "spend_limits.rules.0.limit"),
    ("spend_limits", {"rules": [{"limit": 1, "window": 1}]}, "spend_limits.rules.0.limitType"),
    ("spend_limits", {"rules": [{**RULE, "limitType": "count"}]}, "spend_limits.rules.0.limitType"),
    ("spend_limits", {"rules": [{**RULE, "technique": "x"}]}, "spend_limits.rules.0.technique"),
    ("spend_limits", {"rules": [{**RULE, "id": "a"}, {**RULE, "id": "a"}]}, "spend_limits.rules.1.id"),
    ("spend_limits", {"rules": [{**RULE, "id": "a" * 65}]}, "spend_limits.rules.0.id"),
    ("spend_limits", {"rules": [{**RULE, "model": {"mode": "filter"}}]},
     "spend_limits.rules.0.model.values"),
    ("spend_limits", {"rules": [{**RULE, "token": {"mode": "x"}}]}, "spend_limits.rules.0.token.mode"),
    ("spend_limits", {"rules": [{**RULE, "mode": "strict"}]}, "spend_limits.rules.0.mode"),
    ("spend_limits", {"rules": [{**RULE, "limit": 1e-10}]}, "spend_limits.rules.0.limit"),
    ("spend_limits", {"rules": [{**RULE, "limitType": "tokens"}]}, "spend_limits.rules.0.limitType"),
    ("rate_limits", {"rules": [RULE]}, "rate_limits.rules.0.limitType"),
    ("rate_limits", {"rules": [{**RATE, "limit": 0}]}, "rate_limits.rules.0.limit"),
    ("rate_limits", {"rules": [{**RATE, "limit": 0.5}]}, "rate_limits.rules.0.limit"),
    ("rate_limits", {"rules": [{**RATE, "limit": 10**12 + 1}]}, "rate_limits.rules.0.limit"),
    ("rate_limits", {"rules": [RATE] * 21}, "rate_limits.rules"),
    ("rate_limits", {"rules": [RATE, {**RATE, "x": 1}]}, "rate_limits.rules.1.x"),
    ("spend_limits", {"rules": [{**RULE, "metadata": {"a": {"mode": "x"}}}]},
     "spend_limits.rules.0.metadata.a.mode"),
    ("spend_limits", {"rules": [{**RULE, "metadata": {"a": {"mode": "partition", "values": []}}}]},
     "spend_limits.rules.0.metadata.a.values"),
    ("spend_limits", {"rules": [{**RULE, "metadata": {str(index): {} for index in range(6)}}]},
     "spend_limits.rules.0.metadata"),
    ("stripe", {"authorization": "a"}, "stripe.usage_events"),
    ("stripe", {**STRIPE, "usage_events": [{"payload": "x" * 16_385}]}, "stripe.usage_events.0.payload"),
    ("stripe", {**STRIPE, "usage_events": [{"payload": {}}]}, "stripe.usage_events.0.payload"),
    ("stripe", {**STRIPE, "usage_events": [{}] * 101}, "stripe.usage_events"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "document", "param"), REFUSED)
def test_what_is_wrong_is_named_by_its_path(name: str, document: object, param: str) -> None:
    """Down to the member or the item that is wrong."""
    assert param == _refused(name, json.dumps(document))


SECRETS = [
    "Bearer abc",
    "sk_live_abcdefgh12345678",
    "sk-proj-abcdefgh12345678",
    "whsec_abcdefgh12345678",
    "hr_abcdefgh_ijklmnopqrst",
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMj.abc",
    "ghp_abcdefgh12345678",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_refused_wherever_one_could_stand(secret: str) -> None:
    """What needs one names it: nothing here is sealed."""
    headers = {**TARGET, "headers": {"x-team": secret}}

    assert "otel.0.headers.x-team" == _refused("otel", json.dumps([headers]))
    assert "otel.0.authorization" == _refused("otel", json.dumps([{**TARGET, "authorization": secret}]))
    assert "stripe.authorization" == _refused("stripe", json.dumps({**STRIPE, "authorization": secret}))


@pytest.mark.parametrize(
    "name",
    ["Authorization", "X-API-Key", "api-key", "DD-API-KEY", "x-honeycomb-team", "x-auth-token", "Cookie"],
)
def test_a_header_that_holds_a_secret_is_refused_whatever_its_value(name: str) -> None:
    """Its name is enough, in any spelling."""
    assert f"otel.0.headers.{name}" == _refused("otel", json.dumps([{**TARGET, "headers": {name: "x"}}]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1,]",
        "NaN",
        '"\\ud800"',
        "[" * 65 + "]" * 65,
        "[" * 5000,
        " " * 200_000,
        '{"a":' * 80 + "1" + "}" * 80,
    ],
)
def test_what_is_no_json_or_too_much_of_it_is_refused(name: str, text: str) -> None:
    """By the name of the whole document."""
    assert name == _refused(name, text)


MEMBERS = [
    "enabled", "rules", "policies", "action", "profiles", "prompt", "response", "S1", "url", "headers",
    "authorization", "usage_events", "payload", "limit", "limitType", "window", "id", "metadata", "mode",
    "values", "check", "model",
]  # fmt: skip
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
        st.sampled_from(["cost", "FLAG", "BLOCK", "filter", "partition", "REQUEST", "https://a", "fixed"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(MEMBERS), st.text(max_size=5)), inner, max_size=5),
    ),
    max_leaves=20,
)


@given(name=st.sampled_from(NAMES), document=JSON)
def test_any_json_is_taken_or_refused(name: str, document: Any) -> None:
    """Nothing else happens, and what is taken is taken again as it was written."""
    try:
        found = checked_documents(Documents(**{name: json.dumps(document)}))
    except GatewayError as error:
        assert Reason.INVALID_REQUEST == error.reason  # noqa: PT017 - either outcome is right
        assert error.metadata["param"].split(".")[0] == name  # noqa: PT017
        return

    assert found == checked_documents(found)


@given(name=st.sampled_from(NAMES), text=st.text(max_size=100))
def test_any_text_is_taken_or_refused(name: str, text: str) -> None:
    """Nothing else happens."""
    try:
        checked_documents(Documents(**{name: text}))
    except GatewayError as error:
        assert Reason.INVALID_REQUEST == error.reason  # noqa: PT017 - either outcome is right
