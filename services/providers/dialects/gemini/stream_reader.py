"""A streamed answer of streamGenerateContent, with `alt=sse`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.answer import text
from services.providers.dialects.failures import FailureClass, unwrap
from services.providers.dialects.gemini.answer_format import (
    broken_finish,
    call_id,
    candidates_of,
    citations_of,
    finish_of,
    index_of,
    is_blocked,
    logprobs_of,
    parts_of,
    read_call,
    reason_of,
)
from services.providers.dialects.gemini.failures import read_in_band
from services.providers.dialects.gemini.signatures import ORIGIN
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.event_reader import JsonEventReader
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Finished,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.usage import merge_report, read_gemini_usage

if TYPE_CHECKING:
    from services.providers.dialects.neutral.events import Event

__all__ = ["GeminiStreamReader"]

_NO_CALL: Final = "The provider's answer holds a tool call that is none."

Json = dict[str, Any]


@dataclass(slots=True)
class _Candidate:
    """What is known of one of the answers."""

    reason: str = ""
    calls: int = 0
    cited: set[str] = field(default_factory=set)


class GeminiStreamReader(JsonEventReader):
    """
    Reads a stream; see `StreamReader`.

    It ends with the bytes: no event says that it is the last one, and some models name a reason for stopping
    in every one of them. So the reason is given on when nothing more can follow.
    """

    _report: Json | None = None
    _response_id = ""
    _blocked = False
    _started = False

    def __init__(self, max_event_bytes: int) -> None:
        super().__init__(max_event_bytes)
        self._candidates: dict[int, _Candidate] = {}

    @property
    def whole(self) -> bool:
        """True when every candidate has said why it stopped, or the prompt was refused."""
        if not self._candidates:
            return self._blocked
        return all(candidate.reason for candidate in self._candidates.values())

    def _read(self, name: str, document: Json, out: list[Event]) -> None:  # noqa: ARG002 - events have no name
        if "error" in document:
            self._break(out, *read_in_band(unwrap(document)))
            return
        self._blocked = self._blocked or is_blocked(document)
        self._start(document, out)
        for candidate in candidates_of(document):
            broken = broken_finish(candidate)
            if broken is not None:
                self._usage(document, out)
                self._break(out, *broken)
                return
            if not self._candidate(candidate, out):
                self._break(out, FailureClass.MALFORMED, _NO_CALL)
                return
        self._usage(document, out)

    def _start(self, document: Json, out: list[Event]) -> None:
        if not self._started:
            self._started = True
            self._response_id = text(document.get("responseId"))
            out.append(Started(id=self._response_id, model=text(document.get("modelVersion"))))

    def _candidate(self, candidate: Json, out: list[Event]) -> bool:
        """Read more of a candidate. False: it is not the provider's protocol."""
        index = index_of(candidate)
        known = self._candidates.get(index)
        if known is None:
            known = self._candidates[index] = _Candidate()
        known.reason = reason_of(candidate) or known.reason
        logprobs = logprobs_of(candidate)
        for part in parts_of(candidate):
            call = part.get("functionCall")
            if isinstance(call, dict):
                if not self._call(part, call, index, out):
                    return False
            else:
                logprobs = _plain(part, index, logprobs, out)
        for citation in citations_of(candidate):
            url = citation["url_citation"]["url"]
            if url not in known.cited:
                known.cited.add(url)
                out.append(CitationAdded(citation, index))
        return True

    def _call(self, part: Json, call: Json, index: int, out: list[Event]) -> bool:
        found = read_call(call)
        if found is None:
            return False
        name, arguments = found
        known = self._candidates[index]
        number = known.calls
        known.calls += 1
        made_id = call_id(call, self._response_id, index, number)
        signature = text(part.get("thoughtSignature"))
        out += (
            ToolCallStarted(number, made_id, name, signature, choice=index),
            ToolCallDelta(number, arguments, index),
            ToolCallClosed(number, index),
        )
        return True

    def _usage(self, document: Json, out: list[Event]) -> None:
        usage = document.get("usageMetadata")
        if isinstance(usage, dict):
            # Each report counts from the beginning, so that the last one counts; one that leaves a number out
            # does not take it back.
            report = merge_report(self._report or {}, usage)
            if report != self._report:
                self._report = report
                out.append(UsageReport(read_gemini_usage(report)))

    def _closing(self, out: list[Event]) -> None:
        if not self._candidates:
            out.append(Finished(Finish.CONTENT_FILTER))
        for index, known in sorted(self._candidates.items()):
            out.append(Finished(finish_of(known.reason, [], calls=known.calls > 0), choice=index))


def _plain(part: Json, index: int, logprobs: list[Json] | None, out: list[Event]) -> list[Json] | None:
    """Read a part that calls no tool, and return the probabilities that no text has taken yet."""
    words, media = text(part.get("text")), part.get("inlineData")
    if part.get("thought") is True:
        if words:
            out.append(ReasoningDelta(words, index))
    elif words:
        out.append(TextDelta(words, index, logprobs))
        logprobs = None
    elif isinstance(media, dict) and text(media.get("data")):
        out.append(MediaDelta(text(media.get("mimeType")) or "image/png", media["data"], index))
    signature = text(part.get("thoughtSignature"))
    if signature:
        out.append(ReasoningClosed(signature=signature, origin=ORIGIN, choice=index))
    return logprobs
