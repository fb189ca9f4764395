# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.models import profile_for
from services.providers.dialects.anthropic.request_writer import merge_betas
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT

ANCIENT = "claude-3-haiku-20240307"
OLDER = "claude-sonnet-4-20250514"
OLD = "claude-sonnet-4-5"
ADAPTIVE = "claude-opus-4-6"
NEW = "claude-opus-4-8"
NEWEST = "claude-opus-5-5"
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


def run(
    body: bytes,
    model: str = OLD,
    *,
    stream: bool = False,
    strict: bool = False,
    now_s: int = 1,
    beta: str = "",
) -> Translation:
    target = anthropic_target(beta=beta)
    return translate_request(CLIENT, target, body, model=model, stream=stream, now_s=now_s, strict=strict)


def translate(model: str = OLD, *, strict: bool = False, **members: Any) -> Translation:
    body = orjson.dumps({"messages": [USER], **members})
    return run(body, model, strict=strict)


def sent(model: str = OLD, **members: Any) -> dict[str, Any]:
    found = orjson.loads(translate(model, **members).written.body)
    assert isinstance(found, dict)
    return found


def refusal(model: str = OLD, *, strict: bool = False, **members: Any) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as caught:
        translate(model, strict=strict, **members)
    assert caught.value.metadata["param"] in caught.value.message
    return caught.value.reason, caught.value.metadata["param"]


def both(model: str, *notes: str, **members: Any) -> dict[str, Any]:
    """Translate with exactly these notes, and see that strict mode refuses by the first one's parameter."""
    assert notes == translate(model, **members).notes
    if notes:
        param = notes[0].partition("=")[2].partition(":")[0]
        assert (Reason.UNSUPPORTED, param) == refusal(model, strict=True, **members)
    else:
        translate(model, strict=True, **members)
    return sent(model, **members)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ANCIENT, 4096),
        ("claude-3-5-sonnet-latest", 8192),
        (OLD, 64_000),
        (NEWEST, 128_000),
        ("my-host/other", 4096),
    ],
)
def test_max_tokens_is_filled_in(model: str, expected: int) -> None:
    """Case 1: the mandatory limit is the model's own, else the configured default."""
    assert expected == sent(model)["max_tokens"]


def test_max_completion_tokens_wins() -> None:
    """Case 2: of the two limits the newer name wins."""
    assert 5 == sent(max_tokens=9, max_completion_tokens=5)["max_tokens"]
    assert 9 == sent(max_tokens=9, max_completion_tokens=None)["max_tokens"]


@pytest.mark.parametrize(
    ("stop", "expected", "notes"),
    [
        ("END", ["END"], ()),
        (["a", "b"], ["a", "b"], ()),
        (["a", " \n"], ["a"], ("dropped=stop",)),
        ("\n", None, ("dropped=stop",)),
        (None, None, ()),
    ],
)
def test_stop(stop: Any, expected: Any, notes: tuple[str, ...]) -> None:
    """Case 19: stop is a list upstream, without entries of whitespace."""
    assert expected == both(OLD, *notes, stop=stop).get("stop_sequences")


@pytest.mark.parametrize(
    ("temperature", "expected", "notes"),
    [(0, 0, ()), (0.5, 0.5, ()), (1, None, ()), (1.5, None, ("clamped=temperature:1",))],
)
def test_temperature(temperature: float, expected: Any, notes: tuple[str, ...]) -> None:
    """Case 20: a temperature above 1 is clamped and reported, never forwarded; 1 is the default."""
    assert expected == both(OLD, *notes, temperature=temperature).get("temperature")


@pytest.mark.parametrize(
    ("model", "given", "expected", "notes"),
    [
        (OLDER, (0.5, 0.9), (0.5, 0.9), ()),
        (OLD, (0.5, 0.9), (0.5, None), ("dropped=top_p",)),
        (OLD, (1, 0.9), (None, 0.9), ()),
        (OLD, (0.5, 1), (0.5, None), ()),
        (OLD, (None, 0.9), (None, 0.9), ()),
        (NEW, (0.5, 0.9), (None, None), ("dropped=temperature", "dropped=top_p")),
        (NEW, (1, 1), (None, None), ()),
    ],
)
def test_temperature_and_top_p(
    model: str, given: tuple[Any, Any], expected: tuple[Any, Any], notes: tuple[str, ...]
) -> None:
    """Case 21: what a model takes of the two is sent, the rest is reported."""
    found = both(model, *notes, temperature=given[0], top_p=given[1])

    assert expected == (found.get("temperature"), found.get("top_p"))


