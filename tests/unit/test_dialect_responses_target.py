from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from pydantic import TypeAdapter

from kit.errors import GatewayError, Reason
from services.providers.dialects.neutral.conversation import (
    CacheMark,
    Conversation,
    FunctionTool,
    MediaPart,
    Message,
    ReasoningOptions,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    ServerTool,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.openai_chat.side import CLIENT as CHAT
from services.providers.dialects.openai_responses.request_reader import read_request
from services.providers.dialects.openai_responses.target_side import responses_target

Json = dict[str, Any]
TARGET = responses_target(openai_models=True)
OTHER_HOST = responses_target(openai_models=False)
PARAMS = TypeAdapter[Any](ResponseCreateParamsBase)
PNG = "iVBORw0KGgo="
HELLO = Message(role="user", parts=[TextPart(text="Hello")], path="messages[0]")
FUNCTION = FunctionTool(name="f", parameters={"type": "object"}, path="tools[0]")
CUSTOM = FunctionTool(name="g", custom=True)


def write(
    *messages: Message, model: str = "gpt-5.4", target: Any = TARGET, stream: bool = False, **members: Any
) -> tuple[Json, tuple[str, ...]]:
    """Write a request that the SDK's type of it takes; return it with the notes."""
    notes = Notes()
    conversation = Conversation(messages=list(messages) or [deepcopy(HELLO)], **members)
    body = orjson.loads(target.write_request(conversation, model, stream, notes).body)
    PARAMS.validate_python({name: value for name, value in body.items() if name != "stream"})
    return body, notes.taken()


def written(conversation: Conversation, model: str = "gpt-5.4", target: Any = TARGET) -> bytes:
    """Write a request that loses nothing."""
    body: bytes = target.write_request(conversation, model, False, Notes(strict=True)).body  # noqa: FBT003
    return body


def items(*messages: Message, **members: Any) -> list[Json]:
    found: list[Json] = write(*messages, **members)[0]["input"]
    return found


def user(*parts: Any) -> list[Json]:
    """Return the content of a user's message."""
    content: list[Json] = items(Message(role="user", parts=list(parts), path="messages[3]"))[0]["content"]
    return content


def test_smallest_request() -> None:
    """The provider is told not to keep the answer, and no more than what was asked for."""
    body, notes = write(model="gpt-4.1")

    assert {
        "model": "gpt-4.1",
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
        "store": False,
    } == body
    assert () == notes


def test_stream() -> None:
    """A stream is asked for."""
    assert write(stream=True)[0]["stream"] is True


def test_tool_round() -> None:
    """Case 153: thoughts, calls and results go out as items, in order, sealed thoughts with their seal."""
    messages = [
        Message(role="system", parts=[TextPart(text="Rules")]),
        Message(role="developer", parts=[TextPart(text="More")]),
        HELLO,
        Message(
            role="assistant",
            parts=[
                ReasoningPart(text="Hm", sealed="gA", origin="openai", item_id="rs_1"),
                TextPart(text="I"),
                TextPart(text="look"),
                RefusalPart(text="No"),
                ToolCallPart(id="c1", name="f"),
                ToolCallPart(id="c2", name="g", arguments="free", custom=True),
            ],
        ),
        Message(
            role="tool",
            parts=[
                ToolResultPart(call_id="c1", content=[TextPart(text="1")]),
                ToolResultPart(call_id="c2", content=[TextPart(text="a"), TextPart(text="b")]),
                ToolResultPart(call_id="c3"),
            ],
        ),
    ]
    body, notes = write(*messages, tools=[FUNCTION, CUSTOM])

    assert [
        {"type": "message", "role": "system", "content": "Rules"},
        {"type": "message", "role": "developer", "content": "More"},
        {"type": "message", "role": "user", "content": "Hello"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm"}],
            "encrypted_content": "gA",
        },
        {
            "id": "msg_0004",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "I", "annotations": []},
                {"type": "output_text", "text": "look", "annotations": []},
                {"type": "refusal", "refusal": "No"},
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "free"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        },
        {"type": "function_call_output", "call_id": "c3", "output": ""},
    ] == body["input"]
    assert (["reasoning.encrypted_content"], ()) == (body["include"], notes)


