"""
Requests of generateContent, as clients send them, read into a conversation.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from google.genai import types

from kit.errors import GatewayError, Reason
from services.providers.adapters.translated import CLIENTS
from services.providers.call import ClientDialect
from services.providers.dialects.gemini.client_side import CLIENT
from services.providers.dialects.neutral.conversation import (
    Conversation,
    FunctionTool,
    MediaPart,
    Message,
    Part,
    ReasoningOptions,
    ReasoningPart,
    ResponseFormat,
    ServerTool,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes

Json = dict[str, Any]

HELLO = [{"role": "user", "parts": [{"text": "hello"}]}]
F = {"functionDeclarations": [{"name": "f"}, {"name": "g"}]}


def read(notes: Notes | None = None, **members: Any) -> Conversation:
    body = {"contents": HELLO, **members}
    return CLIENT.read_request(orjson.dumps(body), notes if notes is not None else Notes())


def config(**members: Any) -> Conversation:
    return read(generationConfig=members)


def user(*parts: Json) -> list[Part]:
    return read(contents=[{"role": "user", "parts": list(parts)}]).messages[0].parts


def model(*parts: Json) -> list[Part]:
    return read(contents=[{"role": "model", "parts": list(parts)}]).messages[0].parts


def test_registered() -> None:
    """Calls in this dialect find their reader."""
    assert CLIENT is CLIENTS[ClientDialect.GEMINI]


def test_turns() -> None:
    """Turns are messages, and the system instruction is one before them."""
    found = read(
        contents=[*HELLO, {"role": "model", "parts": [{"text": "hi"}]}, {"parts": [{"text": "and?"}]}],
        systemInstruction={"parts": [{"text": "a"}, {"text": "b"}]},
    )

    assert [
        Message(role="system", parts=[TextPart(text="a"), TextPart(text="b")], path="systemInstruction"),
        Message(role="user", parts=[TextPart(text="hello")], path="contents[0]"),
        Message(role="assistant", parts=[TextPart(text="hi")], path="contents[1]"),
        Message(role="user", parts=[TextPart(text="and?")], path="contents[2]"),
    ] == found.messages


def test_snake_case() -> None:
    """Every member is taken in snake case too, and what clients name themselves stays as it is."""
    schema = {"type": "OBJECT", "properties": {"my_city": {"any_of": [{"type": "STRING"}]}}}
    call = {"function_call": {"name": "f", "args": {"my_city": "x_y"}}, "thought_signature": "c2ln"}
    result = {"function_response": {"name": "f", "response": {"my_key": 1}}}
    blob = {"inline_data": {"mime_type": "image/png", "data": "aGk="}}
    found = read(
        contents=[*HELLO, {"role": "model", "parts": [call]}, {"role": "user", "parts": [result, blob]}],
        system_instruction={"parts": [{"text": "s"}]},
        generation_config={"max_output_tokens": 5, "thinking_config": {"thinking_budget": 7}},
        tools=[{"function_declarations": [{"name": "f", "parameters": schema}]}, {"google_search": {}}],
        tool_config={"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        safety_settings=[{"category": "c"}],
    )

    assert ["system", "user", "assistant", "tool", "user"] == [message.role for message in found.messages]
    assert [
        ToolCallPart(id="call_0", name="f", arguments='{"my_city":"x_y"}', signature="c2ln")
    ] == found.messages[2].parts
    assert [
        ToolResultPart(call_id="call_0", name="f", content=[TextPart(text='{"my_key":1}')])
    ] == found.messages[3].parts
    assert (5, 7) == (found.max_tokens, found.reasoning and found.reasoning.budget_tokens)
    assert [
        FunctionTool(
            name="f",
            parameters={"type": "object", "properties": {"my_city": {"anyOf": [{"type": "string"}]}}},
            path="tools[0].functionDeclarations[0]",
        ),
        ServerTool(kind="googleSearch", raw={"googleSearch": {}}, path="tools[1].googleSearch"),
    ] == found.tools
    assert ToolChoice(mode="required", name="f") == found.tool_choice
    assert {"safetySettings": [{"category": "c"}]} == found.extra


def test_single_objects_for_lists() -> None:
    """Google takes an object where a list of one is meant, and so does this."""
    found = read(
        contents={"role": "user", "parts": {"text": "hi"}}, tools={"functionDeclarations": {"name": "f"}}
    )

    assert [TextPart(text="hi")] == found.messages[0].parts
    assert 1 == len(found.tools)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"inlineData": {"mimeType": "image/png", "data": "-_8"}},
            MediaPart(kind="image", media_type="image/png", data="+/8="),
        ),
        (
            {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
            MediaPart(kind="document", media_type="text/plain", text="hi"),
        ),
        (
            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/c"}},
            MediaPart(kind="document", media_type="application/pdf", url="gs://b/c"),
        ),
        (
            {
                "fileData": {"fileUri": "https://a/b.png"},
                "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
            },
            MediaPart(kind="image", url="https://a/b.png", detail="low"),
        ),
        (
            {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1", "mimeType": "video/*"}},
            MediaPart(kind="video", url="https://www.youtube.com/watch?v=1"),
        ),
        (
            {
                "fileData": {
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x",
                    "mimeType": "image/png",
                }
            },
            MediaPart(
                kind="image",
                media_type="image/png",
                file_id="https://generativelanguage.googleapis.com/v1beta/files/x",
            ),
        ),
    ],
)
def test_media(part: Json, expected: MediaPart) -> None:
    """Media are read from either alphabet of base64, from any address, and as files that lie with Google."""
    assert [expected] == user(part)


def test_what_googles_own_client_sends() -> None:
    """A request as the google-genai library writes it is read without loss."""
    content = types.Content(
        role="model",
        parts=[
            types.Part(text="hm", thought=True, thought_signature=b"\xff\xfe"),
            types.Part(function_call=types.FunctionCall(name="f", args={"a": 1})),
        ],
    )
    result = types.Part.from_function_response(name="f", response={"output": "4"})
    image = types.Part.from_bytes(data=b"\xfb\xff", mime_type="image/png")
    contents = [*(_sent(one) for one in (content, types.Content(role="user", parts=[result, image])))]
    found = read(contents=[*HELLO, *contents]).messages

    assert [
        ReasoningPart(text="hm", signature="__4=", origin="gemini"),
        ToolCallPart(id="call_0", name="f", arguments='{"a":1}'),
    ] == found[1].parts
    assert [ToolResultPart(call_id="call_0", name="f", content=[TextPart(text="4")])] == found[2].parts
    assert [MediaPart(kind="image", media_type="image/png", data="+/8=")] == found[3].parts


def _sent(content: types.Content) -> Json:
    document: Json = orjson.loads(content.model_dump_json(by_alias=True, exclude_none=True))
    return document


def test_results_find_their_calls() -> None:
    """Results without ids answer the calls of their function in turn; one with an id answers that call."""
    calls = [
        {"functionCall": {"name": "f", "args": {"n": 1}}},
        {"functionCall": {"name": "f", "args": {"n": 2}}},
        {"functionCall": {"name": "g", "id": "own"}},
    ]
    results = [
        {"functionResponse": {"name": "other", "id": "own", "response": {}}},
        {"functionResponse": {"name": "f", "response": {"error": "no"}}},
        {"functionResponse": {"name": "f", "response": {"output": {"x": 1}}}},
    ]
    found = read(contents=[*HELLO, {"role": "model", "parts": calls}, {"role": "function", "parts": results}])

    assert [
        ToolResultPart(call_id="own", name="g", content=[TextPart(text="{}")]),
        ToolResultPart(call_id="call_0", name="f", content=[TextPart(text="no")], is_error=True),
        ToolResultPart(call_id="call_1", name="f", content=[TextPart(text='{"output":{"x":1}}')]),
    ] == found.messages[2].parts


def test_results_with_media() -> None:
    """What a function gives back may hold images, and what the user says beside it comes after."""
    response = {
        "name": "f",
        "response": {"output": "see"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
    }
    turns = [
        {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
        {"role": "user", "parts": [{"text": "now?"}, {"functionResponse": response}]},
    ]
    found = read(contents=turns).messages

    assert ["assistant", "tool", "user"] == [message.role for message in found]
    assert [TextPart(text="see"), MediaPart(kind="image", media_type="image/png", data="aGk=")] == (
        found[1].parts[0].content  # type: ignore[union-attr]  # it is a result
    )


def test_turns_of_a_stream() -> None:
    """A client that gives back each event of a stream as a turn gives back one answer."""
    events: list[Json] = [
        {"text": "h", "thought": True},
        {"text": "m", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "Hel"},
        {"text": "lo"},
    ]
    found = read(contents=[*HELLO, *({"role": "model", "parts": [part]} for part in events)])

    assert [
        ReasoningPart(text="hm", signature="c2ln", origin="gemini"),
        TextPart(text="Hello"),
    ] == found.messages[1].parts


def test_signature_of_an_answer_without_shown_thoughts() -> None:
    """A signature on text stands before it, where those of other providers stand."""
    assert [
        ReasoningPart(signature="c2ln", origin="gemini"),
        TextPart(text="hi"),
    ] == model({"text": "hi", "thoughtSignature": "c2ln"})


@pytest.mark.parametrize("kind", ["executableCode", "codeExecutionResult", "toolCall", "videoMetadata"])
def test_parts_of_googles_own_tools(kind: str) -> None:
    """What Google's tools left in the history, or says how to look at media, is dropped and reported."""
    notes = Notes()
    part = {kind: {"a": 1}}
    found = read(notes, contents=[*HELLO, {"role": "model", "parts": [{"text": "a"}, part]}])

    assert [TextPart(text="a")] == found.messages[1].parts
    assert (f"dropped=contents.parts.{kind}",) == notes.taken()


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {
                "type": "OBJECT",
                "properties": {"type": {"type": "STRING", "nullable": True}, "b": {"type": "INTEGER"}},
                "propertyOrdering": ["b", "type"],
                "nullable": True,
                "required": ["b"],
            },
            {
                "type": "object",
                "properties": {"b": {"type": "integer"}, "type": {"type": ["string", "null"]}},
                "required": ["b"],
            },
        ),
        (
            {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2", "maxItems": 3},
            {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3},
        ),
        (
            {"items": {"type": "STRING", "enum": ["a"], "nullable": True, "format": "enum"}},
            {"items": {"type": ["string", "null"], "enum": ["a", None], "format": "enum"}},
        ),
        (
            {"items": {"anyOf": [{"type": "STRING"}], "nullable": True}, "nullable": True},
            {"items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        ),
        (
            {"ref": "#/$defs/x", "defs": {"x": {"type": "BOOLEAN"}}},
            {"$ref": "#/$defs/x", "$defs": {"x": {"type": "boolean"}}},
        ),
        (
            {"type": ["string", "null"], "additionalProperties": False, "const": "A"},
            {"type": ["string", "null"], "additionalProperties": False, "const": "A"},
        ),
        ({"type": "TYPE_UNSPECIFIED", "description": "d"}, {"description": "d"}),
    ],
)
def test_schemas(schema: Json, expected: Json) -> None:
    """Google's schemas become JSON schema, with their properties in the order that they ask for."""
    tool = read(tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}]).tools[0]

    assert orjson.dumps(expected) == orjson.dumps(tool.parameters)  # type: ignore[union-attr]  # it is a function