@pytest.mark.parametrize("strict", [False, True])
def test_several_answers_are_refused(strict: bool) -> None:  # noqa: FBT001
    """Case 22: more than one answer is refused in either mode, never silently one."""
    assert (Reason.UNSUPPORTED, "n") == refusal(strict=strict, n=2)
    assert () == translate(n=1).notes


@pytest.mark.parametrize(
    ("name", "value", "nothing"),
    [
        ("logit_bias", {"1": 2}, {}),
        ("presence_penalty", 0.5, 0),
        ("frequency_penalty", 0.5, 0.0),
        ("seed", 7, None),
        ("logprobs", True, False),
        ("top_logprobs", 3, 0),
        ("functions", [{"name": "f"}], []),
        ("function_call", {"name": "f"}, "auto"),
        ("store", True, False),
        ("metadata", {"a": "b"}, {}),
        ("prediction", {"type": "content"}, None),
        ("verbosity", "low", None),
        ("web_search_options", {}, None),
        ("made_up", 1, None),
    ],
)
def test_parameters_without_counterpart(name: str, value: Any, nothing: Any) -> None:
    """Cases 23 and 140: what the target lacks, known or not, is reported unless it asks for nothing."""
    assert name not in both(OLD, f"dropped={name}", **{name: value})
    assert name not in both(OLD, **{name: nothing})


@pytest.mark.parametrize(
    ("members", "expected", "notes"),
    [
        ({"user": "u-1"}, "u-1", ()),
        ({"safety_identifier": "s-1"}, "s-1", ()),
        ({"user": "u-1", "safety_identifier": "s-1"}, "u-1", ()),
        ({"user": "ann@example.com"}, None, ("dropped=user",)),
        ({"user": "+49 (170) 123-4567"}, None, ("dropped=user",)),
        ({"user": "x" * 257}, None, ("dropped=user",)),
        ({"user": "ann@example.com", "safety_identifier": "s-1"}, "s-1", ("dropped=user",)),
        ({"user": ""}, None, ()),
    ],
)
def test_user(members: dict[str, Any], expected: Any, notes: tuple[str, ...]) -> None:
    """Case 24: the user's id goes on unless it looks like an address or a number."""
    assert expected == both(OLD, *notes, **members).get("metadata", {}).get("user_id")


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "sent_effort", "notes"),
    [
        (ADAPTIVE, "high", {"type": "adaptive"}, "high", ()),
        (ADAPTIVE, "minimal", {"type": "adaptive"}, "low", ("clamped=reasoning_effort:low",)),
        (ADAPTIVE, "xhigh", {"type": "adaptive"}, "max", ("clamped=reasoning_effort:max",)),
        (NEW, "xhigh", {"type": "adaptive"}, "xhigh", ()),
        (NEW, "none", None, None, ()),
        ("claude-opus-5", "none", {"type": "disabled"}, None, ()),
        ("claude-sonnet-5-5", "none", {"type": "between_tools"}, None, ()),
        (NEWEST, "none", None, "low", ("clamped=reasoning_effort:low",)),
        (OLD, "none", None, None, ()),
        (OLD, "low", {"type": "enabled", "budget_tokens": 2048}, None, ()),
        (OLD, "max", {"type": "enabled", "budget_tokens": 32_768}, None, ()),
        (ANCIENT, "low", None, None, ("dropped=reasoning_effort",)),
    ],
)
def test_reasoning_effort(
    model: str, effort: str, thinking: Any, sent_effort: Any, notes: tuple[str, ...]
) -> None:
    """Case 25: effort becomes effort with adaptive thinking, or a budget on older models."""
    found = both(model, *notes, reasoning_effort=effort)

    assert thinking == found.get("thinking")
    assert sent_effort == found.get("output_config", {}).get("effort")


def test_unknown_effort() -> None:
    """Case 25: a value that is no effort is the client's error."""
    assert (Reason.INVALID_REQUEST, "reasoning_effort") == refusal(reasoning_effort="huge")


