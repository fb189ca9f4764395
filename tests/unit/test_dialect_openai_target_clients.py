"""
Chat completions as a target, seen from the far end: what clients of other dialects get of an OpenAI upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from services.providers.dialects.anthropic import client_side as anthropic
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat import hosts
from services.providers.dialects.openai_chat import side as openai_chat
from services.providers.dialects.openai_chat.target_side import chat_target
from services.providers.dialects.openai_responses import client_side as responses

if TYPE_CHECKING:
    from services.providers.dialects.neutral.sides import ClientSide

Json = dict[str, Any]
MESSAGES = [{"role": "user", "content": "Hello?"}]
ANTHROPIC: Json = {"model": "x", "max_tokens": 99, "messages": MESSAGES}
DONE = b"data: [DONE]\n\n"


def translation(client: ClientSide = anthropic.CLIENT, body: Json = ANTHROPIC, **members: Any) -> Translation:
    return translate_request(
        client,
        chat_target(members.pop("quirks", hosts.USUAL)),
        orjson.dumps({**body, **members}),
        model="m-1",
        stream=bool(members.get("stream")),
        now_s=1_700_000_000,
        strict=False,
    )


def answered(document: Json, client: ClientSide = anthropic.CLIENT, body: Json = ANTHROPIC) -> Json:
    found: Json = orjson.loads(translation(client, body).read_answer(orjson.dumps(document)).body)
    return found


def message(content: Any, finish: Any = "stop", **members: Any) -> Json:
    return {"choices": [{"message": content, "finish_reason": finish}], **members}


def chunk(delta: Any, finish: Any = None, **members: Any) -> bytes:
    return (
        b"data: "
        + orjson.dumps({"choices": [{"delta": delta, "finish_reason": finish}], **members})
        + b"\n\n"
    )


def streamed(data: bytes) -> list[Json]:
    """Give the events that a client of Anthropic's gets."""
    machine = translation(stream=True).stream(max_event_bytes=1 << 20)
    out = machine.feed(data) + machine.finish()
    return [orjson.loads(line[6:]) for line in out.split(b"\n") if line.startswith(b"data: ")]


def of_kind(events: list[Json], kind: str) -> list[Json]:
    return [event for event in events if event["type"] == kind]


@pytest.mark.parametrize(
    ("client", "body"),
    [
        (openai_chat.CLIENT, {"model": "x", "messages": MESSAGES}),
        (responses.CLIENT, {"model": "x", "input": "Hello?"}),
        (anthropic.CLIENT, ANTHROPIC),
    ],
)
def test_what_clients_rely_on(client: ClientSide, body: Json) -> None:
    """Case 143: an upstream that leaves out id, time and usage gives answers that have them, none null."""
    found = answered(message({"content": "Hi"}, usage=None, id=None), client, body)
    usage = {name: value for name, value in found["usage"].items() if name.endswith("_tokens")}

    assert found["id"]
    assert all(isinstance(value, int) for value in usage.values())
    if client is openai_chat.CLIENT:
        assert (1_700_000_000, True) == (found["created"], "system_fingerprint" in found)


def test_order_of_blocks() -> None:
    """Thoughts come first, then text, then calls, whatever the order of the upstream's members."""
    call = {"id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}
    found = answered(
        message({"tool_calls": [call], "content": "Hi", "reasoning_content": "Hm."}, "tool_calls")
    )

    assert ["thinking", "text", "tool_use"] == [block["type"] for block in found["content"]]
    assert ("tool_use", {"x": 1}) == (found["stop_reason"], found["content"][2]["input"])


@pytest.mark.parametrize("arguments", ["{oops", "[1]", "7", "", None])
def test_malformed_arguments(arguments: Any) -> None:
    """Case 74: arguments that are malformed or no object are an empty object to a client that needs one."""
    call = {"id": "a", "function": {"name": "f", "arguments": arguments}}
    found = answered(message({"tool_calls": [call]}, "tool_calls"))

    assert {} == found["content"][0]["input"]


def test_cached_tokens() -> None:
    """What came from the upstream's cache is counted apart, as clients of Anthropic's expect."""
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    found = answered(message({"content": "Hi"}, usage=usage))["usage"]

    assert (6, 4, 2) == (found["input_tokens"], found["cache_read_input_tokens"], found["output_tokens"])


def test_filter() -> None:
    """Case 76: a stop by the upstream's filter is a refusal."""
    assert "refusal" == answered(message({"content": ""}, "content_filter"))["stop_reason"]


def test_usage_after_the_end() -> None:
    """Cases 69, 70 and 73: one start, one end, and the usage that came last."""
    finish = chunk({}, "stop")
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'
    first = chunk({"role": "assistant", "content": "Hi"}, id="c")
    events = streamed(first + first + finish + finish + usage + DONE)

    assert [1, 1, 1] == [
        len(of_kind(events, kind)) for kind in ("message_start", "message_delta", "message_stop")
    ]
    assert 2 == of_kind(events, "message_delta")[0]["usage"]["output_tokens"]
    assert "HiHi" == "".join(event["delta"]["text"] for event in of_kind(events, "content_block_delta"))


def test_interleaved_calls() -> None:
    """Case 75: pieces of parallel calls that come by turns end up in their own blocks."""
    pieces = [(0, "a", "{"), (1, "b", "{"), (0, "", '"x":1}'), (1, "", '"y":2}')]
    data = b"".join(
        chunk(
            {
                "tool_calls": [
                    {"index": index, "function": {"arguments": piece}}
                    | ({"id": call_id, "function": {"name": "f", "arguments": piece}} if call_id else {})
                ]
            }
        )
        for index, call_id, piece in pieces
    )
    events = streamed(data + chunk({}, "tool_calls") + DONE)
    written: dict[int, str] = {}
    for event in of_kind(events, "content_block_delta"):
        written[event["index"]] = written.get(event["index"], "") + event["delta"]["partial_json"]

    assert [{"x": 1}, {"y": 2}] == [orjson.loads(text) for text in written.values()]
    assert [0, 1] == [event["index"] for event in of_kind(events, "content_block_start")]


def test_error_before_the_answer() -> None:
    """Case 145: an error as the first event of a success is an error, in the client's shape."""
    machine = translation(stream=True).stream(max_event_bytes=1 << 20)
    machine.feed(b'data: {"error":{"message":"Slow down","code":429}}\n\n')

    assert machine.failure is not None
    assert (False, 429) == (machine.failure.started, machine.failure.status)
    assert "rate_limit_error" == orjson.loads(machine.failure.body)["error"]["type"]


def test_free_text_comes_back() -> None:
    """A tool with free text works at a host that has none: the client gets its text, and not the object."""
    tools = [{"type": "custom", "name": "patch"}]
    body = {"model": "x", "input": "Go", "tools": tools}
    call = {"id": "a", "function": {"name": "patch", "arguments": '{"input":"*** x"}'}}
    found = answered(message({"tool_calls": [call]}, "tool_calls"), responses.CLIENT, body)

    assert ("custom_tool_call", "*** x") == (found["output"][0]["type"], found["output"][0]["input"])
