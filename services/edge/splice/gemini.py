"""
Streams of Gemini's streamGenerateContent, as events or as one array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.edge.splice.fields import Json, array_of, object_of
from services.edge.splice.sent import Sent
from services.edge.splice.usage import count, counted
from services.edge.splice.verdict import Meaning, Mode, Spent

if TYPE_CHECKING:
    from services.edge.splice.frames import Frames

__all__ = ["GeminiSent"]

# Members that all responses of a stream have alike.
_HEAD: Final = ("responseId", "modelVersion", "createTime")
_CALLS: Final = frozenset({"functionCall", "toolCall"})


class GeminiSent(Sent):
    """An answer as responses; see `Sent`."""

    def __init__(self, frames: Frames) -> None:
        super().__init__(frames)
        self.head: Json = {}
        self._begun = False
        self._usage: Json = {}

    @property
    def started(self) -> bool:
        """Whether a response was sent."""
        self._settle()
        return self._begun

    @property
    def told(self) -> Spent:
        """What the responses told of usage, so far."""
        self._settle()
        return Spent(
            input_tokens=count(self._usage, "promptTokenCount"),
            output_tokens=count(self._usage, "candidatesTokenCount"),
        )

    def read(self, name: str, document: Json) -> Meaning:
        """Say what a response comes to."""
        return read_response(name, document)

    def writer(self, mode: Mode, before: Spent) -> GeminiWriter:
        """Make what writes a fallback's responses."""
        return GeminiWriter(self, before if mode is Mode.CONTINUE else Spent())

    def _follow(self, name: str, document: Json) -> None:  # noqa: ARG002 - responses have no name
        self._begun = True
        for key in _HEAD:
            if key in document:
                self.head.setdefault(key, document[key])
        usage = document.get("usageMetadata")
        if isinstance(usage, dict):
            self._usage |= usage
        if any(candidate.get("index", 0) != 0 for candidate in array_of(document, "candidates")):
            self._other.add("choice")


class GeminiWriter:
    """
    Writes responses; see `Writer`.

    Args:
        sent: What the client has.
        before: What is added to the usage.
    """

    def __init__(self, sent: GeminiSent, before: Spent) -> None:
        self._sent = sent
        self._before = before

    def read(self, name: str, document: Json) -> Meaning:
        """Say what a response comes to."""
        return read_response(name, document)

    def skip(self, name: str, document: Json) -> None:
        """Learn nothing: each response stands for itself."""

    def say(self, text: str) -> list[bytes]:
        """Write a response with text."""
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        return [self._sent.write("", {"candidates": [candidate], **self._sent.head})]

    def write(self, name: str, document: Json, text: str, *, muted: bool) -> list[bytes]:
        """Write a response, unless nothing is left of it."""
        sent = self._sent
        if not sent.started:
            return [sent.write(name, document)]
        made = {**document, **sent.head}
        usage = document.get("usageMetadata")
        if isinstance(usage, dict):
            made["usageMetadata"] = counted(
                usage, self._before, "promptTokenCount", "candidatesTokenCount", "totalTokenCount"
            )
        candidates = array_of(document, "candidates")[:1]
        if candidates:
            kept = _candidate(candidates[0], text, muted=muted)
            if kept is None:
                return []
            made["candidates"] = [kept]
        return [sent.write(name, made)]


def read_response(name: str, document: Json) -> Meaning:
    """Say what a response comes to."""
    found = Meaning(error=bool(document.get("error")) or name == "error")
    if object_of(document, "promptFeedback").get("blockReason"):
        found.end, found.other = True, "refusal"
    for candidate in array_of(document, "candidates"):
        if candidate.get("index", 0) != 0:
            continue
        for part in _parts(candidate):
            if part.get("thought"):
                found.reasoning = True
            elif isinstance(part.get("text"), str):
                found.text += part["text"]
            elif part.keys() - {"thoughtSignature"}:
                found.other = "tool" if part.keys() & _CALLS else "media"
        if candidate.get("groundingMetadata") or candidate.get("citationMetadata"):
            found.other = found.other or "citation"
        if candidate.get("logprobsResult"):
            found.other = found.other or "logprobs"
        if candidate.get("finishReason"):
            found.end = True
    return found


def _candidate(candidate: Json, text: str, *, muted: bool) -> Json | None:
    """Make a candidate of what the client is to have of it. None: nothing."""
    parts: list[Json] = []
    whole, placed = "".join(part["text"] for part in _parts(candidate) if _is_text(part)), False
    for part in _parts(candidate):
        if part.get("thought"):
            parts += [] if muted else [part]
        elif not _is_text(part) or text == whole:
            parts.append(part)
        elif text and not placed:
            # All that is new of the text stands where its first part stood.
            parts.append({**part, "text": text})
            placed = True
    if not candidate.get("finishReason") and not any(part.get("text") or len(part) > 1 for part in parts):
        parts = [part for part in parts if not _is_text(part)]
        if not parts and not candidate.keys() - {"content", "index"}:
            return None
    content = object_of(candidate, "content") or {"role": "model"}
    return {**candidate, "content": {**content, "parts": parts or [{"text": ""}]}}


def _is_text(part: Json) -> bool:
    return isinstance(part.get("text"), str) and not part.get("thought")


def _parts(candidate: Json) -> list[Json]:
    return array_of(object_of(candidate, "content"), "parts")
