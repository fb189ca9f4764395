from __future__ import annotations

from typing import Any

import orjson
import pytest

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
from services.providers.dialects.openai_responses.client_side import CLIENT
from services.providers.dialects.openai_responses.seals import Seal, carried
from services.providers.dialects.usage import UsageCounts
from tests.fakes.responses_events import checked_response, sdk_client

Json = dict[str, Any]
USAGE = UsageCounts(
    input_tokens=10, output_tokens=5, cache_read_tokens=4, cache_write_tokens=2, reasoning_tokens=3
)
CITATION = {"start_index": 0, "end_index": 2, "url": "https://e.com", "title": "E"}
LOGPROB = {
    "token": "Hi",
    "logprob": -0.5,
    "bytes": None,
    "top_logprobs": [{"token": "Ho", "logprob": -1, "bytes": [72]}],
}
CUSTOM = [{"type": "custom", "name": "g"}]


def context(**members: Any) -> AnswerContext:
    """Return the context of a request."""
    request = CLIENT.read_request(orjson.dumps({"model": "asked", "input": "Hello", **members}), Notes())
    return AnswerContext(
        model="asked", created_s=7, answer_id="0" * 24, include_usage=True, echo=request.echo
    )


def write(*parts: Any, finish: Finish = Finish.STOP, of: AnswerContext | None = None, **members: Any) -> Json:
    choice = Choice(parts=list(parts), finish=finish, logprobs=members.pop("logprobs", None))
    completion = Completion(
        **{"id": "up_1", "model": "served", "choices": [choice], "usage": USAGE, **members}
    )
    return checked_response(orjson.loads(CLIENT.write_answer(completion, of or context())))


def output(*parts: Any, finish: Finish = Finish.STOP, of: AnswerContext | None = None) -> list[Json]:
    found: list[Json] = write(*parts, finish=finish, of=of)["output"]
    return found


def test_plain_answer() -> None:
    """Case 143: a whole response has its id, time, model and every number of its usage."""
    response = write(TextPart(text="Hi"))

    assert {
        "id": "resp_up_1",
        "object": "response",
        "created_at": 7,
        "status": "completed",
        "model": "served",
        "error": None,
        "incomplete_details": None,
        "previous_response_id": None,
        "store": False,
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 15,
        },
        "output": [
            {
                "id": "msg_up_1000",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
            }
        ],
    }.items() <= response.items()


def test_nothing_known() -> None:
    """Case 143: what the provider did not say is filled in, and unknown counts are zero."""
    response = write(id="", model="", usage=None)

    assert ("resp_" + "0" * 24, "asked", [], 0) == (
        response["id"],
        response["model"],
        response["output"],
        response["usage"]["total_tokens"],
    )


def test_sdk_reads_a_whole_answer() -> None:
    """Case 153: OpenAI's SDK reads what is written as its own."""
    call = ToolCallPart(id="c1", name="f", arguments="{}")
    body = orjson.dumps(write(ReasoningPart(text="Hm"), TextPart(text="Hi"), call))
    answer = sdk_client(body, "application/json").responses.create(model="m", input="x")

    assert ("Hi", ["reasoning", "message", "function_call"], 15) == (
        answer.output_text,
        [item.type for item in answer.output],
        answer.usage and answer.usage.total_tokens,
    )


def test_request_is_repeated() -> None:
    """A response repeats the request's options, without what only the provider of a tool may know."""
    asked = {
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "temperature": 0.5,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "tool_choice": "required",
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
    }
    server = {"type": "mcp", "server_label": "s", "server_url": "https://s.test", "authorization": "secret"}
    response = write(
        of=context(**asked, tools=[{"type": "function", "name": "f"}, server], service_tier="turbo")
    )

    assert {
        **asked,
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": None},
        "service_tier": None,
        "tools": [
            {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None},
            {"type": "mcp", "server_label": "s", "server_url": "https://s.test"},
        ],
    }.items() <= response.items()


@pytest.mark.parametrize(
    ("finish", "parts", "status", "reason"),
    [
        (Finish.STOP, [TextPart(text="x")], "completed", None),
        (Finish.TOOL_CALLS, [ToolCallPart(id="c", name="f")], "completed", None),
        (Finish.LENGTH, [TextPart(text="x")], "incomplete", {"reason": "max_output_tokens"}),
        (Finish.CONTENT_FILTER, [TextPart(text="x")], "incomplete", {"reason": "content_filter"}),
        (Finish.CONTENT_FILTER, [RefusalPart(text="No")], "completed", None),
    ],
)
def test_status(finish: Finish, parts: list[Any], status: str, reason: Json | None) -> None:
    """Case 153: a cut answer is incomplete, and says why; words of refusal are an answer."""
    response = write(*parts, finish=finish)

    assert (status, reason, status) == (
        response["status"],
        response["incomplete_details"],
        response["output"][-1]["status"],
    )


def test_only_the_last_item_is_cut() -> None:
    """Of an incomplete response only the last item is incomplete, and an image never is."""
    image = MediaPart(kind="image", media_type="image/png", data="AAAA")
    calls = [ToolCallPart(id="c1", name="f"), ToolCallPart(id="c2", name="f", arguments='{"a')]

    assert ["completed", "incomplete"] == [item["status"] for item in output(*calls, finish=Finish.LENGTH)]
    assert ["completed"] == [item["status"] for item in output(image, finish=Finish.LENGTH)]