def test_json_schemas_as_they_are() -> None:
    """A schema that is said to be JSON schema is one."""
    schema = {"type": "object", "properties": {"a": {"nullable": True}}}
    declaration = {"name": "f", "parametersJsonSchema": schema, "behavior": "NON_BLOCKING"}
    notes = Notes()
    tool = read(notes, tools=[{"functionDeclarations": [declaration]}]).tools[0]

    assert schema == tool.parameters  # type: ignore[union-attr]  # it is a function
    assert ("dropped=tools.functionDeclarations.behavior",) == notes.taken()


@pytest.mark.parametrize(
    ("calling", "expected"),
    [
        ({}, None),
        ({"mode": "AUTO"}, ToolChoice(mode="auto")),
        ({"mode": "NONE"}, ToolChoice(mode="none")),
        ({"mode": "ANY"}, ToolChoice(mode="required")),
        ({"mode": "any", "allowedFunctionNames": ["f"]}, ToolChoice(mode="required", name="f")),
        (
            {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
            ToolChoice(mode="required", allowed=("f", "g")),
        ),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice(mode="auto", allowed=("f",))),
    ],
)
def test_tool_choice(calling: Json, expected: ToolChoice | None) -> None:
    """Every mode of calling functions is read, with the names that it allows."""
    assert expected == read(tools=[F], toolConfig={"functionCallingConfig": calling}).tool_choice


