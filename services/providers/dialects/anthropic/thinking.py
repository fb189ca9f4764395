"""
How hard the model is to think, in the terms of each family of Claude models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.anthropic.turns import THINKING
from services.providers.dialects.neutral.efforts import BUDGETS, EFFORTS, next_effort
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.anthropic.models import ModelProfile
    from services.providers.dialects.anthropic.turns import Turns
    from services.providers.dialects.neutral.conversation import ReasoningOptions
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["Thinking", "choose_thinking"]

_PARAM: Final = "reasoning"
_BUDGET: Final = "reasoning.budget_tokens"
_MIN_BUDGET_TOKENS: Final = 1024
# What Anthropic's models do when they decide for themselves.
_USUAL_EFFORT: Final = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """
    What is sent about thinking.

    Attributes:
        value: Value of `thinking`. None: nothing is sent.
        effort: Value of `output_config.effort`. Empty: nothing is sent.
    """

    value: dict[str, Any] | None = None
    effort: str = ""

    @property
    def on(self) -> bool:
        """Thinking was asked for."""
        return self.value is not None and self.value["type"] in {"enabled", "adaptive"}

    @property
    def manual(self) -> bool:
        """Thinking was asked for with a budget, which comes with more restrictions."""
        return self.value is not None and self.value["type"] == "enabled"


def choose_thinking(
    asked: ReasoningOptions | None, turns: Turns, profile: ModelProfile, max_tokens: int, notes: Notes
) -> Thinking:
    """
    Write how much to think.

    Args:
        asked: What the client asked for.
        turns: The messages that are sent.
        profile: What the model takes.
        max_tokens: Longest answer that is sent.
        notes: Where changes are recorded.

    Raises:
        GatewayError: INVALID_REQUEST for an effort that there is not.
    """
    if asked is None:
        return Thinking()
    if asked.effort and asked.effort not in EFFORTS:
        invalid(notes.name(_PARAM), f"must be one of {', '.join(EFFORTS)}")
    choice = _choose(asked, profile, max_tokens, notes)
    if choice.manual and not _allows_manual(turns.messages):
        notes.dropped(_PARAM)
        return Thinking()
    return choice


def _choose(asked: ReasoningOptions, profile: ModelProfile, max_tokens: int, notes: Notes) -> Thinking:
    budget = asked.budget_tokens
    if budget is not None and budget > 0:
        return _by_budget(asked, budget, profile, max_tokens, notes)
    if asked.effort == "none" or (budget == 0 and not asked.effort):
        return _off(profile, notes)
    if not asked.effort and not asked.adaptive and budget is None:
        return _shown_only(asked, profile)
    room = profile.thinking != "manual" or max_tokens > _MIN_BUDGET_TOKENS
    if profile.thinking == "none" or not room:
        notes.dropped(_PARAM)
        return Thinking()
    if profile.thinking == "manual":
        tokens = min(BUDGETS[asked.effort or _USUAL_EFFORT], max_tokens - 1)
        if not asked.effort:
            notes.clamped(_PARAM, tokens)
        return _enabled(asked, tokens)
    return _adaptive(asked, profile, notes)


def _by_budget(
    asked: ReasoningOptions, budget: int, profile: ModelProfile, max_tokens: int, notes: Notes
) -> Thinking:
    adaptive_only = profile.thinking != "none" and profile.sampling == "none"
    if adaptive_only:
        # The families that take no sampling parameters take no budget either.
        notes.clamped(_BUDGET, "adaptive")
        return _adaptive(asked, profile, notes)
    if profile.thinking == "none" or max_tokens <= _MIN_BUDGET_TOKENS:
        notes.dropped(_PARAM)
        return Thinking()
    tokens = min(max(budget, _MIN_BUDGET_TOKENS), max_tokens - 1)
    if tokens != budget:
        notes.clamped(_BUDGET, tokens)
    return _enabled(asked, tokens)


def _enabled(asked: ReasoningOptions, tokens: int) -> Thinking:
    value: dict[str, Any] = {"type": "enabled", "budget_tokens": tokens}
    if asked.show is False:
        # Thoughts are shown unless told otherwise by every model that takes a budget.
        value["display"] = "omitted"
    return Thinking(value=value)


def _adaptive(asked: ReasoningOptions, profile: ModelProfile, notes: Notes) -> Thinking:
    value = {"type": "adaptive"}
    if asked.show is not None:
        value["display"] = "summarized" if asked.show else "omitted"
    effort = next_effort(asked.effort, profile.efforts, notes) if asked.effort not in {"", "none"} else ""
    return Thinking(value=value, effort=effort)


def _shown_only(asked: ReasoningOptions, profile: ModelProfile) -> Thinking:
    """Say whether to show thoughts, where the client says that alone and the model thinks by itself."""
    if asked.show is None or profile.thinking != "always":
        return Thinking()
    return Thinking(value={"type": "adaptive", "display": "summarized" if asked.show else "omitted"})


def _off(profile: ModelProfile, notes: Notes) -> Thinking:
    if profile.thinking == "always":
        lowest = profile.efforts[0]
        notes.clamped(_PARAM, lowest)
        return Thinking(effort=lowest)
    if profile.thinking_off:
        return Thinking(value={"type": profile.thinking_off})
    return Thinking()


def _allows_manual(messages: list[dict[str, Any]]) -> bool:
    """
    Tell whether a conversation can go on with a thinking budget.

    It cannot end in a prefill, nor in results of calls that were made without thinking.
    """
    last = messages[-1]
    if last["role"] == "assistant":
        return False
    if all(block["type"] != "tool_result" for block in last["content"]):
        return True
    calling = messages[-2]["content"] if len(messages) > 1 else []
    return bool(calling) and calling[0]["type"] in THINKING
