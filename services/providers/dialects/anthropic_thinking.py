"""How hard the model is to think: `reasoning_effort` in the terms of each family of Claude models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.providers.dialects.chat_request import Notes, get_dict, get_int, get_str, invalid, need_str

if TYPE_CHECKING:
    from services.providers.dialects.anthropic_models import ModelProfile

_MIN_BUDGET_TOKENS = 1024
# Budgets for models that have no effort levels; each level about doubles the one below.
_BUDGETS = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
_EFFORTS = ("none", *_BUDGETS)
_TYPES = frozenset({"enabled", "disabled", "adaptive", "between_tools"})
_THINKING_BLOCKS = frozenset({"thinking", "redacted_thinking"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingChoice:
    """
    What is sent about thinking.

    Attributes:
        thinking: Value of `thinking`. None: nothing is sent.
        effort: Value of `output_config.effort`. None: nothing is sent.
    """

    thinking: dict[str, Any] | None = None
    effort: str | None = None

    @property
    def on(self) -> bool:
        """Thinking was asked for."""
        return self.thinking is not None and self.thinking["type"] in {"enabled", "adaptive"}

    @property
    def manual(self) -> bool:
        """Thinking was asked for with a budget, which comes with more restrictions."""
        return self.thinking is not None and self.thinking["type"] == "enabled"


def translate_thinking(
    document: dict[str, Any],
    turns: list[dict[str, Any]],
    profile: ModelProfile,
    max_tokens: int,
    notes: Notes,
) -> ThinkingChoice:
    """
    Translate `reasoning_effort`, or `thinking` where the client knows whom it talks to.

    Args:
        document: The request.
        turns: Its messages, translated.
        profile: What the model takes.
        max_tokens: Longest answer asked for.
        notes: Where changes are recorded.
    """
    native = get_dict(document, "thinking")
    effort = get_str(document, "reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        invalid("reasoning_effort", f"must be one of {', '.join(_EFFORTS)}")
    if native is not None:
        choice = _native(native, profile, max_tokens, notes)
        param = "thinking"
    elif effort is not None:
        choice = _from_effort(effort, profile, max_tokens, notes)
        param = "reasoning_effort"
    else:
        return ThinkingChoice()
    if choice.manual and not _allows_manual(turns):
        notes.dropped(param)
        return ThinkingChoice()
    return choice


def _native(thinking: dict[str, Any], profile: ModelProfile, max_tokens: int, notes: Notes) -> ThinkingChoice:
    kind = need_str(thinking, "type", "thinking.")
    if kind not in _TYPES:
        invalid("thinking.type", "must be enabled, disabled, adaptive or between_tools")
    if kind != "enabled":
        return ThinkingChoice(thinking=thinking)
    budget = get_int(thinking, "budget_tokens", "thinking.") or 0
    if budget < _MIN_BUDGET_TOKENS:
        invalid("thinking.budget_tokens", f"must be at least {_MIN_BUDGET_TOKENS}")
    if profile.thinking == "none":
        notes.dropped("thinking")
        return ThinkingChoice()
    if profile.sampling == "none":
        # The families that take no sampling parameters take no budget either.
        notes.clamped("thinking.type", "adaptive")
        return ThinkingChoice(thinking={"type": "adaptive"})
    if max_tokens <= _MIN_BUDGET_TOKENS:
        notes.dropped("thinking")
        return ThinkingChoice()
    if budget >= max_tokens:
        budget = max_tokens - 1
        notes.clamped("thinking.budget_tokens", budget)
    return ThinkingChoice(thinking={**thinking, "budget_tokens": budget})


def _from_effort(effort: str, profile: ModelProfile, max_tokens: int, notes: Notes) -> ThinkingChoice:
    if effort == "none":
        return _off(profile, notes)
    if profile.thinking == "none":
        notes.dropped("reasoning_effort")
        return ThinkingChoice()
    if profile.thinking == "manual":
        if max_tokens <= _MIN_BUDGET_TOKENS:
            notes.dropped("reasoning_effort")
            return ThinkingChoice()
        budget = min(_BUDGETS[effort], max_tokens - 1)
        return ThinkingChoice(thinking={"type": "enabled", "budget_tokens": budget})
    return ThinkingChoice(thinking={"type": "adaptive"}, effort=_nearest(effort, profile.efforts, notes))


def _off(profile: ModelProfile, notes: Notes) -> ThinkingChoice:
    if profile.thinking == "always":
        lowest = profile.efforts[0]
        notes.clamped("reasoning_effort", lowest)
        return ThinkingChoice(effort=lowest)
    if profile.thinking_off:
        return ThinkingChoice(thinking={"type": profile.thinking_off})
    return ThinkingChoice()


def _nearest(effort: str, levels: tuple[str, ...], notes: Notes) -> str:
    """Find the level for an effort: itself, else the next one up, else the highest."""
    if effort in levels:
        return effort
    rank = _EFFORTS.index(effort)
    higher = [level for level in levels if _EFFORTS.index(level) > rank]
    found = higher[0] if higher else levels[-1]
    notes.clamped("reasoning_effort", found)
    return found


def _allows_manual(turns: list[dict[str, Any]]) -> bool:
    """
    Tell whether a conversation can go on with a thinking budget.

    It cannot end in a prefill, nor in results of calls that were made without thinking.
    """
    last = turns[-1]
    if last["role"] == "assistant":
        return False
    if all(block["type"] != "tool_result" for block in last["content"]):
        return True
    calling = turns[-2]["content"] if len(turns) > 1 else []
    return bool(calling) and calling[0]["type"] in _THINKING_BLOCKS