def test_items_keep_their_order() -> None:
    """Words next to each other are one message; thoughts, calls and images are items of their own."""
    found = output(
        ReasoningPart(text="Hm"),
        TextPart(text="A", citations=[{"type": "url_citation", "url_citation": CITATION}]),
        RefusalPart(text="No"),
        ToolCallPart(id="c1", name="f"),
        TextPart(text="B"),
        MediaPart(kind="image", media_type="image/svg+xml", data="AAAA"),
        MediaPart(kind="image", media_type="image/x-odd", data="BBBB"),
    )

    assert [
        ("reasoning", [{"type": "summary_text", "text": "Hm"}]),
        (
            "message",
            [
                {
                    "type": "output_text",
                    "text": "A",
                    "annotations": [{"type": "url_citation", **CITATION}],
                    "logprobs": [],
                },
                {"type": "refusal", "refusal": "No"},
            ],
        ),
        ("function_call", "{}"),
        ("message", [{"type": "output_text", "text": "B", "annotations": [], "logprobs": []}]),
        ("image_generation_call", "AAAA"),
        ("image_generation_call", "BBBB"),
    ] == [
        (
            item["type"],
            item.get("content") or item.get("summary") or item.get("arguments") or item.get("result"),
        )
        for item in found
    ]
    assert ["svg", None] == [item.get("output_format") for item in found[-2:]]
    assert len({item["id"] for item in found}) == len(found)


def test_parts_that_say_nothing() -> None:
    """Nothing is written for a part that holds nothing."""
    assert [] == output(TextPart(text=""), RefusalPart(text=""), ReasoningPart())


def test_logprobs_are_told_once() -> None:
    """Probabilities stand with the first text, which is all that is known of where they belong."""
    content = write(TextPart(text="Hi"), TextPart(text="Ho"), logprobs=[LOGPROB])["output"][0]["content"]

    assert [1, 0] == [len(part["logprobs"]) for part in content]


def test_logprobs() -> None:
    """Case 149: probabilities have all their members, bytes among them."""
    response = write(TextPart(text="Hi"), logprobs=[LOGPROB, {"token": 1}, {"token": "x", "logprob": None}])

    assert [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Ho", "logprob": -1, "bytes": [72]}],
        }
    ] == response["output"][0]["content"][0]["logprobs"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (ToolCallPart(id="c", name="g", arguments="free", custom=True), "free"),
        (ToolCallPart(id="c", name="g", arguments='{"input":"free"}'), "free"),
        (ToolCallPart(id="c", name="g", arguments='{"text":"free"}'), "free"),
        (ToolCallPart(id="c", name="g", arguments='"free"'), "free"),
        (ToolCallPart(id="c", name="g", arguments='{"inp'), '{"inp'),
        (ToolCallPart(id="c", name="g", arguments='{"a":1,"b":2}'), '{"a":1,"b":2}'),
    ],
)
def test_custom_tools(call: ToolCallPart, expected: str) -> None:
    """Case 153: a custom tool is called with free text, also where the provider could only give JSON."""
    found = output(call, of=context(tools=CUSTOM))[0]

    assert ("custom_tool_call", "c", "g", expected) == (
        found["type"],
        found["call_id"],
        found["name"],
        found["input"],
    )


@pytest.mark.parametrize(
    ("part", "include", "expected"),
    [
        (ReasoningPart(text="Hm"), [], "absent"),
        (ReasoningPart(text="Hm"), ["reasoning.encrypted_content"], None),
        (ReasoningPart(sealed="gA", origin="openai"), [], "gA"),
        (
            ReasoningPart(text="Hm", signature="s", origin="anthropic"),
            ["reasoning.encrypted_content"],
            carried(Seal(signature="s", origin="anthropic")),
        ),
    ],
)
def test_sealed_reasoning(part: ReasoningPart, include: list[str], expected: str | None) -> None:
    """Case 153: what thoughts are sealed with stands in `encrypted_content`, whoever sealed them."""
    found = output(part, of=context(include=include))[0]

    assert expected == found.get("encrypted_content", "absent")


def test_reasoning_over_a_tool_round() -> None:
    """Case 153: the items of an answer, given back as they are, are the parts that made it."""
    given = [
        ReasoningPart(text="Hm", signature="s", origin="anthropic"),
        ReasoningPart(sealed="redacted", origin="anthropic"),
        TextPart(text="I look."),
        ToolCallPart(id="c1", name="f", arguments="{}", signature="thought"),
        ToolCallPart(id="c2", name="g", arguments="free", custom=True),
    ]
    items = output(*given, finish=Finish.TOOL_CALLS, of=context(tools=CUSTOM))
    items.append({"type": "function_call_output", "call_id": "c1", "output": "1"})
    request = CLIENT.read_request(orjson.dumps({"model": "m", "input": items}), Notes())
    found = request.messages[0].parts
    for part in found:
        if isinstance(part, ReasoningPart):
            part.item_id = ""

    assert given == found


def test_one_choice_is_shown() -> None:
    """A response has one answer, the first; an answer without any is empty."""
    choices = [Choice(parts=[TextPart(text="A")]), Choice(index=1, parts=[TextPart(text="B")])]

    assert "A" == write(choices=choices)["output"][0]["content"][0]["text"]
    assert [] == write(choices=[])["output"]


def test_error_body() -> None:
    """Case 57: an error has OpenAI's shape."""
    body = orjson.loads(CLIENT.write_error(429, FailureClass.RATE_LIMIT, "Slow down"))

    assert {
        "message": "Slow down",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    } == body["error"]
