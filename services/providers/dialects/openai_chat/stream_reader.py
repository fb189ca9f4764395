"""
Reads streamed answers of chat completions.

Why a choice stopped is told at the end of the stream: hosts send the reason twice, or content after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kit.sse import MAX_EVENT_BYTES
from services.providers.dialects.answer import text
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.event_reader import JsonEventReader
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Event,
    Finished,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    UsageReport,
)
from services.providers.dialects.openai_chat.answer_words import (
    BROKEN,
    FINISHES,
    broken,
    read_annotations,
    read_image,
    read_logprobs,
    read_sources,
    read_usage,
)
from services.providers.dialects.openai_chat.call_reader import CallReader
from services.providers.dialects.openai_chat.same import in_band_failure
from services.providers.dialects.openai_chat.thought_reader import read_content_parts, read_thoughts

__all__ = ["ChatStreamReader"]

Json = dict[str, Any]
# Sound comes in pieces of raw samples, whatever format a whole answer would have had.
_SOUND = "audio/pcm"


@dataclass(slots=True)
class _Choice:
    """
    What is known of a choice that has begun.

    Attributes:
        word: Why it stopped, as the host says; empty: it goes on.
        thinking: Thoughts are open.
        cited: It named its sources itself.
    """

    index: int
    calls: CallReader
    word: str = ""
    stop_sequence: str = ""
    thinking: bool = False
    cited: bool = False


class ChatStreamReader(JsonEventReader):
    """
    Reads the chunks of one answer; see `StreamReader`.

    Args:
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes)
        self._id = ""
        self._started = False
        self._choices: dict[int, _Choice] = {}
        self._sources: list[Json] = []

    @property
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""
        return bool(self._choices) and all(choice.word for choice in self._choices.values())

    def _done(self, out: list[Event]) -> None:
        """Take the dialect's own mark of a clean end, which stands for a reason that was not given."""
        if self._choices:
            self._end(out)
        else:
            super()._done(out)

    def _read(self, name: str, document: Json, out: list[Event]) -> None:
        if name == "error" and "error" not in document:
            document = {"error": document}
        failure = in_band_failure(document, b"", started=self._started)
        if failure is not None:
            self._break(out, failure.failure_class, failure.message, failure.status)
            return
        self._id = self._id or text(document.get("id"))
        listed = document.get("choices")
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict):
                self._start(document, out)
                self._choice(entry, out)
                if self._over:
                    return
        usage = read_usage(document)
        if usage is not None:
            out.append(UsageReport(usage))
        self._sources = read_sources(document) or self._sources
        groq = document.get("x_groq")
        if isinstance(groq, dict) and text(groq.get("error")):
            self._break(out, FailureClass.SERVER, text(groq.get("error"))[:4000])

    def _start(self, document: Json, out: list[Event]) -> None:
        if not self._started:
            self._started = True
            tier = text(document.get("service_tier"))
            out.append(Started(self._id, text(document.get("model")), tier))

    def _choice(self, entry: Json, out: list[Event]) -> None:
        given = entry.get("index")
        index = given if isinstance(given, int) and not isinstance(given, bool) else 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index, CallReader(index))
        delta = entry.get("delta")
        if not isinstance(delta, dict):
            # Some hosts put a whole message into a stream of one event.
            message = entry.get("message")
            delta = message if delta is None and isinstance(message, dict) else {}
        logprobs = read_logprobs(entry.get("logprobs"))
        # Nearly every delta is a piece of text alone.
        said = delta.get("content") if len(delta) == 1 else None
        if isinstance(said, str) and said:
            self._spoken(choice, out)
            out.append(TextDelta(said, choice.index, logprobs))
        else:
            self._thoughts(choice, delta, out)
            self._content(choice, delta, logprobs, out)
            self._media(choice, delta, out)
            self._calls(choice, delta, out)
        self._stopped(choice, entry, out)

    def _stopped(self, choice: _Choice, entry: Json, out: list[Event]) -> None:
        word = text(entry.get("finish_reason"))
        if word.lower() in BROKEN:
            error = entry.get("error")
            told = text(error.get("message")) if isinstance(error, dict) else ""
            self._break(out, BROKEN[word.lower()], told[:4000] or broken(word))
        elif word and not choice.word:
            choice.word = word
            choice.stop_sequence = text(entry.get("stop_reason"))

    def _thoughts(self, choice: _Choice, delta: Json, out: list[Event]) -> None:
        for thought in read_thoughts(delta):
            if thought.text and not (thought.repeats and choice.thinking):
                choice.thinking = True
                out.append(ReasoningDelta(thought.text, choice.index))
            if thought.closes:
                choice.thinking = False
                out.append(
                    ReasoningClosed(
                        thought.signature, thought.sealed, thought.origin, thought.item_id, choice.index
                    )
                )

    def _content(self, choice: _Choice, delta: Json, logprobs: list[Json] | None, out: list[Event]) -> None:
        for piece, is_thought in read_content_parts(delta.get("content")):
            if is_thought:
                choice.thinking = True
                out.append(ReasoningDelta(piece, choice.index))
                continue
            self._spoken(choice, out)
            out.append(TextDelta(piece, choice.index, logprobs))
            logprobs = None
        if logprobs:
            out.append(TextDelta("", choice.index, logprobs))
        if refusal := text(delta.get("refusal")):
            self._spoken(choice, out)
            out.append(RefusalDelta(refusal, choice.index))
        for citation in read_annotations(delta.get("annotations")):
            choice.cited = True
            out.append(CitationAdded(citation, choice.index))

    def _media(self, choice: _Choice, delta: Json, out: list[Event]) -> None:
        images = delta.get("images")
        for entry in images if isinstance(images, list) else []:
            image = read_image(entry)
            if image is not None and image.data:
                self._spoken(choice, out)
                out.append(MediaDelta(image.media_type or "image/png", image.data, choice.index))
        audio = delta.get("audio")
        if isinstance(audio, dict):
            if data := text(audio.get("data")):
                out.append(MediaDelta(_SOUND, data, choice.index))
            if transcript := text(audio.get("transcript")):
                self._spoken(choice, out)
                out.append(TextDelta(transcript, choice.index))

    def _calls(self, choice: _Choice, delta: Json, out: list[Event]) -> None:
        listed = delta.get("tool_calls")
        entries = listed if isinstance(listed, list) else []
        if not entries and isinstance(delta.get("function_call"), dict):
            entries = [{"index": 0, "function": delta["function_call"]}]
        if entries:
            self._spoken(choice, out)
        for entry in entries:
            choice.calls.read(entry, self._id, out)

    def _spoken(self, choice: _Choice, out: list[Event]) -> None:
        """Note that what follows is no thought."""
        if choice.thinking:
            choice.thinking = False
            out.append(ReasoningClosed(choice=choice.index))

    def _closing(self, out: list[Event]) -> None:
        """Say why each choice stopped."""
        for choice in self._choices.values():
            self._spoken(choice, out)
            if choice.index == 0 and not choice.cited:
                out.extend(CitationAdded(source) for source in self._sources)
            finish = FINISHES.get(choice.word.lower(), Finish.STOP)
            if finish is Finish.STOP and choice.calls.count:
                finish = Finish.TOOL_CALLS
            sequence = choice.stop_sequence if finish is Finish.STOP else ""
            out.append(Finished(finish, sequence, choice.index))
