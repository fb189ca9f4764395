from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.neutral.conversation import (
    CacheMark,
    Conversation,
    FunctionTool,
    MediaPart,
    Message,
    Part,
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
from services.providers.dialects.openai_responses.request_reader import read_request
from services.providers.dialects.openai_responses.seals import Seal, carried, opened
from tests.fakes.odd_json import bent

PNG = "iVBORw0KGgo="
PDF = "JVBERi0="
HELLO: dict[str, Any] = {"model": "m", "input": "Hello"}
SEALED = carried(Seal(signature="sig", origin="anthropic"))
GEMINI = carried(Seal(signature="thought", origin="gemini", call_id="c1"))
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def read(strict: bool = False, **members: Any) -> tuple[Conversation, tuple[str, ...]]:  # noqa: FBT001, FBT002
    notes = Notes(strict=strict)
    return read_request(orjson.dumps({**HELLO, **members}), notes), notes.taken()


def refusal(**members: Any) -> tuple[Reason, str | None]:
    with pytest.raises(GatewayError) as caught:
        read(**members)
    return caught.value.reason, caught.value.metadata.get("param")


def parts(*items: Any) -> list[Part]:
    """Return the parts of all messages that items make."""
    return [part for message in read(input=list(items))[0].messages for part in message.parts]


def user(*content: Any) -> list[Part]:
    return parts({"role": "user", "content": list(content)})


def test_input_as_a_string() -> None:
    """Case 153: `input` may be a string, and then is what the user says."""
    conversation, notes = read()

    assert [Message(role="user", parts=[TextPart(text="Hello")], path="input")] == conversation.messages
    assert () == notes


def test_input_as_a_list() -> None:
    """Case 153: `input` may be a list of items, with or without a type; one turn's items are one message."""
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "A", "annotations": []},
                {"type": "refusal", "refusal": "No"},
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "free"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
        {"role": "user", "content": "And?"},
    ]
    messages = read(input=items)[0].messages

    assert [
        Message(role="developer", parts=[TextPart(text="Be brief.")], path="input[0]"),
        Message(role="user", parts=[TextPart(text="Hi")], path="input[1]"),
        Message(
            role="assistant",
            path="input[2]",
            parts=[
                ReasoningPart(text="Hm", item_id="rs_1"),
                TextPart(text="A"),
                RefusalPart(text="No"),
                ToolCallPart(id="c1", name="f", arguments='{"a":1}'),
                ToolCallPart(id="c2", name="g", arguments="free", custom=True),
            ],
        ),
        Message(
            role="tool",
            path="input[6]",
            parts=[
                ToolResultPart(call_id="c1", content=[TextPart(text="1")]),
                ToolResultPart(call_id="c2", content=[TextPart(text="2")], custom=True),
            ],
        ),
        Message(role="user", parts=[TextPart(text="And?")], path="input[8]"),
    ] == messages


def test_instructions_come_first() -> None:
    """Case 153: `instructions` are a system message before all input."""
    messages = read(instructions="Rhyme.", input=[{"role": "user", "content": "Hi"}])[0].messages

    assert Message(role="system", parts=[TextPart(text="Rhyme.")], path="instructions") == messages[0]
    assert ["system", "user"] == [message.role for message in messages]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0]"),
    ],
)
def test_nothing_is_stored(members: dict[str, Any], param: str) -> None:
    """Case 153: what refers to something stored is a 400 that names the parameter."""
    assert (Reason.UNSUPPORTED, param) == refusal(**members)


@pytest.mark.parametrize(
    ("members", "notes"),
    [({}, ()), ({"store": False}, ()), ({"store": None}, ()), ({"store": True}, ("dropped=store",))],
)
def test_store(members: dict[str, Any], notes: tuple[str, ...]) -> None:
    """A client that asks for its answer to be kept gets the answer, and is told that it is not kept."""
    conversation, found = read(**members)

    assert (notes, {}) == (found, conversation.extra)


