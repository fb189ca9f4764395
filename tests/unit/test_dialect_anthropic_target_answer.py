from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import AnswerContext, Written
from services.providers.dialects.neutral.translate import Translation
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from services.providers.dialects.answer import Answer

NAMES = Restore(tool_names={"a_b_1": "a.b"})
JSON_TOOL = Restore(answer_tool="json_answer")
FREE_TEXT = Restore(custom_tools=frozenset({"patch"}))
USAGE = {"input_tokens": 10, "output_tokens": 5}


def read(body: bytes, restore: Restore = NAMES) -> Answer:
    """Read an answer as a client of OpenAI's chat gets it."""
    return Translation(
        client=CLIENT,
        target=anthropic_target(),
        written=Written(body=b"", restore=restore),
        notes=(),
        context=AnswerContext(model="asked", created_s=7, answer_id="1"),
    ).read_answer(body)


def translate(content: Any, restore: Restore = NAMES, **members: Any) -> tuple[Answer, dict[str, Any]]:
    document = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": content,
    }
    body = orjson.dumps({**document, "stop_reason": "end_turn", "usage": USAGE, **members})
    answer = read(body, restore)
    return answer, orjson.loads(answer.body)


def message(content: Any, restore: Restore = NAMES, **members: Any) -> dict[str, Any]:
    found = translate(content, restore, **members)[1]["choices"][0]
    assert isinstance(found, dict)
    return {"finish_reason": found["finish_reason"], **found["message"]}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def tool_use(name: str = "f", **members: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": {"a": 1}, **members}


def test_text_blocks_are_joined() -> None:
    """Case 39: several text blocks are one content."""
    assert "AB" == message([text("A"), text("B")])["content"]


def test_only_calls() -> None:
    """Case 40: an answer of calls alone has no content, and ends in `tool_calls`."""
    found = message([tool_use(), tool_use("a_b_1", id="toolu_2", input={})], stop_reason="tool_use")

    assert (None, "tool_calls") == (found["content"], found["finish_reason"])
    assert [
        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "toolu_2", "type": "function", "function": {"name": "a.b", "arguments": "{}"}},
    ] == found["tool_calls"]


@pytest.mark.parametrize(
    ("stop_reason", "expected", "warned"),
    [
        ("end_turn", "stop", False),
        ("stop_sequence", "stop", False),
        ("pause_turn", "stop", False),
        ("max_tokens", "length", False),
        ("model_context_window_exceeded", "length", False),
        ("tool_use", "tool_calls", False),
        ("refusal", "content_filter", False),
        ("novel", "stop", True),
        (None, "stop", True),
    ],
)
def test_stop_reasons(stop_reason: Any, expected: str, warned: bool) -> None:  # noqa: FBT001
    """Case 41: each stop reason has its counterpart; an unknown one is a stop with a warning."""
    answer, _ = translate([tool_use()], stop_reason=stop_reason)

    assert (expected, warned) == (answer.finish_reason, bool(answer.warnings))


def test_usage() -> None:
    """Case 42: the prompt includes what was read from and written to the cache."""
    usage = {**USAGE, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
    answer, document = translate([], usage=usage)

    assert {
        "prompt_tokens": 130,
        "completion_tokens": 5,
        "total_tokens": 135,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 0},
    } == document["usage"]
    assert (
        UsageCounts(input_tokens=130, output_tokens=5, cache_read_tokens=100, cache_write_tokens=20)
        == answer.usage
    )


def test_usage_is_never_null() -> None:
    """Case 143: the client sees numbers even where the provider reported none; the meter knows better."""
    answer, document = translate([], usage=None)

    assert (0, None) == (document["usage"]["total_tokens"], answer.usage)


def test_envelope() -> None:
    """Case 143: id, time, model and fingerprint are always there."""
    _, document = translate([text("A")])
    _, bare = translate([text("A")], id=None, model=None)

    assert ("msg_1", 7, "claude-x", None) == tuple(
        document[key] for key in ("id", "created", "model", "system_fingerprint")
    )
    assert ("chatcmpl-1", "asked") == (bare["id"], bare["model"])


def test_thinking() -> None:
    """Case 48: thinking is never content, and keeps its signature for the way back."""
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
    ]
    found = message([*blocks, text("A")])

    assert ("A", "hm", blocks) == (found["content"], found["reasoning_content"], found["thinking_blocks"])


def test_server_tools_and_citations_are_passed_over() -> None:
    """Case 55: blocks without counterpart are left out, and nothing breaks."""
    found = message(
        [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {**text("A"), "citations": [{"type": "web_search_result_location"}]},
            {"type": "novel"},
            None,
        ]
    )

    assert ("A", False) == (found["content"], "tool_calls" in found)


def test_emulated_format() -> None:
    """Case 31: the input of the tool that gives the answer is the content, and the reason is `stop`."""
    found = message([text("Sure:"), tool_use("json_answer")], JSON_TOOL, stop_reason="tool_use")

    assert ('{"a":1}', "stop", False) == (found["content"], found["finish_reason"], "tool_calls" in found)


def test_emulated_format_beside_a_call() -> None:
    """Case 31: a call of the client's tool is still a call."""
    found = message([tool_use()], JSON_TOOL, stop_reason="tool_use")

    assert (None, "tool_calls") == (found["content"], found["finish_reason"])


def test_refusal() -> None:
    """Case 41: a refusal ends in `content_filter`, with the provider's explanation where it gives one."""
    found = message([], stop_reason="refusal", stop_details={"type": "refusal", "explanation": "No."})

    assert ("content_filter", "No.", None) == (found["finish_reason"], found["refusal"], found["content"])