@pytest.mark.parametrize(
    ("max_tokens", "budget", "notes"),
    [(4096, 4095, ()), (1025, 1024, ()), (1024, None, ("dropped=reasoning_effort",))],
)
def test_budget_is_below_max_tokens(max_tokens: int, budget: Any, notes: tuple[str, ...]) -> None:
    """Case 26: the budget stays below the limit, and below its own minimum there is no thinking."""
    found = both(OLD, *notes, reasoning_effort="high", max_tokens=max_tokens)

    assert budget == found.get("thinking", {}).get("budget_tokens")


def test_native_thinking_is_taken_from_clients_that_know() -> None:
    """Case 26: `thinking` itself is taken too, with its budget capped, and turned where it must be."""
    manual = {"type": "enabled", "budget_tokens": 9000}

    assert manual == both(OLD, thinking=manual)["thinking"]
    capped = both(OLD, "clamped=thinking.budget_tokens:4999", thinking=manual, max_tokens=5000)
    assert {"type": "enabled", "budget_tokens": 4999} == capped["thinking"]
    assert {"type": "adaptive"} == both(NEW, "clamped=thinking.budget_tokens:adaptive", thinking=manual)[
        "thinking"
    ]
    assert "thinking" not in both(ANCIENT, "dropped=thinking", thinking=manual)
    assert (Reason.INVALID_REQUEST, "thinking.budget_tokens") == refusal(thinking={"type": "enabled"})


def test_restrictions_of_thinking() -> None:
    """Case 27: with thinking on, what is incompatible is taken out and reported."""
    found = both(
        OLD,
        "clamped=tool_choice:auto",
        "dropped=temperature",
        "dropped=top_p",
        "dropped=top_k",
        reasoning_effort="low",
        temperature=0.2,
        top_p=0.5,
        top_k=4,
        tools=[TOOL],
        tool_choice="required",
    )

    assert {"type": "auto"} == found["tool_choice"]
    assert not {"temperature", "top_p", "top_k"} & found.keys()


def test_adaptive_thinking_may_force_a_call() -> None:
    """Case 27: adaptive thinking, unlike a budget, goes together with a forced call."""
    found = both(ADAPTIVE, reasoning_effort="low", tools=[TOOL], tool_choice="required", temperature=1)

    assert ({"type": "any"}, {"type": "adaptive"}) == (found["tool_choice"], found["thinking"])


def history(*, signed: bool) -> list[dict[str, Any]]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    message: dict[str, Any] = {"role": "assistant", "tool_calls": [call]}
    if signed:
        message["thinking_blocks"] = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    return [USER, message, {"role": "tool", "tool_call_id": "c", "content": "r"}]


def test_calls_without_thinking_in_the_history() -> None:
    """Case 28: a budget is dropped, and reported, where the last call was made without thinking."""
    members = {"reasoning_effort": "low", "tools": [TOOL]}

    assert "thinking" not in both(OLD, "dropped=reasoning_effort", messages=history(signed=False), **members)
    assert "thinking" in both(OLD, messages=history(signed=True), **members)
    assert "thinking" in both(ADAPTIVE, messages=history(signed=False), **members)
    ended = [*history(signed=False), {"role": "assistant", "content": "Done."}, USER]
    assert "thinking" in both(OLD, messages=ended, **members)


def test_prefill_and_budget() -> None:
    """Case 28: a prefill leaves no room for a budget."""
    messages = [USER, {"role": "assistant", "content": "The"}]

    assert "thinking" not in both(OLD, "dropped=reasoning_effort", messages=messages, reasoning_effort="low")


@pytest.mark.parametrize("model", [OLD, NEWEST])
def test_json_schema_natively(model: str) -> None:
    """Case 30: a schema goes to the model's own output format, closed as it wants it."""
    found = both(model, response_format=JSON_SCHEMA)

    assert {"format": {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}} == found[
        "output_config"
    ]
    assert "tools" not in found


