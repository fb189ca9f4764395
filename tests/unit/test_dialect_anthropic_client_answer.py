"""
Whole answers and errors, written as Anthropic messages.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from anthropic.types import ErrorResponse, Message

from services.providers.dialects.anthropic.client_side import CLIENT
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.sides import AnswerContext
from services.providers.dialects.usage import UsageCounts

CONTEXT = AnswerContext(model="asked", created_s=7, answer_id="0" * 24)
ANNOTATION = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "cited_text": "c"}}


def write(
    *parts: Any, finish: Finish = Finish.STOP, stop_sequence: str = "", **members: Any
) -> dict[str, Any]:
    choice = Choice(parts=list(parts), finish=finish, stop_sequence=stop_sequence)
    body = CLIENT.write_answer(Completion(choices=[choice], **members), CONTEXT)
    Message.model_validate_json(body, strict=True)
    document: dict[str, Any] = orjson.loads(body)
    return document


def test_a_whole_message() -> None:
    """A message has all members that Anthropic's own has."""
    found = write(TextPart(text="hi"), id="x-1", model="served")

    assert {
        "id": "x-1",
        "type": "message",
        "role": "assistant",
        "model": "served",
        "content": [{"type": "text", "text": "hi", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    } == {name: value for name, value in found.items() if name != "usage"}


def test_names_of_our_own() -> None:
    """Where the provider gives neither id nor model, the message has ours."""
    found = write()

    assert ("msg_" + "0" * 24, "asked", []) == (found["id"], found["model"], found["content"])


def test_order_of_blocks() -> None:
    """Case 66: thoughts are a block of their own before the text, and calls of tools come after it."""
    found = write(
        ReasoningPart(text="hm"),
        TextPart(text="hi"),
        ToolCallPart(id="call_1", name="f", arguments='{"a":1}'),
        finish=Finish.TOOL_CALLS,
    )

    assert [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "hi", "citations": None},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
    ] == found["content"]
    assert "tool_use" == found["stop_reason"]


def test_cached_tokens() -> None:
    """Case 67: what came from the cache, or went into it, is no part of the input tokens here."""
    counts = UsageCounts(
        input_tokens=100,
        output_tokens=7,
        cache_read_tokens=60,
        cache_write_tokens=30,
        cache_write_1h_tokens=10,
        reasoning_tokens=3,
    )

    assert {
        "input_tokens": 10,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    } == write(usage=counts)["usage"]


@pytest.mark.parametrize("usage", [None, UsageCounts(), UsageCounts(cache_read_tokens=5)])
def test_usage_that_is_not_known(usage: UsageCounts | None) -> None:
    """Case 68: numbers that the provider does not give are zero, and never null or below it."""
    found = write(usage=usage)["usage"]

    assert (0, 0, 0) == (found["input_tokens"], found["output_tokens"], found["cache_creation_input_tokens"])


@pytest.mark.parametrize("arguments", ["", "[1]", "3", "null", "{broken", '{"a":'])
def test_arguments_that_are_no_object(arguments: str) -> None:
    """Case 74: a call whose arguments are no object has an empty one, and the answer goes on."""
    found = write(ToolCallPart(id="c", name="f", arguments=arguments), finish=Finish.TOOL_CALLS)

    assert {} == found["content"][0]["input"]


def test_arguments_cut_by_the_limit() -> None:
    """Case 74: an answer that met its limit within a call says so."""
    found = write(ToolCallPart(id="c", name="f", arguments='{"a":'), finish=Finish.LENGTH)

    assert "max_tokens" == found["stop_reason"]


@pytest.mark.parametrize(
    ("finish", "sequence", "parts", "expected"),
    [
        (Finish.STOP, "", (), "end_turn"),
        (Finish.STOP, "END", (), "stop_sequence"),
        (Finish.LENGTH, "", (), "max_tokens"),
        (Finish.CONTENT_FILTER, "", (TextPart(text="I"),), "refusal"),
        (Finish.STOP, "", (RefusalPart(text="I will not"),), "refusal"),
        (Finish.STOP, "", (ToolCallPart(id="c", name="f"),), "tool_use"),
        (Finish.TOOL_CALLS, "", (), "end_turn"),
    ],
)
def test_reasons_to_stop(finish: Finish, sequence: str, parts: tuple[Any, ...], expected: str) -> None:
    """Case 76: a filtered answer is a refusal; a client runs tools when there are any, and only then."""
    found = write(*parts, finish=finish, stop_sequence=sequence)

    assert (expected, sequence or None) == (found["stop_reason"], found["stop_sequence"])


@pytest.mark.parametrize(
    ("tier", "expected"), [("default", "standard"), ("priority", "priority"), ("flex", None), ("", None)]
)
def test_tier_that_served(tier: str, expected: str | None) -> None:
    """Case 78: the tier that served is told in Anthropic's words, where it has one."""
    assert expected == write(service_tier=tier)["usage"].get("service_tier")


@pytest.mark.parametrize(
    ("status", "failure_class", "expected"),
    [
        (400, FailureClass.INVALID_REQUEST, "invalid_request_error"),
        (401, FailureClass.AUTHENTICATION, "authentication_error"),
        (404, FailureClass.NOT_FOUND, "not_found_error"),
        (429, FailureClass.RATE_LIMIT, "rate_limit_error"),
        (502, FailureClass.CUT, "api_error"),
        (529, FailureClass.SERVER, "overloaded_error"),
    ],
)
def test_errors(status: int, failure_class: FailureClass, expected: str) -> None:
    """Case 80: errors of every call in this dialect, the counting of tokens too, have Anthropic's shape."""
    body = CLIENT.write_error(status, failure_class, "no")
    ErrorResponse.model_validate_json(body)

    assert {"type": "error", "error": {"type": expected, "message": "no"}} == orjson.loads(body)


@pytest.mark.parametrize(
    "part",
    [
        ReasoningPart(text="hm", signature="s=", origin="anthropic"),
        ReasoningPart(text="", signature="s=", origin="anthropic"),
        ReasoningPart(sealed="x=", origin="anthropic"),
        ReasoningPart(text="hm", sealed="x=", origin="openai", item_id="rs_1"),
        ReasoningPart(sealed="x=", origin="openai", item_id="rs_1"),
        ReasoningPart(text="", signature="s=", origin="gemini"),
        ToolCallPart(id="call:1", name="f", arguments='{"a":1}', signature="s="),
    ],
)
def test_what_a_client_gives_back(part: Any) -> None:
    """Thoughts and calls that a client replays are read as what they were, seals of any provider included."""
    content = write(part)["content"]
    body = orjson.dumps({"messages": [{"role": "assistant", "content": content}]})

    assert [part] == CLIENT.read_request(body, Notes()).messages[0].parts


def test_free_text_of_a_call() -> None:
    """A call with free text has it as an object, which is all that a call can have here."""
    found = write(ToolCallPart(id="c", name="f", arguments="x = 1", custom=True))

    assert {"input": "x = 1"} == found["content"][0]["input"]


def test_citations() -> None:
    """Sources on the web are citations; others have no counterpart."""
    found = write(TextPart(text="hi", citations=[ANNOTATION, {"type": "file_citation"}]))

    assert [
        {
            "type": "web_search_result_location",
            "url": "https://a",
            "title": "A",
            "cited_text": "c",
            "encrypted_index": "",
        }
    ] == found["content"][0]["citations"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (MediaPart(kind="image", data="aGk="), "![image](data:image/png;base64,aGk=)"),
        (MediaPart(kind="image", url="https://a/b.png"), "![image](https://a/b.png)"),
        (MediaPart(kind="audio", media_type="audio/wav", data="aGk=", text="hello"), "hello"),
    ],
)
def test_media_in_answers(part: MediaPart, expected: str) -> None:
    """Images stand in the text, and of sound what was said: messages have no block for either."""
    assert [expected] == [block["text"] for block in write(part)["content"]]