@pytest.mark.parametrize(
    ("thought", "model"),
    [
        (ReasoningPart(text="Hm"), "gpt-5.4"),
        (ReasoningPart(text="Hm", signature="s", origin="anthropic"), "gpt-5.4"),
        (ReasoningPart(sealed="x", origin="anthropic"), "gpt-5.4"),
        (ReasoningPart(sealed="x", origin="openai"), "gpt-4o"),
    ],
)
def test_thoughts_that_cannot_be_replayed(thought: ReasoningPart, model: str) -> None:
    """Case 29: thoughts without OpenAI's own seal are dropped, and told of."""
    message = Message(role="assistant", parts=[thought, TextPart(text="Hi")])
    body, notes = write(HELLO, message, model=model)

    assert (["message", "message"], ("dropped=messages.reasoning",)) == (
        [item["type"] for item in body["input"]],
        notes,
    )


def test_replay_through_chat() -> None:
    """Case 153: what a chat client gives back of sealed thoughts reaches OpenAI as it was."""
    block = {"type": "redacted_thinking", "data": "gA", "origin": "openai", "id": "rs_1"}
    request = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Ho", "thinking_blocks": [block]},
            {"role": "user", "content": "And?"},
        ],
    }
    body = orjson.loads(written(CHAT.read_request(orjson.dumps(request), Notes())))

    assert {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA"} == body["input"][1]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            MediaPart(kind="image", media_type="image/png", data=PNG, detail="low"),
            {"type": "input_image", "detail": "low", "image_url": f"data:image/png;base64,{PNG}"},
        ),
        (
            MediaPart(kind="image", url="https://e.com/a.png"),
            {"type": "input_image", "detail": "auto", "image_url": "https://e.com/a.png"},
        ),
        (
            MediaPart(kind="image", file_id="file_1"),
            {"type": "input_image", "detail": "auto", "file_id": "file_1"},
        ),
        (
            MediaPart(kind="document", media_type="application/pdf", data="AA==", name="a.pdf"),
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        ),
        (
            MediaPart(kind="document", media_type="text/csv", data="AA==", detail="high"),
            {
                "type": "input_file",
                "detail": "high",
                "filename": "document.csv",
                "file_data": "data:text/csv;base64,AA==",
            },
        ),
        (
            MediaPart(kind="document", url="https://e.com/a.pdf"),
            {"type": "input_file", "file_url": "https://e.com/a.pdf"},
        ),
        (MediaPart(kind="document", file_id="file_1"), {"type": "input_file", "file_id": "file_1"}),
        (MediaPart(kind="document", text="Hi", name="a.txt"), {"type": "input_text", "text": "a.txt\n\nHi"}),
    ],
)
def test_media(part: MediaPart, expected: Json) -> None:
    """Images and documents go out however the client gave them, beside text and in results of tools."""
    result = Message(role="tool", parts=[ToolResultPart(call_id="c", content=[part, TextPart(text="x")])])

    assert expected == user(TextPart(text="x"), part)[1]
    assert expected == items(HELLO, result)[1]["output"][0]


@pytest.mark.parametrize(
    "part",
    [
        MediaPart(kind="audio", media_type="audio/wav", data="AA=="),
        MediaPart(kind="video", url="https://e.com/a.mp4"),
        MediaPart(kind="image", url="gs://bucket/a.png"),
        MediaPart(kind="document"),
    ],
)
def test_media_that_is_refused(part: MediaPart) -> None:
    """Media that responses have no place for is refused, naming the message."""
    with pytest.raises(GatewayError) as caught:
        user(part)

    assert (Reason.UNSUPPORTED, "messages[3]") == (caught.value.reason, caught.value.metadata["param"])


def test_results_beside_words() -> None:
    """Results in a user's message stand before what it says."""
    message = Message(role="user", parts=[TextPart(text="So?"), ToolResultPart(call_id="c")])

    assert ["function_call_output", "message"] == [item["type"] for item in items(message)]


