"""
Writes a conversation as a request of Cohere's chat API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.cohere.messages import MessageWriter
from services.providers.dialects.cohere.models import reasons
from services.providers.dialects.cohere.tools import tool_setting
from services.providers.dialects.neutral.fields import dump_body
from services.providers.dialects.neutral.losses import note_citations, note_marks, note_signatures
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import Written
from services.providers.dialects.neutral.tool_names import LETTERS_64, ToolNames, custom_names, names_in

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["write_request"]

_MOST_STOPS: Final = 5
# Member of `Conversation` → Cohere's name, least and most.
_BOUNDS: Final = {
    "temperature": ("temperature", 0, 1),
    "top_p": ("p", 0.01, 0.99),
    "top_k": ("k", 0, 500),
    "frequency_penalty": ("frequency_penalty", 0, 1),
    "presence_penalty": ("presence_penalty", 0, 1),
}
# Cohere refuses members that it does not know, so only these of its own pass.
_OWN: Final = ("citation_options", "documents", "k", "p", "priority", "safety_mode", "strict_tools")
_DROPPED: Final = ("logit_bias", "metadata", "service_tier", "user", "verbosity")
# Cohere counts thoughts in tokens; without a budget a model thinks as long as it can.
_BUDGETS: Final = {"minimal": 512, "low": 1024, "medium": 4096, "high": 16384}


def write_request(conversation: Conversation, model: str, stream: bool, notes: Notes) -> Written:  # noqa: FBT001
    """
    Write a request; see `TargetSide`.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED.
    """
    if conversation.n is not None and conversation.n > 1:
        notes.refuse("n", "may only be 1 for Cohere, which gives one answer")
    note_marks(conversation, notes)
    note_citations(conversation, notes)
    note_signatures(conversation, notes)
    names = ToolNames(names_in(conversation), LETTERS_64)
    setting = tool_setting(conversation, names, notes)
    messages = MessageWriter(names, notes, thinks=reasons(model))
    for message in conversation.messages:
        messages.add(message)
    if setting.instruction:
        messages.instruct(setting.instruction)
    body: dict[str, Any] = {"model": model, "messages": messages.written(), **setting.members}
    if stream:
        body["stream"] = True
    _sampling(conversation, body, notes)
    _thinking(conversation, model, body, notes)
    if conversation.logprobs:
        body["logprobs"] = True
    if conversation.top_logprobs:
        notes.dropped("top_logprobs")
    for name in _OWN:
        # A member that was written already (`p` from `top_p`) stays, and the client's other one is reported.
        if name in conversation.extra and name not in body:
            body[name] = conversation.extra.pop(name)
    for name in _DROPPED:
        if getattr(conversation, name):
            notes.dropped(name)
    restore = Restore(
        tool_names=names.changed(),
        answer_tool=setting.answer_tool,
        custom_tools=custom_names(conversation, names),
    )
    return Written(body=dump_body(body), restore=restore)


def _sampling(conversation: Conversation, body: dict[str, Any], notes: Notes) -> None:
    if conversation.max_tokens is not None:
        body["max_tokens"] = conversation.max_tokens
    for param, (name, low, high) in _BOUNDS.items():
        value = getattr(conversation, param)
        if value is not None:
            body[name] = min(max(value, low), high)
            if body[name] != value:
                notes.clamped(param, body[name])
    if "frequency_penalty" in body and "presence_penalty" in body:
        # Some models refuse both together.
        del body["presence_penalty"]
        notes.dropped("presence_penalty")
    if conversation.stop:
        body["stop_sequences"] = conversation.stop[:_MOST_STOPS]
        if len(conversation.stop) > _MOST_STOPS:
            notes.clamped("stop", _MOST_STOPS)
    if conversation.seed is not None:
        if conversation.seed >= 0:
            body["seed"] = conversation.seed
        else:
            notes.dropped("seed")


def _thinking(conversation: Conversation, model: str, body: dict[str, Any], notes: Notes) -> None:
    wanted = conversation.reasoning
    if wanted is None:
        return
    off = wanted.effort == "none" or wanted.budget_tokens == 0
    if not reasons(model):
        if not off:
            notes.dropped("reasoning")
        return
    if off:
        body["thinking"] = {"type": "disabled"}
        return
    if not wanted.effort and wanted.budget_tokens is None and not wanted.adaptive:
        return  # only how thoughts are shown was asked for, and Cohere always shows them
    body["thinking"] = {"type": "enabled"}
    budget = wanted.budget_tokens
    if budget is None:
        budget = _BUDGETS.get(wanted.effort)
        if budget is not None and conversation.max_tokens is not None:
            # Thoughts count towards the limit; half of it is left for the answer.
            budget = max(1, min(budget, conversation.max_tokens // 2))
    if budget is not None and budget > 0:
        body["thinking"]["token_budget"] = budget