def test_rest_of_the_tool_config() -> None:
    """What else is set about tools is kept aside under its name, and a mode that others lack is reported."""
    notes = Notes()
    found = read(
        notes,
        tools=[F],
        toolConfig={
            "functionCallingConfig": {"mode": "VALIDATED"},
            "retrievalConfig": {"languageCode": "de"},
        },
    )

    assert {"toolConfig.retrievalConfig": {"languageCode": "de"}} == found.extra
    assert ("clamped=toolConfig.functionCallingConfig.mode:AUTO",) == notes.taken()


def test_settings() -> None:
    """Every setting that others have is read."""
    found = config(
        temperature=0.5,
        topP=0.9,
        topK=40.0,
        seed=7,
        candidateCount=2,
        stopSequences=["x", ""],
        presencePenalty=0.5,
        frequencyPenalty=0,
        responseLogprobs=True,
        logprobs=3,
        maxOutputTokens=9,
        responseModalities=["TEXT"],
    )

    assert (
        Conversation(
            messages=found.messages,
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            seed=7,
            n=2,
            stop=["x"],
            presence_penalty=0.5,
            logprobs=True,
            top_logprobs=3,
            max_tokens=9,
            include_usage=True,
        )
        == found
    )


def test_settings_without_a_place() -> None:
    """What only Google has is kept aside under its name, for a target that takes it, else to be reported."""
    found = read(
        generationConfig={"speechConfig": {"a": 1}, "response_modalities": ["IMAGE"]},
        cachedContent="cachedContents/x",
        labels={"a": "b"},
    )

    assert {
        "generationConfig.speechConfig": {"a": 1},
        "generationConfig.responseModalities": ["IMAGE"],
        "cachedContent": "cachedContents/x",
        "labels": {"a": "b"},
    } == found.extra


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({}, None),
        ({"includeThoughts": True}, ReasoningOptions(show=True)),
        ({"thinkingBudget": 0}, ReasoningOptions(budget_tokens=0, show=False)),
        ({"thinkingBudget": -1}, ReasoningOptions(budget_tokens=-1, adaptive=True, show=False)),
        ({"thinkingLevel": "LOW"}, ReasoningOptions(effort="low", show=False)),
    ],
)
def test_thinking(thinking: Json, expected: ReasoningOptions | None) -> None:
    """A budget or a level says how much to think; thoughts are shown to those who ask for them."""
    assert expected == config(thinkingConfig=thinking).reasoning