def test_failed_tool() -> None:
    """That a tool failed is said in its result, and told of."""
    content: list[TextPart | MediaPart] = [TextPart(text="Oh"), MediaPart(kind="image", data=PNG)]
    message = Message(role="tool", parts=[ToolResultPart(call_id="c", content=content, is_error=True)])
    body, notes = write(message)

    assert ({"type": "input_text", "text": '{"error":"Oh"}'}, ("emulated=messages.is_error",)) == (
        body["input"][0]["output"][0],
        notes,
    )


def test_images_of_the_model() -> None:
    """An image that a model made goes back as such."""
    image = MediaPart(kind="image", media_type="image/webp", data=PNG)
    item = items(HELLO, Message(role="assistant", parts=[image]))[1]

    assert ("image_generation_call", PNG, "webp") == (item["type"], item["result"], item["output_format"])


def test_long_call_ids() -> None:
    """The id of a call that OpenAI would refuse is shortened, for the call and its result alike."""
    name = "c" * 100
    call = Message(role="assistant", parts=[ToolCallPart(id=name, name="f")])
    found = items(call, Message(role="tool", parts=[ToolResultPart(call_id=name)]))

    assert found[0]["call_id"] == found[1]["call_id"]
    assert len(found[0]["call_id"]) <= 64


def test_cache_marks() -> None:
    """Cases 35 and 117: marks go to the models that have them; elsewhere they are told of."""
    message = Message(role="user", parts=[TextPart(text="x", cache=CacheMark(ttl="1h"))])
    marked = [{"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]

    assert (marked, ()) == (write(message, model="gpt-5.6")[0]["input"][0]["content"], write()[1])
    assert ("x", ("dropped=cache_control",)) == (
        write(message, model="gpt-5.4")[0]["input"][0]["content"],
        write(message, model="gpt-5.4")[1],
    )


def test_tools() -> None:
    """Case 153: functions are not strict unless asked to be, custom tools keep their grammar."""
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    search = {"type": "web_search", "search_context_size": "low"}
    tools: list[FunctionTool | ServerTool] = [
        FunctionTool(name="a.b", description="Does.", strict=True),
        FUNCTION,
        FunctionTool(name="g", custom=True, grammar=grammar),
        FunctionTool(name="h", custom=True, grammar={"type": "text"}),
        ServerTool(kind="web_search", raw=search),
        ServerTool(kind="web_search_20250305", raw={}, path="tools[5]"),
    ]
    body, notes = write(tools=tools)
    sanitised = body["tools"][0].pop("name")

    assert [
        {
            "type": "function",
            "description": "Does.",
            "parameters": {"type": "object", "properties": {}},
            "strict": True,
        },
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False},
        {
            "type": "custom",
            "name": "g",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"},
        },
        {"type": "custom", "name": "h"},
        search,
    ] == body["tools"]
    assert sanitised.startswith("a_b_")
    assert ("dropped=tools[5]",) == notes


def test_tool_names_come_back() -> None:
    """Case 12: a name that OpenAI would refuse is changed, and the answer has the client's."""
    conversation = Conversation(messages=[HELLO], tools=[FunctionTool(name="a.b")])
    restore = TARGET.write_request(conversation, "gpt-5.4", True, Notes()).restore  # noqa: FBT003

    assert ["a.b"] == list(restore.tool_names.values())


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(mode="auto"), "auto"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="required", name="f"), {"type": "function", "name": "f"}),
        (ToolChoice(mode="required", name="g"), {"type": "custom", "name": "g"}),
        (
            ToolChoice(mode="auto", allowed=("f", "g")),
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}],
            },
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, expected: Any) -> None:
    """Every choice among tools has its form."""
    assert expected == write(tools=[FUNCTION, CUSTOM], tool_choice=choice)[0]["tool_choice"]


