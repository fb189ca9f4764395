"""How hard the model is to think, in the terms of each family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.anthropic.models import profile_for
from services.providers.dialects.neutral.efforts import BUDGETS, EFFORTS, next_effort
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.anthropic.models import ModelProfile
    from services.providers.dialects.converse.families import Family
    from services.providers.dialects.neutral.conversation import Conversation, ReasoningOptions
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["Thinking", "choose_thinking"]

_PARAM: Final = "reasoning"
_BUDGET: Final = "reasoning.budget_tokens"
_MIN_BUDGET_TOKENS: Final = 1024
_LOW_TO_HIGH: Final = ("low", "medium", "high")
_THOUGHTS: Final = frozenset({"reasoningContent"})


@dataclass(slots=True, kw_only=True)
class Thinking:
    """
    What is sent about thinking.

    Attributes:
        fields: For `additionalModelRequestFields`.
        effort: For `outputConfig.effort`; empty: nothing is sent.
        on: Thinking was asked for.
        manual: With a budget, which comes with more restrictions.
        bare: The model takes no sampling and no length with it.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    effort: str = ""
    on: bool = False
    manual: bool = False
    bare: bool = False


def choose_thinking(
    conversation: Conversation,
    messages: list[dict[str, Any]],
    model: str,
    family: Family,
    notes: Notes,
) -> Thinking:
    """Write `reasoning` for a family; `messages` are those that are sent."""
    asked = conversation.reasoning
    if asked is None or not (asked.effort or asked.adaptive or asked.budget_tokens is not None):
        return Thinking()
    if asked.effort and asked.effort not in EFFORTS:
        invalid(notes.name(_PARAM), f"must be one of {', '.join(EFFORTS)}")
    match family.reasoning:
        case "claude":
            thinking = _claude(asked, profile_for(model), conversation.max_tokens, notes)
            if thinking.manual and not _allows_manual(messages):
                notes.dropped(_PARAM)
                return Thinking()
            return thinking
        case "nova":
            return _nova(asked, notes)
        case "effort":
            effort = next_effort(_effort_of(asked), _LOW_TO_HIGH, notes)
            return Thinking(fields={"reasoning_effort": effort}, on=True)
        case _:
            if not _is_off(asked):
                notes.dropped(_PARAM)
            return Thinking()


def _is_off(asked: ReasoningOptions) -> bool:
    return asked.effort == "none" or (asked.budget_tokens == 0 and not asked.effort)


def _effort_of(asked: ReasoningOptions) -> str:
    """Find the effort that a budget comes to, for families that know no budgets."""
    if asked.effort:
        return asked.effort
    budget = asked.budget_tokens
    if budget is None or budget < 0:
        return "medium"
    return next((effort for effort, tokens in BUDGETS.items() if budget <= tokens), "high")


def _claude(asked: ReasoningOptions, profile: ModelProfile, max_tokens: int | None, notes: Notes) -> Thinking:
    if _is_off(asked):
        return _claude_off(profile, notes)
    if profile.thinking == "none":
        notes.dropped(_PARAM)
        return Thinking()
    if profile.thinking == "manual" or (
        (asked.budget_tokens or 0) > 0 and not asked.effort and profile.sampling != "none"
    ):
        return _budgeted(asked, max_tokens, notes)
    thinking: dict[str, Any] = {"type": "adaptive"}
    if asked.show is not None:
        thinking["display"] = "summarized" if asked.show else "omitted"
    if (asked.budget_tokens or 0) > 0 and not asked.effort:
        # The families that take no sampling parameters take no budget either.
        notes.clamped(_BUDGET, "adaptive")
    effort = next_effort(asked.effort, profile.efforts, notes) if asked.effort else ""
    return Thinking(fields={"thinking": thinking}, effort=effort, on=True)


def _claude_off(profile: ModelProfile, notes: Notes) -> Thinking:
    if profile.thinking == "always":
        notes.clamped(_PARAM, profile.efforts[0])
        return Thinking(effort=profile.efforts[0])
    if profile.thinking_off:
        return Thinking(fields={"thinking": {"type": profile.thinking_off}})
    return Thinking()


def _budgeted(asked: ReasoningOptions, max_tokens: int | None, notes: Notes) -> Thinking:
    budget = asked.budget_tokens or 0
    if budget <= 0:
        budget = BUDGETS[_effort_of(asked)]
    elif budget < _MIN_BUDGET_TOKENS:
        budget = _MIN_BUDGET_TOKENS
        notes.clamped(_BUDGET, budget)
    if max_tokens is not None and budget >= max_tokens:
        if max_tokens <= _MIN_BUDGET_TOKENS:
            notes.dropped(_PARAM)
            return Thinking()
        budget = max_tokens - 1
        notes.clamped(_PARAM, budget)
    fields = {"thinking": {"type": "enabled", "budget_tokens": budget}}
    return Thinking(fields=fields, on=True, manual=True)


def _nova(asked: ReasoningOptions, notes: Notes) -> Thinking:
    if _is_off(asked):
        return Thinking(fields={"reasoningConfig": {"type": "disabled"}})
    effort = next_effort(_effort_of(asked), _LOW_TO_HIGH, notes)
    fields = {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}
    return Thinking(fields=fields, on=True, bare=effort == "high")


def _allows_manual(messages: list[dict[str, Any]]) -> bool:
    """
    Tell whether a conversation can go on with a thinking budget.

    It cannot end in a prefill, nor in results of calls that were made without thinking.
    """
    last = messages[-1]
    if last["role"] == "assistant":
        return False
    if all("toolResult" not in block for block in last["content"]):
        return True
    calling = messages[-2]["content"] if len(messages) > 1 else []
    return bool(calling) and bool(_THOUGHTS & calling[0].keys())
