"""
What the parts of a splice say to each other and to the pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Dialect", "Joined", "Meaning", "Mode", "Spent", "Verdict"]


class Dialect(Enum):
    """A client's dialect whose streams can be continued."""

    CHAT = "openai chat completions"
    RESPONSES = "openai responses"
    MESSAGES = "anthropic messages"
    GEMINI = "gemini streamGenerateContent"


class Mode(Enum):
    """What a fallback was asked for."""

    SPLICE = "the original request"
    CONTINUE = "to go on from the partial answer"


class Verdict(Enum):
    """How far a join has come."""

    UNDECIDED = "undecided"  # nothing is for the client yet; it may still turn out a mismatch
    GOING = "going"
    WHOLE = "whole"  # the client has a complete answer
    MISMATCH = "mismatch"  # the fallback says something else; nothing of it went to the client
    BROKEN = "broken"  # the fallback's stream broke; another join may go on from what was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """
    What a piece of the fallback's stream comes to.

    Attributes:
        data: For the client.
        verdict: How far the join has come, with these bytes.
    """

    data: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """
    What the attempts before this one used, as far as it is known.

    Attributes:
        input_tokens: Of the first attempt, cached ones included.
        output_tokens: Of all attempts whose text the client keeps.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None


class Meaning:
    """
    What an event of a stream comes to, in no dialect.

    Attributes:
        text: Text of the answer that it adds.
        reasoning: It belongs to thoughts.
        other: Kind of what else it adds, such as `tool`; empty for nothing.
        end: It tells that the answer is over.
        error: It tells that the answer broke off.
    """

    __slots__ = ("end", "error", "other", "reasoning", "text")

    def __init__(
        self,
        text: str = "",
        *,
        reasoning: bool = False,
        other: str = "",
        end: bool = False,
        error: bool = False,
    ) -> None:
        self.text = text
        self.reasoning = reasoning
        self.other = other
        self.end = end
        self.error = error