def test_choice_without_tools() -> None:
    """Case 16: a choice without tools is left out, and one that demands a call is reported."""
    members: Json = {"tool_choice": ToolChoice(mode="auto"), "parallel_tool_calls": True}

    assert {"model", "input", "store"} == set(write(**members)[0])
    body, notes = write(tool_choice=ToolChoice(mode="required"))
    assert ({"model", "input", "store"}, ("dropped=tool_choice",)) == (set(body), notes)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ResponseFormat(kind="text"), None),
        (
            ResponseFormat(
                kind="json_schema", name="a b", description="d", schema={"type": "object"}, strict=True
            ),
            {
                "type": "json_schema",
                "name": "a_b",
                "schema": {"type": "object"},
                "description": "d",
                "strict": True,
            },
        ),
        (
            ResponseFormat(kind="json_schema", schema={}),
            {"type": "json_schema", "name": "answer", "schema": {}},
        ),
    ],
)
def test_format(wanted: ResponseFormat, expected: Json | None) -> None:
    """The shape of the answer is asked for natively."""
    assert expected == write(response_format=wanted)[0].get("text", {}).get("format")


def test_json_object() -> None:
    """Free JSON is asked for; the word that OpenAI wants to see is added where nobody said it."""
    wanted = ResponseFormat(kind="json_object")
    body, notes = write(response_format=wanted)
    said = Message(role="user", parts=[TextPart(text="As JSON")])

    assert ("developer", ("emulated=response_format",)) == (body["input"][0]["role"], notes)
    assert (1, ()) == (len(items(said, response_format=wanted)), write(said, response_format=wanted)[1])


@pytest.mark.parametrize(
    ("wanted", "model", "expected", "include", "notes"),
    [
        (None, "gpt-5.4", None, None, ()),
        (None, "gpt-5.5", None, True, ()),
        (ReasoningOptions(effort="high"), "gpt-5.4", {"effort": "high"}, True, ()),
        (ReasoningOptions(effort="none"), "gpt-5.4", {"effort": "none"}, None, ()),
        (ReasoningOptions(effort="none"), "o3", {"effort": "low"}, True, ("clamped=reasoning:low",)),
        (ReasoningOptions(effort="high"), "gpt-4o", None, None, ("dropped=reasoning",)),
        (ReasoningOptions(effort="none"), "gpt-4o", None, None, ()),
        (
            ReasoningOptions(budget_tokens=1024, show=True),
            "gpt-5.4",
            {"effort": "low", "summary": "auto"},
            True,
            (),
        ),
        (ReasoningOptions(budget_tokens=0), "gpt-5.4", {"effort": "none"}, None, ()),
        (ReasoningOptions(adaptive=True), "gpt-5.4", {"effort": "high"}, True, ()),
        (ReasoningOptions(summary="detailed"), "gpt-5.5", {"summary": "detailed"}, True, ()),
        (ReasoningOptions(effort="max"), "grok-4", {"effort": "max"}, True, ()),
    ],
)
def test_reasoning(
    wanted: ReasoningOptions | None,
    model: str,
    expected: Json | None,
    include: Any,
    notes: tuple[str, ...],
) -> None:
    """Case 65: thinking beside tools is asked for on responses, as much as the model takes, and sealed."""
    body, found = write(model=model, reasoning=wanted, tools=[FUNCTION])

    assert (expected, ["reasoning.encrypted_content"] if include else None, notes) == (
        body.get("reasoning"),
        body.get("include"),
        found,
    )


def test_sampling_of_models_that_think() -> None:
    """What a model that thinks refuses is dropped for it alone, and on OpenAI's own hosts alone."""
    members: Json = {"temperature": 0.5, "top_p": 1, "logprobs": True, "top_logprobs": 2}
    dropped = ("dropped=temperature", "dropped=top_logprobs", "dropped=logprobs")

    assert dropped == write(model="o3", **members)[1]
    assert dropped == write(model="gpt-5.4", reasoning=ReasoningOptions(effort="low"), **members)[1]
    assert () == write(model="gpt-5.4", reasoning=ReasoningOptions(effort="none"), **members)[1]
    assert () == write(model="gpt-4.1", **members)[1]
    body, notes = write(model="o3", target=OTHER_HOST, **members)
    assert (0.5, 1, 2, ["message.output_text.logprobs"], ()) == (
        *(body[name] for name in ("temperature", "top_p", "top_logprobs", "include")),
        notes,
    )