def test_success_that_holds_an_error() -> None:
    """Case 145: an error with status 200 is a failure, in the client's shape."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    answer = read(orjson.dumps(error))

    assert answer.failure is not None
    assert (FailureClass.SERVER, 529) == (answer.failure.failure_class, answer.failure.status)
    assert "overloaded_error" == orjson.loads(answer.body)["error"]["type"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"content":"x"}'])
def test_not_a_message(body: bytes) -> None:
    """Case 146: an answer that is no message is the provider's error."""
    with pytest.raises(GatewayError) as caught:
        read(body)

    assert Reason.UPSTREAM_MALFORMED is caught.value.reason


@given(
    content=st.lists(
        st.none()
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "thinking", "redacted_thinking", "tool_use", "x"])},
            optional={
                name: st.none() | st.integers(0, 9) | st.text(max_size=3) | st.just({"a": 1})
                for name in ("text", "thinking", "signature", "data", "id", "name", "input")
            },
        ),
        max_size=4,
    ),
    stop_reason=st.none() | st.sampled_from(["tool_use", "x"]) | st.integers(0, 3),
    usage=st.none()
    | st.dictionaries(st.sampled_from(["input_tokens", "cache_creation"]), st.none() | st.text()),
)
def test_no_message_is_too_strange(content: Any, stop_reason: Any, usage: Any) -> None:
    """Members of the wrong type never break a translation."""
    answer, document = translate(content, stop_reason=stop_reason, usage=usage)

    assert document["choices"][0]["finish_reason"] == answer.finish_reason


def test_cache_writes_are_told_apart() -> None:
    """Case 44: what was written to the cache for an hour is counted apart from what is kept for minutes."""
    creation = {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}
    usage = {**USAGE, "cache_creation_input_tokens": 50, "cache_creation": creation}

    assert (
        UsageCounts(input_tokens=60, output_tokens=5, cache_write_tokens=50, cache_write_1h_tokens=30)
        == translate([], usage=usage)[0].usage
    )


def test_citations_are_annotations() -> None:
    """Case 55: a source on the web is an annotation, with the place in the whole text that it stands for."""
    source = {
        "type": "web_search_result_location",
        "url": "https://x.test/a",
        "title": "A",
        "cited_text": "words",
        "encrypted_index": "Eo8B",
    }
    other = {"type": "char_location", "cited_text": "x", "document_index": 0}
    found = message([text("See: "), {**text("B."), "citations": [source, other, None]}])

    cited = {
        "url": "https://x.test/a",
        "title": "A",
        "start_index": 5,
        "end_index": 7,
        "cited_text": "words",
        "encrypted_index": "Eo8B",
    }
    assert [{"type": "url_citation", "url_citation": cited}] == found["annotations"]


def test_free_text_tool() -> None:
    """Case 18: the call of a tool that takes free text comes back with the text alone."""
    found = message(
        [tool_use("patch", input={"input": "*** Begin"}), tool_use("patch", input={"other": 1})],
        FREE_TEXT,
        stop_reason="tool_use",
    )

    assert [
        {"id": "toolu_1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}},
        {"id": "toolu_1", "type": "custom", "custom": {"name": "patch", "input": '{"other":1}'}},
    ] == found["tool_calls"]


@pytest.mark.parametrize(("tier", "expected"), [("standard", "default"), ("priority", "priority")])
def test_service_tier(tier: str, expected: str) -> None:
    """The tier that answered is told in OpenAI's words."""
    assert expected == translate([], usage={**USAGE, "service_tier": tier})[1]["service_tier"]


def test_only_the_providers_own_tools() -> None:
    """Case 41: an answer that called no tool of the client's does not end in calls."""
    assert "stop" == message([text("A")], stop_reason="tool_use")["finish_reason"]


def test_input_beyond_all_depth() -> None:
    """Case 146: a call whose input nests too deeply to be written is the provider's error."""
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    body = b'{"content":[{"type":"tool_use","id":"c","name":"f","input":%s}]}' % deep

    with pytest.raises(GatewayError) as caught:
        read(body)

    assert Reason.UPSTREAM_MALFORMED is caught.value.reason


WORDS = st.sampled_from(
    ["text", "thinking", "redacted_thinking", "tool_use", "error", "refusal", "end_turn", "tool_use", "x"]
)
MEMBERS = [
    "type",
    "content",
    "text",
    "citations",
    "url",
    "input",
    "name",
    "id",
    "usage",
    "stop_reason",
    "stop_details",
    "explanation",
    "error",
    "message",
    "model",
    "signature",
    "data",
    "service_tier",
    "cache_creation",
]
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | WORDS | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS), children, max_size=6)
    ),
    max_leaves=25,
)


@given(document=st.dictionaries(st.sampled_from(MEMBERS), DOCUMENTS, max_size=8) | DOCUMENTS)
def test_no_document_is_too_strange(document: Any) -> None:
    """Case 146: whatever JSON comes, an answer or the provider's error is made of it."""
    outcome = attempt(json.dumps(document).encode())
    if isinstance(outcome, GatewayError):
        assert Reason.UPSTREAM_MALFORMED is outcome.reason
    else:
        assert isinstance(orjson.loads(outcome.body), dict)


def attempt(body: bytes) -> Answer | GatewayError:
    """Read, and take a refusal for an outcome."""
    try:
        return read(body)
    except GatewayError as error:
        return error
