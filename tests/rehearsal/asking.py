"""
What clients of a rehearsal ask, and what must come back.

A question names its answer: the provider's stand-in makes it, and the client knows it beforehand. Every
word holds the question's marker, so that a piece of somebody else's answer, a missing and a doubled word
all show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["INPUT_TOKENS", "IN_NANO_USD", "MODEL", "OUT_NANO_USD", "Question"]

MODEL: Final = "openai/gpt-4o"
"""Whom they ask; a model whose price is listed."""

IN_NANO_USD: Final = 2_500
"""What is listed for a token in, in billionths of a dollar."""

OUT_NANO_USD: Final = 10_000
"""What is listed for a token out."""

INPUT_TOKENS: Final = 12
"""Tokens that the stand-in says it was asked."""

_FORM: Final = re.compile(r"marker=(?P<marker>\S+) words=(?P<words>\d+) pace_ms=(?P<pace_ms>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    One question.

    Attributes:
        marker: What tells it from all others; also its `cf-aig-event-id`.
        words: How many words, each one token, the answer has.
        pace_ms: Pause after each word of a stream, in milliseconds.
    """

    marker: str
    words: int
    pace_ms: int

    @classmethod
    def parse(cls, text: str) -> Question | None:
        """Read a question; None where it is none."""
        found = _FORM.search(text)
        if found is None:
            return None
        return cls(marker=found["marker"], words=int(found["words"]), pace_ms=int(found["pace_ms"]))

    def __str__(self) -> str:
        return f"marker={self.marker} words={self.words} pace_ms={self.pace_ms}"

    def pieces(self) -> list[str]:
        """Return the answer word by word, as a stream has it."""
        return [f"{' ' if number else ''}{self.marker}.{number}" for number in range(self.words)]

    def answer(self) -> str:
        """Return the whole answer."""
        return "".join(self.pieces())

    def cost_nano_usd(self) -> int:
        """Return what the whole answer costs, in billionths of a dollar."""
        return INPUT_TOKENS * IN_NANO_USD + self.words * OUT_NANO_USD
