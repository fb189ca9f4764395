"""
Decides, on text alone, how a fallback's words go on from those that the client has.

Both kinds hold what the fallback says until it is decided, and then give what is new of it.
"""

from __future__ import annotations

from typing import Final, Protocol

__all__ = ["SHORTEST_REPETITION", "ContinueMatch", "Match", "SpliceMatch"]

# Fewer characters than these say nothing: an answer may well go on with words that it had before.
SHORTEST_REPETITION: Final = 24


class Match(Protocol):
    """
    Where a fallback's text meets what was sent.

    Attributes:
        mismatched: It does not.
    """

    mismatched: bool

    def take(self, text: str) -> str | None:
        """Take more of the fallback's text; return what of all that was taken is new. None: not decided."""
        ...

    def end(self) -> str | None:
        """Decide with what is there, since no more text comes. None: there is a mismatch."""
        ...


class SpliceMatch:
    """
    The fallback answers the original request: its text has to begin with what was sent.

    Args:
        sent: Text that the client has.
    """

    __slots__ = ("_at", "_sent", "mismatched")

    def __init__(self, sent: str) -> None:
        self._sent = sent
        self._at = 0
        self.mismatched = False

    def take(self, text: str) -> str | None:
        """Take more of the fallback's text; decided as soon as all that was sent is covered."""
        same = text[: len(self._sent) - self._at]
        if not self._sent.startswith(same, self._at):
            self.mismatched = True
            return None
        self._at += len(same)
        return text[len(same) :] if self._at == len(self._sent) else None

    def end(self) -> str | None:
        """Decide with what is there: the text is shorter than what was sent, if it comes to that."""
        self.mismatched = self._at < len(self._sent)
        return None if self.mismatched else ""


class ContinueMatch:
    """
    The fallback was asked to go on from what was sent, without the whitespace at its end.

    1. As far as the fallback begins with the whitespace that was sent already, it is left out.
    2. A fallback that repeats the end of what was sent, or all of it, has that left out, where it is at least
       `SHORTEST_REPETITION` characters, was sent only once and does not repeat itself: text that does may
       simply go on so, and nothing of it may be lost.
    3. A fallback that begins as the answer began, for as many characters, but then differs, has started over:
       a mismatch.
    4. Anything else is what comes next, to the character.

    Args:
        sent: Text that the client has.
    """

    __slots__ = ("_found", "_sent", "_space", "mismatched")

    def __init__(self, sent: str) -> None:
        self._sent = sent
        self._space = sent[len(sent.rstrip()) :]
        self._found = ""
        self.mismatched = False

    def take(self, text: str) -> str | None:
        """Take more of the fallback's text; decided as soon as it is no repetition."""
        self._found += text
        if self._space.startswith(self._found):
            return None
        new = self._after_space()
        last = len(self._sent) - SHORTEST_REPETITION
        # As long as these words stand somewhere before the end, they may turn out to repeat it.
        if not new or 0 <= self._sent.find(new) <= last:
            return None
        return self._decide(new)

    def end(self) -> str | None:
        """Decide with what is there."""
        return self._decide(self._after_space())

    def _after_space(self) -> str:
        at = 0
        for here, there in zip(self._space, self._found, strict=False):
            if here != there:
                break
            at += 1
        return self._found[at:]

    def _decide(self, new: str) -> str | None:
        repeated = self._repeated(new)
        if not repeated and new[:SHORTEST_REPETITION] == self._sent[:SHORTEST_REPETITION]:
            self.mismatched = len(new) >= SHORTEST_REPETITION and not self._goes_on_so(new)
        return None if self.mismatched else new[repeated:]

    def _repeated(self, new: str) -> int:
        """Count the characters that are the end of what was sent, once more."""
        sent, head = self._sent, new[:SHORTEST_REPETITION]
        if len(head) < SHORTEST_REPETITION:
            return 0
        start = sent.find(head)
        while start >= 0:
            tail = sent[start:]
            if new.startswith(tail):
                return 0 if sent.find(tail) < start or _periodic(tail) else len(tail)
            start = sent.find(head, start + 1)
        return 0

    def _goes_on_so(self, new: str) -> bool:
        """Tell whether what was sent repeats its own beginning, so that it may well do so again."""
        head = new[:SHORTEST_REPETITION]
        return _periodic(head) or self._sent.find(head, 1) > 0


def _periodic(text: str) -> bool:
    """Tell whether a text is a shorter one over and over: at least twice, but for a last piece of it."""
    half = text[: (len(text) + 1) // 2]
    at = text.find(half, 1)
    while 0 < at <= len(text) // 2:
        if text.startswith(text[at:]):
            return True
        at = text.find(half, at + 1)
    return False