def test_options() -> None:
    """Options go out under responses' names, and what responses understand of the rest."""
    body, notes = write(
        model="gpt-5.4",
        max_tokens=100,
        parallel_tool_calls=False,
        tools=[FUNCTION],
        verbosity="low",
        user="u",
        metadata={"a": "b"},
        service_tier="standard_only",
        extra={"prompt_cache_key": "k", "odd": 1},
    )

    assert {
        "max_output_tokens": 100,
        "parallel_tool_calls": False,
        "text": {"verbosity": "low"},
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "default",
        "prompt_cache_key": "k",
    }.items() <= body.items()
    assert ("odd" in body, ()) == (False, notes)


@pytest.mark.parametrize(
    ("members", "notes"),
    [
        ({"stop": ["x"]}, "dropped=stop"),
        ({"seed": 0}, "dropped=seed"),
        ({"top_k": 3}, "dropped=top_k"),
        ({"presence_penalty": 1}, "dropped=presence_penalty"),
        ({"frequency_penalty": 1}, "dropped=frequency_penalty"),
        ({"logit_bias": {"1": 1}}, "dropped=logit_bias"),
        ({"max_tokens": 1}, "clamped=max_tokens:16"),
        ({"verbosity": "odd"}, "dropped=verbosity"),
        ({"verbosity": "low", "model": "gpt-4o"}, "dropped=verbosity"),
        ({"metadata": {"a": 1}}, "dropped=metadata"),
        ({"service_tier": "odd"}, "dropped=service_tier"),
        ({"tools": [FUNCTION], "parallel_tool_calls": False, "model": "o3"}, "dropped=parallel_tool_calls"),
    ],
)
def test_what_responses_lack(members: Json, notes: str) -> None:
    """Case 23: what responses have no place for is told of."""
    assert (notes,) == write(**members)[1]


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (Message(role="user", name="Ann", parts=[TextPart(text="x")]), "dropped=messages.name"),
        (Message(role="system", parts=[MediaPart(kind="image", data=PNG)]), "dropped=messages.content"),
        (Message(role="assistant", parts=[MediaPart(kind="audio", data=PNG)]), "dropped=messages.media"),
        (
            Message(role="assistant", parts=[ToolCallPart(id="c", name="f", signature="s")]),
            "dropped=messages.tool_calls.signature",
        ),
        (
            Message(role="assistant", parts=[ToolCallPart(id="c", name="f", cache=CacheMark())]),
            "dropped=cache_control",
        ),
        (
            Message(role="assistant", parts=[TextPart(text="x", cache=CacheMark())]),
            "dropped=cache_control",
        ),
        (
            Message(role="tool", parts=[ToolResultPart(call_id="c", cache=CacheMark())]),
            "dropped=cache_control",
        ),
    ],
)
def test_what_messages_lose(message: Message, note: str) -> None:
    """What a message loses is told of."""
    assert (note,) == write(HELLO, message)[1]


def test_several_answers() -> None:
    """Case 22: more than one answer is refused, naming the parameter."""
    with pytest.raises(GatewayError) as caught:
        write(n=2)

    assert (Reason.UNSUPPORTED, "n") == (caught.value.reason, caught.value.metadata["param"])


def test_nothing_to_say() -> None:
    """A request whose messages all say nothing is refused."""
    with pytest.raises(GatewayError, match="'messages'"):
        write(Message(role="user"))


def test_same_bytes() -> None:
    """Case 139: the same request gives the same bytes, whatever the order of the client's members."""
    one = read_request(b'{"model":"m","input":"x","temperature":1,"metadata":{"a":"b"}}', Notes())
    other = read_request(b'{"metadata":{"a":"b"},"temperature":1,"input":"x","model":"n"}', Notes())

    assert written(one) == written(other)