def test_json_schema_beyond_the_native_subset() -> None:
    """Case 30: constraints that the target refuses are taken out and reported; names are not keywords."""
    schema = {
        "type": "object",
        "properties": {
            "minLength": {"type": "string", "minLength": 2},
            "b": {"type": "object", "additionalProperties": True},
        },
        "enum": [{"minimum": 1}],
    }
    found = both(
        OLD,
        "clamped=response_format.json_schema:additionalProperties-minLength",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )

    assert {
        "type": "object",
        "properties": {
            "minLength": {"type": "string"},
            "b": {"type": "object", "additionalProperties": False},
        },
        "enum": [{"minimum": 1}],
        "additionalProperties": False,
    } == found["output_config"]["format"]["schema"]


def test_json_schema_by_a_tool() -> None:
    """Case 30: an older model must call a tool whose input is the answer."""
    found = both(ANCIENT, "emulated=response_format", response_format=JSON_SCHEMA)

    assert {"type": "tool", "name": "json_answer"} == found["tool_choice"]
    assert ("json_answer", SCHEMA) == (found["tools"][0]["name"], found["tools"][0]["input_schema"])
    assert "json_answer" == translate(ANCIENT, response_format=JSON_SCHEMA).written.restore.answer_tool


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "any"}),
        ("auto", {"type": "any"}),
        ("required", {"type": "any"}),
        ("none", {"type": "tool", "name": "json_answer"}),
    ],
)
def test_json_object_beside_tools(choice: Any, expected: dict[str, Any]) -> None:
    """Case 31: with tools of the client's, one of them or the answer must be called."""
    members = {"response_format": {"type": "json_object"}, "tools": [TOOL], "tool_choice": choice}
    found = both(OLD, "emulated=response_format", **members)

    assert (["f", "json_answer"], expected) == (
        [tool["name"] for tool in found["tools"]],
        found["tool_choice"],
    )


def test_json_object_beside_a_named_tool() -> None:
    """Case 31: a call that the client forces is the whole answer, so there is no format to bring about."""
    named = {"type": "function", "function": {"name": "f"}}
    found = translate(OLD, response_format={"type": "json_object"}, tools=[TOOL], tool_choice=named)

    assert "" == found.written.restore.answer_tool
    assert 1 == len(orjson.loads(found.written.body)["tools"])


def test_json_object_tool_has_a_name_of_its_own() -> None:
    """Case 31: the tool that gives the answer never takes a name of the client's."""
    taken = {"type": "function", "function": {"name": "json_answer"}}
    found = sent(response_format={"type": "json_object"}, tools=[taken])

    assert 2 == len({tool["name"] for tool in found["tools"]})


@pytest.mark.parametrize(("model", "members"), [(NEWEST, {}), (OLD, {"reasoning_effort": "low"})])
def test_json_object_without_forcing(model: str, members: dict[str, Any]) -> None:
    """Case 31: where no call can be forced the model is told, and that is reported."""
    found = both(model, "emulated=response_format", response_format={"type": "json_object"}, **members)

    assert "JSON object" in found["system"]
    assert "tools" not in found


def test_text_format_is_nothing() -> None:
    """The default format needs nothing."""
    assert {"model", "max_tokens", "messages"} == both(OLD, response_format={"type": "text"}).keys()


def test_betas_are_merged() -> None:
    """Case 38: names of betas are joined, each once, and none overwritten."""
    assert "a,b,c" == merge_betas("a, b", "", "b,c,")
    body = orjson.dumps({"messages": [USER]})
    found = run(body, stream=True, beta="x-1, y-2,x-1")
    assert {"anthropic-beta": "x-1,y-2"} == found.written.headers
    assert {} == translate().written.headers


@pytest.mark.parametrize(("tier", "expected"), [("auto", "auto"), ("default", "standard_only"), (None, None)])
def test_service_tier(tier: Any, expected: Any) -> None:
    """Tiers that both sides know are translated, others are reported."""
    assert expected == both(OLD, service_tier=tier).get("service_tier")
    assert "service_tier" not in both(OLD, "dropped=service_tier", service_tier="flex")


def test_stream_and_usage() -> None:
    """Streaming is asked for, and whether the client wants usage is kept for the answer."""
    body = orjson.dumps({"messages": [USER], "stream": True, "stream_options": {"include_usage": True}})
    found = run(body, stream=True, now_s=9)

    assert orjson.loads(found.written.body)["stream"]
    assert (True, 9) == (found.context.include_usage, found.context.created_s)


