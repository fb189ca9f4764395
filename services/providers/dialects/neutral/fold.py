"""
The events of a streamed answer put together to the whole answer that they tell, and taken apart again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.providers.dialects.neutral.completion import Choice, Completion
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Finished,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.providers.dialects.neutral.conversation import MediaKind
    from services.providers.dialects.neutral.events import Event

__all__ = ["folded", "unfolded"]

_KINDS: dict[str, MediaKind] = {"image": "image", "audio": "audio", "video": "video"}


def folded(events: Iterable[Event]) -> Completion:
    """Return the whole answer of a stream. Texts next to each other are one."""
    completion, folds = Completion(), dict[int, _Fold]()
    for event in events:
        match event:
            case Started():
                completion.id, completion.model = event.id, event.model
                completion.service_tier = event.service_tier
            case UsageReport():
                completion.usage, completion.billed = event.usage, event.billed
            case _ if (number := getattr(event, "choice", None)) is not None:
                fold = folds.setdefault(number, _Fold(number))
                fold.take(event)
            case _:
                pass
    folds = folds or {0: _Fold(0)}
    completion.choices = [folds[number].choice for number in sorted(folds)]
    return completion


def unfolded(completion: Completion) -> list[Event]:
    """Return the events that tell a whole answer, without the last, which says that it is whole."""
    events: list[Event] = [
        Started(id=completion.id, model=completion.model, service_tier=completion.service_tier)
    ]
    for choice in completion.choices:
        events += _events(choice)
    if completion.usage is not None:
        events.append(UsageReport(completion.usage, completion.billed))
    return events


def _events(choice: Choice) -> list[Event]:
    events: list[Event] = []
    number, calls, logprobs = choice.index, 0, choice.logprobs
    for part in choice.parts:
        match part:
            case TextPart():
                events.append(TextDelta(part.text, number, logprobs))
                logprobs = None
                events += [CitationAdded(citation, number) for citation in part.citations]
            case ReasoningPart():
                if part.text:
                    events.append(ReasoningDelta(part.text, number))
                events.append(ReasoningClosed(part.signature, part.sealed, part.origin, part.item_id, number))
            case RefusalPart():
                events.append(RefusalDelta(part.text, number))
            case ToolCallPart():
                events += [
                    ToolCallStarted(calls, part.id, part.name, part.signature, part.custom, number),
                    ToolCallDelta(calls, part.arguments, number),
                    ToolCallClosed(calls, number),
                ]
                calls += 1
            case MediaPart():
                events.append(MediaDelta(part.media_type, part.data, number))
    events.append(Finished(choice.finish, choice.stop_sequence, number))
    return events


class _Fold:
    """One choice on its way."""

    def __init__(self, number: int) -> None:
        self.choice = Choice(index=number)
        self._thought: ReasoningPart | None = None
        self._calls: dict[int, ToolCallPart] = {}

    def take(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case Finished():
                self.choice.finish, self.choice.stop_sequence = event.finish, event.stop_sequence
            case ToolCallStarted():
                call = ToolCallPart(
                    id=event.id, name=event.name, signature=event.signature, custom=event.custom
                )
                self._calls[event.index] = call
                self.choice.parts.append(call)
            case ToolCallDelta():
                self._calls[event.index].arguments += event.arguments
            case MediaDelta():
                self._media(event)
            case _:
                self._words(event)

    def _words(self, event: Event) -> None:
        match event:
            case ReasoningDelta():
                self._thinking().text += event.text
            case ReasoningClosed():
                thought = self._thinking()
                thought.signature, thought.sealed = event.signature, event.sealed
                thought.origin, thought.item_id = event.origin, event.item_id
                self._thought = None
            case TextDelta():
                self._last(TextPart).text += event.text
                if event.logprobs:
                    self.choice.logprobs = [*(self.choice.logprobs or []), *event.logprobs]
            case CitationAdded():
                self._last(TextPart).citations.append(event.citation)
            case RefusalDelta():
                self._last(RefusalPart).text += event.text
            case _:
                pass

    def _last(self, kind: Any) -> Any:
        """Give the last part if it is of a kind, else a new one."""
        parts = self.choice.parts
        if not parts or not isinstance(parts[-1], kind):
            parts.append(kind(text=""))
        return parts[-1]

    def _thinking(self) -> ReasoningPart:
        if self._thought is None:
            self._thought = ReasoningPart()
            self.choice.parts.append(self._thought)
        return self._thought

    def _media(self, event: MediaDelta) -> None:
        kind = _KINDS.get(event.media_type.partition("/")[0], "document")
        self.choice.parts.append(MediaPart(kind=kind, media_type=event.media_type, data=event.data))
