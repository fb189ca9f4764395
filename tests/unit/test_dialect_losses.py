"""What a target has no place for is reported, whatever the pair, and by the name that the client knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.adapters.translated import CLIENTS
from services.providers.call import ClientDialect
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.cohere.side import TARGET as COHERE
from services.providers.dialects.converse.side import converse_target
from services.providers.dialects.gemini.target_side import gemini_target
from services.providers.dialects.neutral.notes import PARTS, Notes
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat import hosts
from services.providers.dialects.openai_chat.target_side import chat_target
from services.providers.dialects.openai_responses.target_side import responses_target
from services.providers.dialects.workers_ai.side import target as workers_target

if TYPE_CHECKING:
    from services.providers.dialects.neutral.sides import TargetSide

Json = dict[str, Any]

NOVA = "amazon.nova-pro-v1:0"
TARGETS: dict[str, tuple[str, TargetSide]] = {
    "anthropic": ("claude-sonnet-4-5", anthropic_target()),
    "cohere": ("command-a-03-2025", COHERE),
    "converse": (NOVA, converse_target(NOVA, lambda _: None)),  # type: ignore[arg-type]  # no stream is read
    "gemini": ("gemini-2.5-flash", gemini_target(vertex=False)),
    "openai": ("gpt-4.1", chat_target(hosts.OPENAI)),
    "responses": ("gpt-5", responses_target(openai_models=True)),
    "workers-ai": ("@cf/meta/llama-3.1-8b-instruct", workers_target()),
}
OPENAI = ClientDialect.OPENAI_CHAT
ANTHROPIC = ClientDialect.ANTHROPIC_MESSAGES
GEMINI = ClientDialect.GEMINI
RESPONSES = ClientDialect.OPENAI_RESPONSES

MARK: Json = {"type": "ephemeral"}
HI: Json = {"role": "user", "content": "hi"}
GOOGLE_HI: Json = {"role": "user", "parts": [{"text": "hi"}]}
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}}}
SOURCE: Json = {"url": "https://a.test", "title": "A", "start_index": 0, "end_index": 1}
PNG = "iVBORw0KGgo="
LOOK: Json = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
SIGNED: Json = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
RESULT: Json = {"role": "tool", "tool_call_id": "c1", "content": "done"}


def translated(client: ClientDialect, target: str, body: Json, *, strict: bool = False) -> Translation:
    model, side = TARGETS[target]
    return translate_request(
        CLIENTS[client], side, orjson.dumps(body), model=model, stream=False, now_s=1, strict=strict
    )


def chat(*messages: Json, **members: Any) -> Json:
    return {"model": "m", "messages": list(messages), **members}


def message(*messages: Json, **members: Any) -> Json:
    return {"model": "m", "max_tokens": 4000, "messages": list(messages), **members}


def marked(text: str) -> list[Json]:
    return [{"type": "text", "text": text, "cache_control": MARK}]


CITED: Json = {
    "role": "assistant",
    "content": "so",
    "annotations": [{"type": "url_citation", "url_citation": SOURCE}],
}
LOSSES: list[tuple[Json, str, tuple[str, ...]]] = [
    (
        chat({"role": "user", "content": marked("hi")}),
        "dropped=cache_control",
        ("cohere", "gemini", "openai", "workers-ai"),
    ),
    (
        chat(
            HI, {"role": "assistant", "tool_calls": [CALL]}, {**RESULT, "content": marked("a")}, tools=[LOOK]
        ),
        "dropped=cache_control",
        ("cohere", "gemini", "openai", "workers-ai"),
    ),
    (
        chat(HI, tools=[{**LOOK, "cache_control": MARK}]),
        "dropped=cache_control",
        ("cohere", "converse", "gemini", "openai", "responses", "workers-ai"),
    ),
    (
        chat(HI, CITED, HI),
        "dropped=messages.annotations",
        ("anthropic", "cohere", "converse", "gemini", "openai", "workers-ai"),
    ),
    (
        chat(HI, {"role": "assistant", "tool_calls": [SIGNED]}, RESULT, tools=[LOOK]),
        "dropped=messages.tool_calls.extra_content",
        ("anthropic", "cohere", "converse", "openai", "responses", "workers-ai"),
    ),
    (
        chat(HI, tool_choice="required"),
        "dropped=tool_choice",
        ("anthropic", "cohere", "converse", "gemini", "openai", "responses", "workers-ai"),
    ),
]


@pytest.mark.parametrize(
    ("body", "note", "target"),
    [(body, note, target) for body, note, targets in LOSSES for target in targets],
)
def test_nothing_is_lost_without_a_note(body: Json, note: str, target: str) -> None:
    """What the target has no place for is in the report, and refused in strict mode."""
    assert note in translated(OPENAI, target, body).notes
    with pytest.raises(GatewayError) as refusal:
        translated(OPENAI, target, body, strict=True)
    assert (refusal.value.reason, refusal.value.metadata.get("param")) == (
        Reason.UNSUPPORTED,
        note.removeprefix("dropped="),
    )


THINKING: Json = {
    "role": "assistant",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "gemini:::c2ln"},
        {"type": "text", "text": "so"},
    ],
}
FORMAT: Json = {"type": "json_schema", "schema": SCHEMA}
SEARCHER: Json = {"type": "web_search_20250305", "name": "web_search"}
SEARCH: Json = message(HI, tools=[SEARCHER], tool_choice={"type": "any"})
GOOGLE_TOOLS: list[Json] = [{"functionDeclarations": [{"name": "look"}, {"name": "find"}]}]
SOME_FUNCTIONS: Json = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look", "find"]}}
IMAGE: Json = {
    "inlineData": {"mimeType": "image/png", "data": PNG},
    "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
}
MODEL_THOUGHT: Json = {"role": "model", "parts": [{"text": "so", "thoughtSignature": "c2ln"}]}
MODEL_IMAGE: Json = {"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}
THOUGHTS: Json = {"contents": [GOOGLE_HI, MODEL_THOUGHT, GOOGLE_HI]}
IMAGES: Json = {"contents": [GOOGLE_HI, MODEL_IMAGE, GOOGLE_HI]}
THOUGHT_ITEM: Json = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
RESPONSE_TOOL: Json = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}
SEEN: Json = {"role": "user", "content": [{"type": "input_image", "image_url": "https://a.test/a.png"}]}
LOW: Json = {"role": "user", "content": [{**SEEN["content"][0], "detail": "low"}]}
NAMED: list[tuple[ClientDialect, Json, str, str]] = [
    (ANTHROPIC, message(HI, THINKING, HI), "anthropic", "dropped=messages.content.thinking"),
    (ANTHROPIC, message(HI, THINKING, HI), "cohere", "dropped=messages.content.thinking"),
    (
        ANTHROPIC,
        message(HI, output_config={"format": FORMAT}),
        "anthropic",
        "clamped=output_config.format:maxLength",
    ),
    (ANTHROPIC, SEARCH, "responses", "dropped=tool_choice"),
    (ANTHROPIC, SEARCH, "cohere", "dropped=tool_choice"),
    (GEMINI, THOUGHTS, "anthropic", "dropped=contents.parts.thought"),
    (GEMINI, IMAGES, "converse", "dropped=contents.parts.inlineData"),
    (
        GEMINI,
        {"contents": [{"role": "user", "parts": [IMAGE]}]},
        "anthropic",
        "dropped=contents.parts.mediaResolution",
    ),
    (GEMINI, {"contents": [MODEL_THOUGHT, GOOGLE_HI]}, "converse", "emulated=contents"),
    (
        GEMINI,
        {"contents": [GOOGLE_HI], "tools": GOOGLE_TOOLS, "toolConfig": SOME_FUNCTIONS},
        "anthropic",
        "emulated=toolConfig.functionCallingConfig.allowedFunctionNames",
    ),
    (
        GEMINI,
        {"contents": [GOOGLE_HI], "tools": [{"googleSearch": {}}]},
        "anthropic",
        "dropped=tools[0].googleSearch",
    ),
    (
        GEMINI,
        {
            "contents": [GOOGLE_HI],
            "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        },
        "anthropic",
        "clamped=generationConfig.responseJsonSchema:maxLength",
    ),
    (RESPONSES, {"input": [HI, THOUGHT_ITEM, HI]}, "gemini", "dropped=input.reasoning"),
    (RESPONSES, {"input": [LOW]}, "anthropic", "dropped=input.content.detail"),
    (RESPONSES, {"input": "hi", "tools": [RESPONSE_TOOL]}, "gemini", "dropped=tools.strict"),
    (
        OPENAI,
        chat(HI, tools=[{**LOOK, "function": {**LOOK["function"], "strict": True}}]),
        "gemini",
        "dropped=tools.function.strict",
    ),
]


@pytest.mark.parametrize(("client", "body", "target", "note"), NAMED)
def test_notes_name_what_the_client_sent(client: ClientDialect, body: Json, target: str, note: str) -> None:
    """A note names the parameter in the client's own dialect, never in OpenAI's or the target's."""
    assert note in translated(client, target, body).notes