def test_translation_is_byte_stable() -> None:
    """Case 139: the same body gives the same bytes, key order kept, so that caches hit."""
    body = b'{"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","z":1,"a":2}}}],"messages":[{"role":"user","content":"x"}]}'
    first, second = (run(body, now_s=now).written.body for now in (1, 2))

    assert first == second
    assert b'{"type":"object","z":1,"a":2}' in first


@pytest.mark.parametrize(
    ("members", "param", "reason"),
    [
        ({"max_tokens": 0}, "max_tokens", Reason.INVALID_REQUEST),
        ({"max_tokens": "9"}, "max_tokens", Reason.INVALID_REQUEST),
        ({"max_completion_tokens": True}, "max_completion_tokens", Reason.INVALID_REQUEST),
        ({"n": 0}, "n", Reason.INVALID_REQUEST),
        ({"temperature": 2.1}, "temperature", Reason.INVALID_REQUEST),
        ({"temperature": "1"}, "temperature", Reason.INVALID_REQUEST),
        ({"top_p": -0.1}, "top_p", Reason.INVALID_REQUEST),
        ({"top_k": 1.5}, "top_k", Reason.INVALID_REQUEST),
        ({"stop": 7}, "stop", Reason.INVALID_REQUEST),
        ({"stop": [7]}, "stop", Reason.INVALID_REQUEST),
        ({"user": 7}, "user", Reason.INVALID_REQUEST),
        ({"thinking": "on"}, "thinking", Reason.INVALID_REQUEST),
        ({"thinking": {"type": "on"}}, "thinking.type", Reason.INVALID_REQUEST),
        ({"response_format": "json"}, "response_format", Reason.INVALID_REQUEST),
        ({"response_format": {"type": "xml"}}, "response_format.type", Reason.INVALID_REQUEST),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", Reason.INVALID_REQUEST),
        ({"stream_options": 7}, "stream_options", Reason.INVALID_REQUEST),
        ({"modalities": ["text", "audio"]}, "modalities", Reason.UNSUPPORTED),
        ({"audio": {"voice": "x"}}, "audio", Reason.UNSUPPORTED),
    ],
)
def test_malformed_parameters_are_named(members: dict[str, Any], param: str, reason: Reason) -> None:
    """A malformed or impossible parameter is refused by name."""
    assert (reason, param) == refusal(**members)


def test_notes_are_fit_for_a_header() -> None:
    """Names that a client makes up cannot break or flood the header that carries the notes."""
    members: dict[str, Any] = {f"bad\r\nname é{index}" + "x" * 200: 1 for index in range(100)}
    found = translate(**members).notes

    assert (33, "dropped=more") == (len(found), found[-1])
    assert all(note.isascii() and note.isprintable() and len(note) < 100 for note in found)


def test_deep_nesting_is_refused() -> None:
    """A schema nested beyond reason is the client's error, not a crash."""
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    body = b'{"messages":[{"role":"user","content":"x"}],"%s":%s}'
    tools = b'[{"type":"function","function":{"name":"f","parameters":' + deep + b"}}]"
    formats = b'{"type":"json_schema","json_schema":{"schema":' + deep + b"}}"

    for name, value in ((b"tools", tools), (b"response_format", formats)):
        for model in (ANCIENT, OLD, NEWEST):
            with pytest.raises(GatewayError) as caught:
                run(body % (name, value), model)
            assert Reason.INVALID_REQUEST is caught.value.reason


@pytest.mark.parametrize(
    ("model", "same_as"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("claude-opus-4-1@20250805", "claude-opus-4-1"),
        ("anthropic/claude-opus-5.5", "claude-opus-5-5"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-haiku-5-5-20260901", "claude-haiku-5-5"),
    ],
)
def test_models_in_every_spelling(model: str, same_as: str) -> None:
    """A model has one profile, in each reseller's spelling of its name."""
    assert profile_for(same_as) is profile_for(model)


def test_unknown_models_get_the_strictest_rules() -> None:
    """A model that is newer than the table is sent nothing that a newest model would refuse."""
    found = sent("claude-opus-9", temperature=0.5, reasoning_effort="high", max_tokens=50)

    assert {"type": "adaptive"} == found["thinking"]
    assert "temperature" not in found
