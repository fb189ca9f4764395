"""
Reads a client's responses request. Nothing is stored here, so whatever refers to something stored is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.conversation import Conversation, Message, TextPart
from services.providers.dialects.neutral.fields import (
    get_bool,
    get_dict,
    get_int,
    get_list,
    get_number,
    get_str,
    load_body,
)
from services.providers.dialects.neutral.notes import invalid, unsupported
from services.providers.dialects.openai_responses.echo import LOGPROBS, SEALS, read_echo
from services.providers.dialects.openai_responses.item_reader import read_input
from services.providers.dialects.openai_responses.option_reader import (
    read_format,
    read_reasoning,
    read_tool_choice,
    read_tools,
)

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_request", "refuse_stored"]

_NAMES: Final = {
    "cache_control": "prompt_cache_breakpoint",
    "logprobs": "include",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "messages.citations": "input.content.annotations",
    "messages.detail": "input.content.detail",
    "messages.is_error": "input.is_error",
    "messages.media": "input.image_generation_call",
    "messages.reasoning": "input.reasoning",
    "messages.tool_calls.signature": "input.reasoning.encrypted_content",
    "response_format": "text.format",
    "response_format.schema": "text.format.schema",
    "system": "instructions",
    "tool_choice.allowed": "tool_choice.tools",
    "verbosity": "text.verbosity",
}
_STORED: Final = {
    "previous_response_id": "refers to a stored response, and none is stored here: send the whole input",
    "conversation": "refers to a stored conversation, and none is stored here: send the whole input",
    "background": "needs a store, and nothing is stored here",
}
_READ: Final = frozenset(
    {
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        *_STORED,
    }
)
# Values that ask for nothing beyond what happens anyway.
_ASKS_FOR_NOTHING: Final[dict[str, tuple[Any, ...]]] = {
    "context_management": ([],),
    "safety_identifier": ("",),
    "truncation": ("disabled",),
}
# The widest whole number that JSON writers here put out.
_MOST: Final = (1 << 63) - 1
_MOST_ALTERNATIVES: Final = 20


def read_request(body: bytes, notes: Notes) -> Conversation:
    """
    Read a request.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    document = load_body(body)
    notes.call(_NAMES)
    _refuse_stored(document, notes)
    text = get_dict(document, "text") or {}
    tools = read_tools(document)
    conversation = Conversation(
        messages=_messages(document, notes),
        tools=tools,
        tool_choice=read_tool_choice(document, tools, notes),
        parallel_tool_calls=get_bool(document, "parallel_tool_calls"),
        response_format=read_format(text),
        reasoning=read_reasoning(document, notes),
        max_tokens=_max_tokens(document),
        temperature=get_number(document, "temperature", 0, 2),
        top_p=get_number(document, "top_p", 0, 1),
        metadata=get_dict(document, "metadata") or {},
        service_tier=get_str(document, "service_tier") or "",
        verbosity=get_str(text, "verbosity", "text.") or "",
        include_usage=True,
        extra=_extra(document),
    )
    _read_user(document, conversation, notes)
    _read_logprobs(document, conversation)
    conversation.echo = read_echo(document, conversation)
    return conversation


def refuse_stored(document: dict[str, Any]) -> None:
    """
    Refuse what refers to a stored answer, or asks for one to be fetched later.

    Raises:
        GatewayError: UNSUPPORTED, naming the parameter.
    """
    for name, why in _STORED.items():
        value = document.get(name)
        if value is not None and value is not False:
            unsupported(name, why)


def _refuse_stored(document: dict[str, Any], notes: Notes) -> None:
    refuse_stored(document)
    if document.get("prompt") is not None:
        unsupported("prompt", "refers to a stored prompt, which only its own provider knows")
    if get_bool(document, "store"):
        # The answer can be read once, so it is given; that it cannot be read again has to be told.
        notes.dropped("store")
    included = get_list(document, "include")
    for at, name in enumerate(included):
        if not isinstance(name, str):
            invalid(f"include[{at}]", "must be a string")
    for name in dict.fromkeys(included):
        if name not in {LOGPROBS, SEALS}:
            notes.dropped(f"include.{name}")


def _messages(document: dict[str, Any], notes: Notes) -> list[Message]:
    messages = read_input(document.get("input"), notes)
    first = get_str(document, "instructions")
    if first:
        messages.insert(0, Message(role="system", parts=[TextPart(text=first)], path="instructions"))
    if not messages:
        invalid("input", "must not be empty")
    return messages


def _max_tokens(document: dict[str, Any]) -> int | None:
    value = get_int(document, "max_output_tokens")
    if value is not None and not 1 <= value <= _MOST:
        invalid("max_output_tokens", "must be at least 1" if value < 1 else "is too large")
    return value


def _read_user(document: dict[str, Any], conversation: Conversation, notes: Notes) -> None:
    """Read who the end user is; where both names are given, the newer one stays in `extra`."""
    user, newer = get_str(document, "user"), get_str(document, "safety_identifier")
    if user:
        conversation.user = user
    elif newer:
        conversation.user = newer
        notes.call({"user": "safety_identifier"})
        del conversation.extra["safety_identifier"]


def _read_logprobs(document: dict[str, Any], conversation: Conversation) -> None:
    top = get_int(document, "top_logprobs")
    if top is not None and not 0 <= top <= _MOST_ALTERNATIVES:
        invalid("top_logprobs", f"must be between 0 and {_MOST_ALTERNATIVES}")
    if LOGPROBS in get_list(document, "include") or top:
        conversation.logprobs, conversation.top_logprobs = True, top or None


def _extra(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in document.items()
        if name not in _READ and value is not None and value not in _ASKS_FOR_NOTHING.get(name, ())
    }
