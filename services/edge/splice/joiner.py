"""
Makes a fallback's stream go on where the one before it broke off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError
from services.edge.splice.match import ContinueMatch, SpliceMatch
from services.edge.splice.sent import DONE, load
from services.edge.splice.verdict import Joined, Meaning, Mode, Verdict

if TYPE_CHECKING:
    from services.edge.splice.fields import Json
    from services.edge.splice.sent import Sent
    from services.edge.splice.verdict import Spent

__all__ = ["Joiner"]

_OVER: Final = frozenset({Verdict.WHOLE, Verdict.MISMATCH, Verdict.BROKEN})


class Joiner:
    """
    Writes what a fallback says as the rest of the answer that was begun.

    The client sees one answer: the fallback's opening events are left out, its events have the ids, the model
    and the places of the answer that was begun, and the last ones tell of the whole answer. Its thoughts are
    left out as far as they come before its text, where the client has something of the answer already.

    Args:
        sent: What the client has; told of all that is written here. Has to be continuable.
        mode: What the fallback was asked for.
        before: What the attempts before used, for the usage in the last events when the fallback goes on.
            None: what their streams told.
    """

    def __init__(self, sent: Sent, mode: Mode, before: Spent | None = None) -> None:
        self._sent = sent
        self._frames = sent.frames.another()
        self._match = SpliceMatch(sent.text) if mode is Mode.SPLICE else ContinueMatch(sent.text)
        self._writer = sent.writer(mode, sent.told if before is None else before)
        self._muted = bool(sent.text or sent.other or sent.opened)
        self.verdict = Verdict.UNDECIDED if sent.text else Verdict.GOING

    def feed(self, data: bytes) -> Joined:
        """Take bytes of the fallback's stream, in the client's dialect, however they are cut."""
        if self.verdict in _OVER:
            return Joined(data=b"", verdict=self.verdict)
        try:
            block = self._frames.feed(data)
        except GatewayError:
            return self._over(Verdict.BROKEN, [])
        return self._take(block)

    def finish(self) -> Joined:
        """Say that the fallback's stream is over, and return the bytes to append."""
        if self.verdict in _OVER:
            return Joined(data=b"", verdict=self.verdict)
        rest = self._frames.rest()
        out = [self._take(rest).data] if _is_whole(self._frames.parse(rest)) else []
        if self.verdict in _OVER:
            return Joined(data=b"".join(out), verdict=self.verdict)
        if self.verdict is Verdict.UNDECIDED or not self._sent.whole:
            return self._over(Verdict.BROKEN, out)
        return self._over(Verdict.WHOLE, [*out, self._sent.end()])

    def _take(self, block: bytes) -> Joined:
        out: list[bytes] = []
        events = self._frames.parse(block)
        for name, data in events:
            self._event(name, data, out)
            if self.verdict in _OVER:
                return Joined(data=b"".join(out), verdict=self.verdict)
        if self._frames.ended:
            if self.verdict is Verdict.GOING and self._sent.whole:
                return self._over(Verdict.WHOLE, [*out, self._sent.end()])
            return self._over(Verdict.BROKEN, out)
        if block and not events and self.verdict is Verdict.GOING:
            out.append(block)  # a sign of life
        return Joined(data=b"".join(out), verdict=self.verdict)

    def _over(self, verdict: Verdict, out: list[bytes]) -> Joined:
        self.verdict = verdict
        return Joined(data=b"".join(out), verdict=verdict)

    def _event(self, name: str, data: bytes, out: list[bytes]) -> None:
        if data == DONE:
            self._take_done(out)
            return
        document = load(data)
        meaning = Meaning(error=True) if document is None else self._writer.read(name, document)
        if document is None or meaning.error:
            self.verdict = Verdict.BROKEN
            return
        if self._muted and meaning.reasoning and not (meaning.text or meaning.other or meaning.end):
            self._writer.skip(name, document)
            return
        text = meaning.text
        if self.verdict is Verdict.UNDECIDED:
            found = self._settle(meaning)
            if found is None:
                self._writer.skip(name, document)
                return
            if found and not meaning.text:
                out += self._writer.say(found)
            text = found if meaning.text else ""
        self._write(name, document, meaning, text, out)

    def _take_done(self, out: list[bytes]) -> None:
        if self.verdict is Verdict.UNDECIDED and (left := self._settle(Meaning(end=True))):
            out += self._writer.say(left)
        if self.verdict is Verdict.GOING:
            out.append(self._sent.write_done())
            self.verdict = Verdict.WHOLE

    def _settle(self, meaning: Meaning) -> str | None:
        """Decide, if this event does; return the text that the client is to have with it."""
        found = self._match.take(meaning.text) if meaning.text else None
        if found is None and not self._match.mismatched and (meaning.other or meaning.end):
            found = self._match.end()
        if self._match.mismatched:
            self.verdict = Verdict.MISMATCH
        elif found is not None:
            self.verdict = Verdict.GOING
        return found

    def _write(self, name: str, document: Json, meaning: Meaning, text: str, out: list[bytes]) -> None:
        out += self._writer.write(name, document, text, muted=self._muted)
        if meaning.text or meaning.other:
            self._muted = False
        if self._sent.done:
            self.verdict = Verdict.WHOLE


def _is_whole(events: list[tuple[str, bytes]]) -> bool:
    """Tell an event that only lacks its blank line from a piece of one."""
    return bool(events) and (events[-1][1] == DONE or load(events[-1][1]) is not None)