def test_store_in_strict_mode() -> None:
    """In strict mode, asking for an answer to be kept is refused; leaving it open is not."""
    with pytest.raises(GatewayError, match="'store'"):
        read(strict=True, store=True)

    assert () == read(strict=True)[1]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"},
            MediaPart(kind="image", media_type="image/png", data=PNG, detail="low"),
        ),
        (
            {"type": "input_image", "image_url": "https://example.com/a.png"},
            MediaPart(kind="image", url="https://example.com/a.png"),
        ),
        ({"type": "input_image", "file_id": "file_1"}, MediaPart(kind="image", file_id="file_1")),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            MediaPart(kind="document", media_type="application/pdf", data=PDF, name="a.pdf"),
        ),
        (
            {"type": "input_file", "file_data": PDF},
            MediaPart(kind="document", media_type="application/pdf", data=PDF),
        ),
        (
            {"type": "input_file", "filename": "a.txt", "file_data": "aGk="},
            MediaPart(kind="document", media_type="text/plain", text="hi", name="a.txt"),
        ),
        (
            {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            MediaPart(kind="document", media_type="application/pdf", url="https://example.com/a.pdf"),
        ),
        ({"type": "input_file", "file_id": "file_1"}, MediaPart(kind="document", file_id="file_1")),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            MediaPart(kind="audio", media_type="audio/mp3", data="AAAA"),
        ),
        (
            {"type": "input_text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}},
            TextPart(text="Hi", cache=CacheMark()),
        ),
    ],
)
def test_content(part: dict[str, Any], expected: Part) -> None:
    """Text, images, files and sound are read from wherever they are."""
    assert [expected] == user(part)


def test_citations_of_earlier_answers() -> None:
    """Sources of an earlier answer are kept, as chat completions have them."""
    annotation = {
        "type": "url_citation",
        "start_index": 0,
        "end_index": 2,
        "url": "https://e.com",
        "title": "E",
    }
    content = [{"type": "output_text", "text": "So", "annotations": [annotation]}]
    nested = {"start_index": 0, "end_index": 2, "url": "https://e.com", "title": "E"}

    assert [TextPart(text="So", citations=[{"type": "url_citation", "url_citation": nested}])] == parts(
        {"type": "message", "role": "assistant", "content": content}
    )


def test_images_of_earlier_answers() -> None:
    """An image that the model made is part of what it said; without its data nobody else knows it."""
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG}
    conversation, notes = read(input=[item, {**item, "result": None}])

    assert [MediaPart(kind="image", media_type="image/png", data=PNG)] == conversation.messages[0].parts
    assert ("dropped=input.image_generation_call",) == notes


def test_items_of_other_tools() -> None:
    """Items of tools that the provider ran are left out, and told of."""
    items = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"role": "user", "content": "Hi"},
    ]
    conversation, notes = read(input=items)

    assert (1, ("dropped=input.web_search_call",)) == (len(conversation.messages), notes)


def test_failed_tool() -> None:
    """A client may say that a tool failed."""
    items = [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "Oh", "is_error": True},
    ]

    assert [True] == [part.is_error for part in parts(*items) if isinstance(part, ToolResultPart)]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            [ReasoningPart(sealed="gAAA", origin="openai", item_id="rs_1")],
        ),
        (
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "A"}, {"type": "summary_text", "text": "B"}],
                "encrypted_content": SEALED,
            },
            [ReasoningPart(text="A\n\nB", signature="sig", origin="anthropic", item_id="rs_1")],
        ),
        (
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "C"}],
            },
            [ReasoningPart(text="C", item_id="rs_1")],
        ),
        ({"type": "reasoning", "id": "rs_1", "summary": []}, []),
        ({"type": "reasoning", "summary": [], "encrypted_content": "headrace.seal.1.!!"}, []),
    ],
)
def test_reasoning_items(item: dict[str, Any], expected: list[Part]) -> None:
    """Case 153: a reasoning item comes back with what its provider sealed it with, whoever that was."""
    assert [*expected, TextPart(text="x")] == parts(
        item, {"type": "message", "role": "assistant", "content": "x"}
    )


