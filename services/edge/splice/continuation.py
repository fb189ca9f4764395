"""
Writes the request that asks a fallback to go on from a partial answer.

The client's body stays as it is, to the byte, but for the assistant's turn at the end. What may then be made
of the answer is `ContinueMatch`'s to say: no request can make every model go on to the character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.json_edit import append_element, member_span, replace_member
from services.edge.splice.fields import Json, object_of
from services.edge.splice.verdict import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["continuation_request"]

# Members of Gemini's configuration that ask for something else than text, or for more.
_FORMS: Final = (
    "responseSchema", "response_schema", "responseJsonSchema", "response_json_schema", "_responseJsonSchema",
    "responseLogprobs", "response_logprobs", "logprobs", "speechConfig", "speech_config",
)  # fmt: skip


def continuation_request(dialect: Dialect, body: bytes, sent_text: str) -> bytes | None:
    """
    Write the client's request with what it was answered so far as the assistant's turn.

    Whitespace at the end is left out, since Anthropic refuses it, and since models write the space before a
    word with the word.

    Args:
        dialect: The client's.
        body: The client's body.
        sent_text: Text that the client has. Where there is none but whitespace, the body stays as it is.

    Returns:
        None where no model can go on: the answer has to have a form that a turn cannot begin (structured
        output, a forced call of a tool), has more to it than text (several choices, probabilities, speech,
        thoughts that come before any text), or the conversation is kept elsewhere or ends with a turn of the
        assistant's already.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    hindered, write = _DIALECTS[dialect]
    if hindered(document):
        return None
    text = sent_text.rstrip()
    return write(body, document, text) if text else body


def _is_forced(choice: object) -> bool:
    """Tell whether a choice of tools, in OpenAI's words, makes the model call one."""
    if isinstance(choice, dict):
        allowed = object_of(choice, "allowed_tools") or choice
        return choice.get("type") != "allowed_tools" or allowed.get("mode") != "auto"
    return choice not in (None, "auto", "none")


def _hinders_chat(document: Json) -> bool:
    """Tell what in a chat completions request leaves nothing to go on with."""
    return (
        document.get("n") not in (None, 1)
        or bool(document.get("logprobs") or document.get("top_logprobs"))
        or object_of(document, "response_format").get("type") not in (None, "text")
        or _is_forced(document.get("tool_choice"))
        or document.get("function_call") not in (None, "auto", "none")
        or document.get("modalities") not in (None, ["text"])
        or _own_turn_ends(document.get("messages"))
    )


def _hinders_responses(document: Json) -> bool:
    """Tell likewise of a responses request."""
    include = document.get("include")
    given = document.get("input")
    return (
        any(
            document.get(name)
            for name in ("previous_response_id", "conversation", "background", "top_logprobs")
        )
        or (isinstance(include, list) and "message.output_text.logprobs" in include)
        or object_of(object_of(document, "text"), "format").get("type") not in (None, "text")
        or _is_forced(document.get("tool_choice"))
        or (not isinstance(given, str) and _own_turn_ends(given))
    )


def _hinders_messages(document: Json) -> bool:
    """Tell likewise of an Anthropic messages request."""
    return (
        object_of(document, "thinking").get("type") not in (None, "disabled")
        or object_of(document, "tool_choice").get("type") not in (None, "auto", "none")
        or bool(document.get("output_format") or object_of(document, "output_config").get("format"))
        or _own_turn_ends(document.get("messages"))
    )


def _hinders_gemini(document: Json) -> bool:
    """Tell likewise of a Gemini request, whose members may be in snake case."""
    config = object_of(document, "generationConfig") or object_of(document, "generation_config")
    tools = object_of(document, "toolConfig") or object_of(document, "tool_config")
    calling = object_of(tools, "functionCallingConfig") or object_of(tools, "function_calling_config")
    modalities = _either(config, "responseModalities", "response_modalities")
    return (
        _either(config, "candidateCount", "candidate_count") not in (None, 1)
        or _either(config, "responseMimeType", "response_mime_type") not in (None, "", "text/plain")
        or any(config.get(name) for name in _FORMS)
        or modalities not in (None, [], ["TEXT"])
        or str(calling.get("mode", "AUTO")).upper() not in {"AUTO", "NONE", "MODE_UNSPECIFIED"}
        or _own_turn_ends(document.get("contents"))
    )


def _either(document: Json, name: str, other: str) -> Any:
    return document.get(name, document.get(other))


def _own_turn_ends(turns: object) -> bool:
    """Tell whether a conversation ends with a turn of the model's, or is none."""
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        return True
    return turns[-1].get("role") in ("assistant", "model")


def _write_chat(body: bytes, _: Json, text: str) -> bytes:
    return append_element(body, "messages", orjson.dumps({"role": "assistant", "content": text}))


def _write_responses(body: bytes, document: Json, text: str) -> bytes:
    turn = {"type": "message", "role": "assistant", "content": text}
    if isinstance(document["input"], str):
        start, end = member_span(body, "input")
        asked = b'{"type":"message","role":"user","content":%b}' % body[start:end]
        return replace_member(body, document, "input", b"[%b,%b]" % (asked, orjson.dumps(turn)))
    return append_element(body, "input", orjson.dumps(turn))


def _write_gemini(body: bytes, _: Json, text: str) -> bytes:
    return append_element(body, "contents", orjson.dumps({"role": "model", "parts": [{"text": text}]}))


_DIALECTS: Final[Mapping[Dialect, tuple[Callable[[Json], bool], Callable[[bytes, Json, str], bytes]]]] = {
    Dialect.CHAT: (_hinders_chat, _write_chat),
    Dialect.RESPONSES: (_hinders_responses, _write_responses),
    Dialect.MESSAGES: (_hinders_messages, _write_chat),
    Dialect.GEMINI: (_hinders_gemini, _write_gemini),
}
