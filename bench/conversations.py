"""
One conversation as clients of each dialect would send it: a system prompt, a round with a tool, 2 kB of text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from bench.load import PROMPT
from services.providers.call import ClientDialect

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["request_body"]

Json = dict[str, Any]

_SYSTEM: Final = (
    "You answer questions about the weather, in few words. Ask for the place when it is not told."
)
_QUESTION: Final = "What is it like in Lisbon now?"
_ARGUMENTS: Final = {"city": "Lisbon", "unit": "celsius"}
_RESULT: Final = '{"sky":"clear","temperature":21,"wind":"north-west"}'
_SAID: Final = "Clear, 21 °C, and some wind from the north-west."
_LIMIT: Final = 1024
_WARMTH: Final = 0.7
_CALL: Final = "call_a1b2c3d4e5f6"

# Name, description and parameters.
_TOOLS: Final[tuple[tuple[str, str, Json], ...]] = (
    (
        "get_weather",
        "Tells the weather at a place, as it is now.",
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the place."},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    ),
    (
        "find_place",
        "Finds places by a part of their name.",
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "most": {"type": "integer", "minimum": 1, "maximum": 20},
                "countries": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["name"],
        },
    ),
)


def request_body(dialect: ClientDialect, model: str, *, stream: bool) -> bytes:
    """Write the conversation in one of the dialects that clients may ask for a chat in."""
    document = _MEMBERS[dialect]
    # Gemini has both in the path.
    if dialect is ClientDialect.GEMINI:
        return orjson.dumps(document)
    return orjson.dumps({"model": model, **document, "stream": stream})


_CHAT: Final[Json] = {
    "messages": [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": _QUESTION},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": _CALL,
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": orjson.dumps(_ARGUMENTS).decode()},
                }
            ],
        },
        {"role": "tool", "tool_call_id": _CALL, "content": _RESULT},
        {"role": "assistant", "content": _SAID},
        {"role": "user", "content": PROMPT},
    ],
    "tools": [
        {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
        for name, description, parameters in _TOOLS
    ],
    "tool_choice": "auto",
    "temperature": _WARMTH,
    "max_tokens": _LIMIT,
}

_RESPONSES: Final[Json] = {
    "instructions": _SYSTEM,
    "input": [
        {"role": "user", "content": _QUESTION},
        {
            "type": "function_call",
            "call_id": _CALL,
            "name": "get_weather",
            "arguments": orjson.dumps(_ARGUMENTS).decode(),
        },
        {"type": "function_call_output", "call_id": _CALL, "output": _RESULT},
        {"role": "assistant", "content": [{"type": "output_text", "text": _SAID}]},
        {"role": "user", "content": [{"type": "input_text", "text": PROMPT}]},
    ],
    "tools": [
        {"type": "function", "name": name, "description": description, "parameters": parameters}
        for name, description, parameters in _TOOLS
    ],
    "tool_choice": "auto",
    "temperature": _WARMTH,
    "max_output_tokens": _LIMIT,
    "store": False,
}

_MESSAGES: Final[Json] = {
    "max_tokens": _LIMIT,
    "system": _SYSTEM,
    "messages": [
        {"role": "user", "content": _QUESTION},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": _CALL, "name": "get_weather", "input": _ARGUMENTS}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": _CALL, "content": _RESULT}]},
        {"role": "assistant", "content": _SAID},
        {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
    ],
    "tools": [
        {"name": name, "description": description, "input_schema": parameters}
        for name, description, parameters in _TOOLS
    ],
    "tool_choice": {"type": "auto"},
    "temperature": _WARMTH,
}

_GEMINI: Final[Json] = {
    "systemInstruction": {"parts": [{"text": _SYSTEM}]},
    "contents": [
        {"role": "user", "parts": [{"text": _QUESTION}]},
        {"role": "model", "parts": [{"functionCall": {"name": "get_weather", "args": _ARGUMENTS}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "get_weather", "response": orjson.loads(_RESULT)}}],
        },
        {"role": "model", "parts": [{"text": _SAID}]},
        {"role": "user", "parts": [{"text": PROMPT}]},
    ],
    "tools": [
        {
            "functionDeclarations": [
                {"name": name, "description": description, "parametersJsonSchema": parameters}
                for name, description, parameters in _TOOLS
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "generationConfig": {"temperature": _WARMTH, "maxOutputTokens": _LIMIT},
}

_MEMBERS: Final[Mapping[ClientDialect, Json]] = {
    ClientDialect.OPENAI_CHAT: _CHAT,
    ClientDialect.OPENAI_RESPONSES: _RESPONSES,
    ClientDialect.ANTHROPIC_MESSAGES: _MESSAGES,
    ClientDialect.GEMINI: _GEMINI,
}
