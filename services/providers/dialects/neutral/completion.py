"""
A whole answer in no dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import (
        MediaPart,
        ReasoningPart,
        RefusalPart,
        TextPart,
        ToolCallPart,
    )
    from services.providers.dialects.usage import UsageCounts

    AnswerPart = TextPart | ReasoningPart | ToolCallPart | RefusalPart | MediaPart

__all__ = ["Choice", "Completion", "Finish"]


class Finish(StrEnum):
    """Why the model stopped. The only words that a client of OpenAI's dialect ever sees."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(slots=True, kw_only=True)
class Choice:
    """
    One of the answers.

    Attributes:
        parts: In the order in which the model gave them.
        finish: Readers that do not know a provider's word say STOP and add a warning.
        stop_sequence: The one that was met; empty: none, or not known.
        logprobs: Entries of OpenAI's `logprobs.content`; None: there are none.
    """

    index: int = 0
    parts: list[AnswerPart] = field(default_factory=list)
    finish: Finish = Finish.STOP
    stop_sequence: str = ""
    logprobs: list[dict[str, Any]] | None = None


@dataclass(slots=True, kw_only=True)
class Completion:
    """
    A whole answer.

    Attributes:
        id: The provider's; empty: none.
        model: As the provider names it; empty: it did not.
        choices: At least one.
        usage: None: not known.
        billed: What is paid for, where that is not `usage`, which is what the client is told.
        service_tier: As the provider names it.
        warnings: What was odd about it, for the log.
    """

    id: str = ""
    model: str = ""
    choices: list[Choice] = field(default_factory=list)
    usage: UsageCounts | None = None
    billed: UsageCounts | None = None
    service_tier: str = ""
    warnings: tuple[str, ...] = ()