SCHEMA = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
PLAIN = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"responseMimeType": "text/plain"}, None),
        ({"responseMimeType": "application/json"}, ResponseFormat(kind="json_object")),
        (
            {"responseMimeType": "application/json", "responseSchema": SCHEMA},
            ResponseFormat(kind="json_schema", schema=PLAIN),
        ),
        ({"responseJsonSchema": PLAIN}, ResponseFormat(kind="json_schema", schema=PLAIN)),
        (
            {"responseFormat": {"text": {"mimeType": "APPLICATION_JSON", "schema": SCHEMA}}},
            ResponseFormat(kind="json_schema", schema=PLAIN),
        ),
    ],
)
def test_shape_of_the_answer(members: Json, expected: ResponseFormat | None) -> None:
    """The shape of the answer is read from everywhere that it may stand."""
    assert expected == config(**members).response_format


def test_shapes_that_nobody_else_has() -> None:
    """A word out of a list is a shape that only Google has; it is kept aside as it is."""
    found = config(responseMimeType="text/x.enum", responseSchema={"type": "STRING", "enum": ["a"]})

    assert None is found.response_format
    assert {"generationConfig.responseMimeType", "generationConfig.responseSchema"} == set(found.extra)


@pytest.mark.parametrize(
    ("tier", "expected"), [("STANDARD", "default"), ("flex", "flex"), ("unspecified", "")]
)
def test_service_tier(tier: str, expected: str) -> None:
    """The tier goes on under the name that others know it by."""
    assert expected == read(serviceTier=tier).service_tier


def test_names() -> None:
    """Refusals name parameters as this client does."""
    notes = Notes()
    read(notes, generationConfig={"responseJsonSchema": PLAIN})

    assert [
        "generationConfig.maxOutputTokens",
        "generationConfig.candidateCount",
        "generationConfig.thinkingConfig",
        "generationConfig.responseJsonSchema",
        "toolConfig.functionCallingConfig",
    ] == [notes.name(name) for name in ("max_tokens", "n", "reasoning", "response_format", "tool_choice")]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "robot", "parts": [{"text": "a"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]},
            "contents[0].parts[0].functionResponse",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "a/b", "data": "!"}}]}]},
            "contents[0].parts[0].inlineData.data",
        ),
        (
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": 1}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        ({"generationConfig": {"maxOutputTokens": 0}}, "generationConfig.maxOutputTokens"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "x"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}}},
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
        ({"toolConfig": {"functionCallingConfig": {"mode": "x"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)
def test_malformed_requests(members: Json, param: str) -> None:
    """What is malformed is refused, by the name that this client gives it."""
    with pytest.raises(GatewayError) as raised:
        read(**members)

    assert (Reason.INVALID_REQUEST, param) == (raised.value.reason, raised.value.metadata["param"])


def test_parts_that_nobody_knows() -> None:
    """What the user sends and nobody can read is refused: without it the question would be another."""
    with pytest.raises(GatewayError) as raised:
        user({"hologram": {}})

    assert Reason.UNSUPPORTED is raised.value.reason