FOREIGN = {
    ANTHROPIC: ("stop=", "response_format", "allowed_tools", "reasoning_content", "image_url"),
    GEMINI: ("messages", "response_format", "allowed_tools", "tool_choice", "image_url"),
    RESPONSES: ("messages", "response_format", "allowed_tools", "image_url"),
}


@pytest.mark.parametrize("client", FOREIGN)
@pytest.mark.parametrize("part", PARTS)
def test_no_client_reads_of_another_dialects_parameter(client: ClientDialect, part: str) -> None:
    """Whatever writers may report, it has a name in each client's dialect, were it only a member above it."""
    bodies = {
        ANTHROPIC: message(HI),
        GEMINI: {"contents": [GOOGLE_HI]},
        RESPONSES: {"input": "hi"},
    }
    notes = Notes()
    CLIENTS[client].read_request(orjson.dumps(bodies[client]), notes)
    if part == "response_format.schema" and client is GEMINI:
        return  # called after the member that asked for it, and none did here

    assert not [word for word in FOREIGN[client] if word in notes.name(part)]


FREE: Json = {
    "type": "custom",
    "custom": {
        "name": "patch",
        "description": "Patches.",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}},
    },
}
FREE_CALL: Json = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "text\n1"}}
FREE_ANSWERS: dict[str, Json] = {
    "gemini": {
        "candidates": [
            {
                "content": {"parts": [{"functionCall": {"name": "patch", "args": {"input": "free"}}}]},
                "finishReason": "STOP",
            }
        ]
    },
    "cohere": {
        "message": {
            "tool_calls": [
                {
                    "id": "x",
                    "type": "function",
                    "function": {"name": "patch", "arguments": '{"input":"free"}'},
                }
            ]
        },
        "finish_reason": "TOOL_CALL",
    },
    "workers-ai": {
        "result": {"response": "", "tool_calls": [{"name": "patch", "arguments": {"input": "free"}}]},
        "success": True,
    },
}


@pytest.mark.parametrize("target", FREE_ANSWERS)
def test_tools_that_take_free_text(target: str) -> None:
    """A tool that takes free text reaches targets that have none, as one text in an object, and back."""
    body = chat(HI, {"role": "assistant", "tool_calls": [FREE_CALL]}, RESULT, tools=[FREE])

    made = translated(OPENAI, target, body)

    written = made.written.body.decode()
    assert "emulated=tools[0]" in made.notes
    assert "start: /a/" in written
    assert "text\\n1" in written.replace("\\\\", "\\")
    answer = orjson.loads(made.read_answer(orjson.dumps(FREE_ANSWERS[target])).body)
    call = answer["choices"][0]["message"]["tool_calls"][0]
    assert (call["type"], call["custom"]) == ("custom", {"name": "patch", "input": "free"})
