"""
An OpenAI chat request as an Anthropic messages request.

What the target cannot take is dropped, clamped or emulated, and said so in the notes; with `strict` it is
refused instead. What the target would refuse is never sent. The parts are in the `anthropic_*` modules.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.providers.dialects.anthropic_format import FormatChoice, translate_format
from services.providers.dialects.anthropic_models import ModelProfile, profile_for
from services.providers.dialects.anthropic_options import translate_options
from services.providers.dialects.anthropic_thinking import ThinkingChoice, translate_thinking
from services.providers.dialects.anthropic_tools import (
    ToolNames,
    tool_names,
    translate_tool_choice,
    translate_tools,
)
from services.providers.dialects.anthropic_turns import Conversation, translate_messages
from services.providers.dialects.chat_request import (
    Notes,
    get_bool,
    get_dict,
    get_int,
    invalid,
    unsupported,
)
from services.providers.dialects.openai_chat import load_request

DEFAULT_MAX_TOKENS = 4096
# Members that are read here; every other one is dropped, with a note unless its value asks for nothing.
_READ = frozenset(
    {
        "audio",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
    }
)
_ASKS_FOR_NOTHING: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "presence_penalty": (0,),
    "store": (False,),
    "top_logprobs": (0,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseContext:
    """
    What the response side must know of the request.

    Attributes:
        model: Model that was asked for, for answers that name none.
        created_s: Time of the request, in seconds since 1970.
        answer_id: Id for answers that have none.
        tool_names: Tool names that were changed: as sent → as the client has them.
        json_tool: Tool whose arguments are the answer's content. Empty: there is none.
        include_usage: The client asked for usage at the end of the stream.
    """

    model: str
    created_s: int
    answer_id: str
    tool_names: dict[str, str] = field(default_factory=dict)
    json_tool: str = ""
    include_usage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """
    A translated request.

    Attributes:
        body: What to send.
        headers: Headers that the body needs.
        notes: What was dropped, clamped or emulated.
        response_context: What to translate the answer with.
    """

    body: bytes
    headers: dict[str, str]
    notes: tuple[str, ...]
    response_context: ResponseContext


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What the steps of one translation share."""

    document: dict[str, Any]
    profile: ModelProfile
    names: ToolNames
    notes: Notes
    conversation: Conversation
    thinking: ThinkingChoice