def test_signature_of_a_call() -> None:
    """Case 153: a signature that belongs to a call finds its way back to that call over a tool round."""
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": GEMINI},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
    ]

    assert [
        ToolCallPart(id="c1", name="f", arguments="{}", signature="thought"),
        ToolResultPart(call_id="c1", content=[TextPart(text="1")]),
    ] == parts(*items)


@given(
    st.builds(
        Seal, signature=st.text("aé."), sealed=st.text("b"), origin=st.sampled_from(["", "openai", "gemini"])
    )
)
def test_seals(seal: Seal) -> None:
    """Whatever seals thoughts comes back to the letter, and nothing else does."""
    expected = seal if seal.signature or seal.sealed else Seal()

    assert expected == opened(carried(seal))


def test_tools() -> None:
    """Case 153: functions and custom tools are the client's own; a provider's tool is kept as it is."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    search = {"type": "web_search", "search_context_size": "low"}
    tools = [
        {**FUNCTION, "description": "Does."},
        {"type": "custom", "name": "g", "format": grammar},
        {"type": "custom", "name": "h", "format": {"type": "text"}},
        search,
    ]

    assert [
        FunctionTool(
            name="f", description="Does.", parameters={"type": "object"}, strict=True, path="tools[0]"
        ),
        FunctionTool(
            name="g",
            custom=True,
            path="tools[1]",
            grammar={"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}},
        ),
        FunctionTool(name="h", custom=True, path="tools[2]"),
        ServerTool(kind="web_search", raw=search, path="tools[3]"),
    ] == read(tools=tools)[0].tools


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice(mode="auto")),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "name": "f"}, ToolChoice(mode="required", name="f")),
        ({"type": "custom", "name": "g"}, ToolChoice(mode="required", name="g")),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice(mode="auto", allowed=("f",)),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "g"}]},
            ToolChoice(mode="required", allowed=("g",)),
        ),
    ],
)
def test_tool_choice(choice: Any, expected: ToolChoice) -> None:
    """Every way of choosing among the client's tools is read."""
    tools = [FUNCTION, {"type": "custom", "name": "g"}]

    assert (expected, ()) == (read(tools=tools, tool_choice=choice)[0].tool_choice, read()[1])


def test_choice_of_a_server_tool() -> None:
    """A tool that the provider runs cannot be demanded of another provider."""
    conversation, notes = read(tools=[FUNCTION], tool_choice={"type": "file_search"})

    assert (None, ("dropped=tool_choice",)) == (conversation.tool_choice, notes)


def test_options() -> None:
    """Options keep their meaning under the names in the middle."""
    schema = {"type": "object", "properties": {}}
    conversation, notes = read(
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        parallel_tool_calls=False,
        text={
            "verbosity": "low",
            "format": {
                "type": "json_schema",
                "name": "n",
                "schema": schema,
                "strict": True,
                "description": "d",
            },
        },
        reasoning={"effort": "high", "summary": "detailed"},
        metadata={"a": "b"},
        user="u",
        safety_identifier="s",
        service_tier="flex",
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=3,
        prompt_cache_key="k",
        truncation="disabled",
        stream_options={"include_obfuscation": False},
    )

    assert () == notes
    assert (100, 0.5, 0.9, False, "low", {"a": "b"}, "u", "flex", True, 3, True) == (
        conversation.max_tokens,
        conversation.temperature,
        conversation.top_p,
        conversation.parallel_tool_calls,
        conversation.verbosity,
        conversation.metadata,
        conversation.user,
        conversation.service_tier,
        conversation.logprobs,
        conversation.top_logprobs,
        conversation.include_usage,
    )
    assert (
        ResponseFormat(kind="json_schema", name="n", description="d", schema=schema, strict=True)
        == conversation.response_format
    )
    assert ReasoningOptions(effort="high", summary="detailed", show=True) == conversation.reasoning
    assert {"safety_identifier": "s", "prompt_cache_key": "k"} == conversation.extra


