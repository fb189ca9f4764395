"""
Puts the events of a streamed answer together to the whole answer that they tell, for tests of readers.
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
    Event,
    Finished,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import MediaKind

__all__ = ["folded"]


def folded(events: list[Event]) -> Completion:
    """Return the whole answer of a stream with one choice. Texts next to each other are one."""
    fold = _Fold()
    for event in events:
        fold.take(event)
    return fold.completion


class _Fold:
    def __init__(self) -> None:
        self._choice = Choice()
        self.completion = Completion(choices=[self._choice])
        self._thought: ReasoningPart | None = None
        self._calls: dict[int, ToolCallPart] = {}

    def take(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case Started():
                self.completion.id, self.completion.model = event.id, event.model
                self.completion.service_tier = event.service_tier
            case UsageReport():
                self.completion.usage = event.usage
            case Finished():
                self._choice.finish, self._choice.stop_sequence = event.finish, event.stop_sequence
            case ToolCallStarted():
                call = ToolCallPart(
                    id=event.id, name=event.name, signature=event.signature, custom=event.custom
                )
                self._calls[event.index] = call
                self._choice.parts.append(call)
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
                self._text().text += event.text
                if event.logprobs:
                    self._choice.logprobs = [*(self._choice.logprobs or []), *event.logprobs]
            case CitationAdded():
                self._text().citations.append(event.citation)
            case RefusalDelta():
                self._refusal().text += event.text
            case _:
                pass

    def _last(self) -> Any:
        return self._choice.parts[-1] if self._choice.parts else None

    def _thinking(self) -> ReasoningPart:
        if self._thought is None:
            self._thought = ReasoningPart()
            self._choice.parts.append(self._thought)
        return self._thought

    def _text(self) -> TextPart:
        if not isinstance(self._last(), TextPart):
            self._choice.parts.append(TextPart(text=""))
        text: TextPart = self._last()
        return text

    def _refusal(self) -> RefusalPart:
        if not isinstance(self._last(), RefusalPart):
            self._choice.parts.append(RefusalPart(text=""))
        refusal: RefusalPart = self._last()
        return refusal

    def _media(self, event: MediaDelta) -> None:
        kinds: dict[str, MediaKind] = {"image": "image", "audio": "audio", "video": "video"}
        kind = kinds.get(event.media_type.partition("/")[0], "document")
        self._choice.parts.append(MediaPart(kind=kind, media_type=event.media_type, data=event.data))