def translate_request(
    body: bytes,
    *,
    model: str,
    stream: bool,
    now_s: int,
    strict: bool = False,
    beta: str = "",
    default_max_tokens: int = DEFAULT_MAX_TOKENS,
) -> Translation:
    """
    Translate a chat request.

    Args:
        body: The client's body.
        model: Model in the provider's naming.
        stream: The client asked for a stream.
        now_s: The time now, in seconds since 1970.
        strict: Refuse what cannot be translated without loss.
        beta: Value of the client's `anthropic-beta` header.
        default_max_tokens: Longest answer, when neither the client nor the model's own limit says.

    Raises:
        GatewayError: With INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    document = load_request(body)
    _refuse_hopeless(document)
    notes = Notes(strict=strict)
    max_tokens = _max_tokens(document, profile_for(model), default_max_tokens)
    work = _read(document, profile_for(model), max_tokens, notes)
    members, json_tool = _tools_and_format(work)
    options = translate_options(document, work.profile, work.thinking, notes)
    request: dict[str, Any] = {"model": model, "max_tokens": max_tokens, **members, **options}
    if work.thinking.thinking is not None:
        request["thinking"] = work.thinking.thinking
    if work.thinking.effort is not None:
        request["output_config"] = {**request.get("output_config", {}), "effort": work.thinking.effort}
    if stream:
        request["stream"] = True
    _note_unread(document, notes)
    stream_options = get_dict(document, "stream_options") or {}
    betas = merge_betas(beta)
    return Translation(
        body=_dump(request),
        headers={"anthropic-beta": betas} if betas else {},
        notes=notes.taken(),
        response_context=ResponseContext(
            model=model,
            created_s=now_s,
            answer_id="chatcmpl-" + hashlib.sha256(body).hexdigest()[:24],
            tool_names=work.names.changed(),
            json_tool=json_tool,
            include_usage=bool(get_bool(stream_options, "include_usage", "stream_options.")),
        ),
    )


def _read(document: dict[str, Any], profile: ModelProfile, max_tokens: int, notes: Notes) -> _Work:
    """Translate what the other steps build on: the conversation, and how hard to think about it."""
    names = ToolNames(tool_names(document))
    conversation = translate_messages(document, names, notes)
    if conversation.turns[-1]["role"] == "assistant" and not profile.prefill:
        unsupported("messages", "must not end with an assistant message: this model takes no prefill")
    return _Work(
        document=document,
        profile=profile,
        names=names,
        notes=notes,
        conversation=conversation,
        thinking=translate_thinking(document, conversation.turns, profile, max_tokens, notes),
    )


def merge_betas(*values: str) -> str:
    """Join values of `anthropic-beta` headers, each name once, in order."""
    names = (name.strip() for value in values for name in value.split(","))
    return ",".join(dict.fromkeys(name for name in names if name))


def _dump(request: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(request)
    except orjson.JSONEncodeError:
        invalid("body", "is nested too deeply")


def _refuse_hopeless(document: dict[str, Any]) -> None:
    """Refuse what no dropping can make right: the client would get something else than it asked for."""
    choices = get_int(document, "n")
    if choices is not None and choices < 1:
        invalid("n", "must be at least 1")
    if choices is not None and choices > 1:
        unsupported("n", "must be 1 for this provider")
    modalities = document.get("modalities")
    if modalities is not None and modalities != ["text"]:
        unsupported("modalities", "must be text alone for this provider")
    if document.get("audio") is not None:
        unsupported("audio", "is not supported by this provider")


def _max_tokens(document: dict[str, Any], profile: ModelProfile, default: int) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        value = get_int(document, name)
        if value is not None:
            if value < 1:
                invalid(name, "must be at least 1")
            return value
    return profile.max_output_tokens or default


def _tools_and_format(work: _Work) -> tuple[dict[str, Any], str]:
    """
    Translate messages, tools and the format, which depend on each other.

    Returns the members to send, and the name of the tool that gives the answer, if there is one.
    """
    profile, notes, conversation = work.profile, work.notes, work.conversation
    tools = translate_tools(work.document, work.names, notes, strict_tools=profile.structured)
    tools, choice = translate_tool_choice(work.document, tools, work.names, notes)
    can_force = profile.forced_tools and not work.thinking.manual
    if choice is not None and choice["type"] in {"any", "tool"} and not can_force:
        notes.clamped("tool_choice", "auto")
        choice = {name: value for name, value in choice.items() if name != "name"} | {"type": "auto"}
    wanted = translate_format(work.document, profile, work.names, notes, can_force=can_force)
    tools, choice, json_tool = _with_answer_tool(tools, choice, wanted)
    if not tools and conversation.called:
        tools, choice = _placeholders(conversation.called), {"type": "none"}
        notes.emulated("tools")
    if wanted.instruction:
        conversation.system.append({"type": "text", "text": wanted.instruction})
    members = {
        "system": conversation.system_value(),
        "messages": conversation.turns,
        "tools": tools or None,
        "tool_choice": choice,
        "output_config": {"format": wanted.native} if wanted.native is not None else None,
    }
    return {name: value for name, value in members.items() if value is not None}, json_tool


def _with_answer_tool(
    tools: list[dict[str, Any]], choice: dict[str, Any] | None, wanted: FormatChoice
) -> tuple[list[dict[str, Any]], dict[str, Any] | None, str]:
    """Offer the tool that gives the answer beside the client's own, and make the model call one of them."""
    if wanted.tool is None or (choice is not None and choice["type"] == "tool"):
        return tools, choice, ""
    name = str(wanted.tool["name"])
    if not tools or (choice is not None and choice["type"] == "none"):
        return [*tools, wanted.tool], {"type": "tool", "name": name}, name
    return [*tools, wanted.tool], {**(choice or {}), "type": "any"}, name


def _placeholders(called: set[str]) -> list[dict[str, Any]]:
    """Define the tools that a history calls and a request leaves out; Anthropic wants them defined."""
    schema = {"type": "object", "properties": {}}
    return [{"name": name, "input_schema": schema} for name in sorted(called)]


def _note_unread(document: dict[str, Any], notes: Notes) -> None:
    for name, value in document.items():
        if name in _READ or value is None or value in _ASKS_FOR_NOTHING.get(name, ()):
            continue
        notes.dropped(name)