def test_names_of_parameters() -> None:
    """What a target cannot take is told by the name that the client gave it."""
    notes = Notes()
    read_request(orjson.dumps({**HELLO, "safety_identifier": "s"}), notes)

    assert ("max_output_tokens", "text.format", "text.verbosity", "safety_identifier", "input") == tuple(
        map(notes.name, ("max_tokens", "response_format", "verbosity", "user", "messages"))
    )


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": 1}, "input"),
        ({"input": []}, "input"),
        ({"input": [1]}, "input[0]"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 1}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "f"}]}, "input[0].call_id"),
        ({"instructions": ["x"]}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1e30}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"include": [1]}, "include[0]"),
        ({"include": "x"}, "include"),
        ({"store": "yes"}, "store"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "z"}}, "tool_choice.name"),
        ({"tools": [FUNCTION], "tool_choice": "some"}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.tools"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"truncation": 1}, "truncation"),
    ],
)
def test_malformed(members: dict[str, Any], param: str) -> None:
    """A malformed request is refused, naming the parameter at fault."""
    assert (Reason.INVALID_REQUEST, param) == refusal(**members)


def test_what_is_noted() -> None:
    """Whatever has no place is kept for whoever understands it, or told of."""
    conversation, notes = read(
        max_tool_calls=3, truncation="auto", include=["file_search_call.results"], reasoning={"mode": "pro"}
    )

    assert {"max_tool_calls": 3, "truncation": "auto"} == conversation.extra
    assert {"dropped=include.file_search_call.results", "dropped=reasoning.mode"} == set(notes)


GOOD: dict[str, Any] = {
    **HELLO,
    "instructions": "x",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            ],
        },
        {
            "type": "reasoning",
            "id": "x",
            "summary": [{"type": "summary_text", "text": "x"}],
            "encrypted_content": SEALED,
        },
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "x", "annotations": [{"type": "url_citation"}]}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "x"}]},
        {"type": "image_generation_call", "id": "x", "status": "completed", "result": PNG},
        {"type": "web_search_call", "id": "x"},
    ],
    "tools": [FUNCTION, {"type": "custom", "name": "g", "format": {"type": "grammar"}}, {"type": "mcp"}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "reasoning": {"effort": "high", "summary": "auto"},
    "include": ["message.output_text.logprobs"],
    "metadata": {"a": "b"},
    "top_logprobs": 2,
    "max_output_tokens": 9,
    "temperature": 1,
    "store": True,
    "stream_options": {},
}
WORDS = [
    *(
        "type",
        "role",
        "content",
        "text",
        "name",
        "call_id",
        "output",
        "summary",
        "id",
        "format",
        "mode",
        "schema",
    ),
    *(
        "message",
        "reasoning",
        "function_call",
        "item_reference",
        "user",
        "input_text",
        "input_file",
        "refusal",
    ),
    *("data:image/png;base64,AAAA", "https://example.com/", "[::1", "http://[", "headrace.seal.1.e30="),
]


@settings(max_examples=50)
@given(bent(GOOD, WORDS))
def test_any_json(document: dict[str, Any]) -> None:
    """Case 153: no JSON makes the reader crash: it is a conversation, or a refusal that names a parameter."""
    refused = None
    try:
        read_request(orjson.dumps(document), Notes())
    except GatewayError as error:
        refused = error

    assert refused is None or refused.reason in {Reason.INVALID_REQUEST, Reason.UNSUPPORTED}
    assert refused is None or refused.metadata.get("param")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'{"input":' + b"[" * 3000 + b"]" * 3000 + b"}"])
def test_no_json(body: bytes) -> None:
    """What is no JSON object is refused."""
    with pytest.raises(GatewayError) as caught:
        read_request(body, Notes())

    assert Reason.INVALID_REQUEST is caught.value.reason


def test_too_deep_to_repeat() -> None:
    """A request that the answer could not repeat is refused before anything is spent on it."""
    schema = b'{"items":' * 251 + b"{}" + b"}" * 251
    body = b'{"input":"x","tools":[{"type":"function","name":"f","parameters":%s}]}' % schema
    with pytest.raises(GatewayError) as caught:
        read_request(body, Notes())

    assert (Reason.INVALID_REQUEST, "body") == (caught.value.reason, caught.value.metadata.get("param"))
