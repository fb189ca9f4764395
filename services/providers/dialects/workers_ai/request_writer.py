"""
Writes a conversation as a request of `run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.conversation import FunctionTool, ServerTool
from services.providers.dialects.neutral.fields import dump_body
from services.providers.dialects.neutral.free_text import FREE_TEXT, describe
from services.providers.dialects.neutral.json_words import json_instruction
from services.providers.dialects.neutral.losses import note_citations, note_marks, note_signatures
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import Written
from services.providers.dialects.neutral.tool_names import LETTERS_64, ToolNames, custom_names, names_in
from services.providers.dialects.workers_ai.messages import write_messages
from services.providers.dialects.workers_ai.models import default_tokens

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["DEFAULT_TOKENS", "write_request"]

DEFAULT_TOKENS: Final = 4096
# Member, least and most.
_BOUNDS: Final = {
    "temperature": (0, 5),
    "top_p": (0.001, 1),
    "frequency_penalty": (0, 2),
    "presence_penalty": (0, 2),
}
_MOST_TOP_K: Final = 50
_MOST_SEED: Final = 9_999_999_999
# Members of the API's own that clients may send.
_OWN: Final = ("lora", "repetition_penalty")
_DROPPED: Final = (
    "logit_bias",
    "logprobs",
    "metadata",
    "service_tier",
    "stop",
    "top_logprobs",
    "user",
    "verbosity",
)


def write_request(
    conversation: Conversation,
    model: str,
    stream: bool,  # noqa: FBT001
    notes: Notes,
    *,
    default_max_tokens: int = DEFAULT_TOKENS,
) -> Written:
    """
    Write a request; see `TargetSide`.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED.
    """
    if conversation.n is not None and conversation.n > 1:
        notes.refuse("n", "may only be 1 for Workers AI, which gives one answer")
    note_marks(conversation, notes)
    note_citations(conversation, notes)
    note_signatures(conversation, notes)
    names = ToolNames(names_in(conversation), LETTERS_64)
    messages = write_messages(conversation, names, notes)
    body: dict[str, Any] = {"messages": messages}
    _tools(conversation, names, body, notes)
    _shape(conversation, body, notes, stream=stream)
    if stream:
        body["stream"] = True
    body["max_tokens"] = conversation.max_tokens or default_tokens(model, default_max_tokens)
    _sampling(conversation, body, notes)
    wanted = conversation.reasoning
    if wanted is not None and wanted.effort != "none" and wanted.budget_tokens != 0:
        notes.dropped("reasoning")
    for name in _OWN:
        if name in conversation.extra:
            body[name] = conversation.extra.pop(name)
    for name in _DROPPED:
        if getattr(conversation, name):
            notes.dropped(name)
    restore = Restore(tool_names=names.changed(), custom_tools=custom_names(conversation, names))
    return Written(body=dump_body(body), restore=restore)


def _sampling(conversation: Conversation, body: dict[str, Any], notes: Notes) -> None:
    for name, (low, high) in _BOUNDS.items():
        value = getattr(conversation, name)
        if value is not None:
            body[name] = min(max(value, low), high)
            if body[name] != value:
                notes.clamped(name, body[name])
    top_k = conversation.top_k
    # Zero and less is a way to say that all tokens are considered, as they are anyway.
    if top_k is not None and top_k > 0:
        body["top_k"] = min(top_k, _MOST_TOP_K)
        if body["top_k"] != top_k:
            notes.clamped("top_k", body["top_k"])
    if conversation.seed is not None:
        if 1 <= conversation.seed <= _MOST_SEED:
            body["seed"] = conversation.seed
        else:
            notes.dropped("seed")


def _tools(conversation: Conversation, names: ToolNames, body: dict[str, Any], notes: Notes) -> None:
    """Write tools and the choice among them; one is forced by being the only one."""
    tools = _functions(conversation, notes)
    choice = conversation.tool_choice
    if choice is not None:
        allowed = (choice.name,) if choice.name else choice.allowed
        if allowed:
            tools = [tool for tool in tools if tool.name in allowed]
        if choice.mode == "required" and not tools:
            if conversation.tools and allowed:
                invalid(notes.name("tool_choice"), "demands a tool that is not among the tools")
            notes.dropped("tool_choice")  # the tools were left out, or there were none
        if choice.mode == "none":
            return  # tools that may not be called are no loss
    if not tools:
        return
    if conversation.parallel_tool_calls is False:
        notes.dropped("parallel_tool_calls")
    if any(tool.strict for tool in tools):
        notes.dropped("tools.strict")
    body["tools"] = [_tool(tool, names, notes) for tool in tools]
    if choice is not None and choice.mode == "required":
        body["tool_choice"] = "required"


def _functions(conversation: Conversation, notes: Notes) -> list[FunctionTool]:
    found = []
    for tool in conversation.tools:
        if isinstance(tool, ServerTool):
            notes.dropped(tool.path or "tools")
        else:
            found.append(tool)
    return found


def _tool(tool: FunctionTool, names: ToolNames, notes: Notes) -> dict[str, Any]:
    function = {
        "name": names.sent(tool.name),
        # Demanded, if only as an empty text.
        "description": describe(tool, notes) if tool.custom else tool.description,
        "parameters": (FREE_TEXT if tool.custom else tool.parameters) or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _shape(conversation: Conversation, body: dict[str, Any], notes: Notes, *, stream: bool) -> None:
    """Write the shape of the answer, which the API keeps to neither in streams nor beside tools."""
    wanted = conversation.response_format
    if wanted is None or wanted.kind == "text":
        return
    if not stream and "tools" not in body:
        body["response_format"] = {"type": "json_object"}
        if wanted.schema is not None:
            # The schema itself, where OpenAI has it in a wrapping.
            body["response_format"] = {"type": "json_schema", "json_schema": wanted.schema}
        return
    notes.emulated("response_format")
    body["messages"].insert(0, {"role": "system", "content": json_instruction(wanted)})
