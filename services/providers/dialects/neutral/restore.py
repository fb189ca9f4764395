"""
Takes back, in an answer, what the request was changed by: tool names, the tool that gives the answer, and
tools that take free text.

A target that cannot be told the shape of its answer is made to call a tool whose arguments are the answer.
The client sees plain content and never that tool. A target whose tools take nothing but JSON gives the text
for a tool in an object of one member, and the client sees that text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.conversation import TextPart, ToolCallPart
from services.providers.dialects.neutral.events import (
    Ended,
    Event,
    Finished,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
)

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import Choice, Completion

__all__ = ["Restore", "RestoredEvents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """
    What a request's writer leaves for its answer.

    Attributes:
        tool_names: As sent → as the client has them.
        answer_tool: Name, as sent, of the tool whose arguments are the answer; empty: there is none. Where it
            is called more than once, the first call is the answer.
        custom_tools: Names, as sent, of tools that take free text, and whose arguments are `{"input": text}`.
    """

    tool_names: dict[str, str] = field(default_factory=dict)
    answer_tool: str = ""
    custom_tools: frozenset[str] = frozenset()

    @property
    def needed(self) -> bool:
        """False when answers can go on as they are."""
        return bool(self.tool_names or self.answer_tool or self.custom_tools)

    def completion(self, completion: Completion) -> None:
        """Restore a whole answer, in place."""
        if self.needed:
            for choice in completion.choices:
                self._choice(choice)

    def _choice(self, choice: Choice) -> None:
        answer = ""
        answered = False
        kept = []
        for part in choice.parts:
            if isinstance(part, ToolCallPart):
                if self.answer_tool and part.name == self.answer_tool:
                    # A model that calls it again says nothing that fits: one answer is all there can be.
                    answer, answered = answer or part.arguments or "{}", True
                    continue
                if part.name in self.custom_tools:
                    part.custom, part.arguments = True, _free_text(part.arguments)
                part.name = self.tool_names.get(part.name, part.name)
            kept.append(part)
        if answered:
            # Talk beside the answer would not fit the shape that was asked for.
            kept = [part for part in kept if not isinstance(part, TextPart)]
            kept.append(TextPart(text=answer))
            if (
                not any(isinstance(part, ToolCallPart) for part in kept)
                and choice.finish is Finish.TOOL_CALLS
            ):
                choice.finish = Finish.STOP
        choice.parts = kept


@dataclass(slots=True)
class _ChoiceState:
    """What is known of a choice whose answer may come by a tool."""

    held: list[str] = field(default_factory=list)
    answer_index: int | None = None
    again: set[int] = field(default_factory=set)
    answered: bool = False
    has_arguments: bool = False
    calls: int = 0
    indices: dict[int, int] = field(default_factory=dict)


class RestoredEvents:
    """Restores a streamed answer."""

    def __init__(self, restore: Restore) -> None:
        self._names = restore.tool_names
        self._answer_tool = restore.answer_tool
        self._free = _FreeTexts(restore.custom_tools) if restore.custom_tools else None
        self._choices: dict[int, _ChoiceState] = {}

    def restore(self, events: list[Event]) -> list[Event]:
        """Return the events that the client's writer is to see in place of these."""
        if self._free is not None:
            events = self._free.restore(events)
        out: list[Event] = []
        for event in events:
            self._take(event, out)
        return out

    def _take(self, event: Event, out: list[Event]) -> None:
        if not self._answer_tool:
            if isinstance(event, ToolCallStarted):
                event.name = self._names.get(event.name, event.name)
            out.append(event)
            return
        match event:
            case TextDelta():
                # Only the end tells whether this is the answer, or talk beside the tool that gives it.
                self._state(event.choice).held.append(event.text)
            case ToolCallStarted():
                self._started(event, out)
            case ToolCallDelta():
                self._arguments(event, out)
            case ToolCallClosed():
                state = self._state(event.choice)
                if event.index != state.answer_index and event.index not in state.again:
                    event.index = state.indices.get(event.index, event.index)
                    out.append(event)
            case Finished():
                self._finished(event, out)
            case Ended():
                out.append(event)
            case _:
                out.append(event)

    def _started(self, event: ToolCallStarted, out: list[Event]) -> None:
        state = self._state(event.choice)
        if event.name == self._answer_tool:
            if not state.answered:
                state.answer_index, state.answered = event.index, True
            else:
                state.again.add(event.index)
            return
        state.indices[event.index] = state.calls
        event.index = state.calls
        state.calls += 1
        event.name = self._names.get(event.name, event.name)
        out.append(event)

    def _arguments(self, event: ToolCallDelta, out: list[Event]) -> None:
        state = self._state(event.choice)
        if event.index == state.answer_index:
            state.has_arguments = state.has_arguments or bool(event.arguments)
            out.append(TextDelta(event.arguments, event.choice))
            return
        if event.index in state.again:
            return
        event.index = state.indices.get(event.index, event.index)
        out.append(event)

    def _finished(self, event: Finished, out: list[Event]) -> None:
        state = self._state(event.choice)
        if not state.answered and state.held:
            out.append(TextDelta("".join(state.held), event.choice))
        if state.answered and not state.has_arguments:
            out.append(TextDelta("{}", event.choice))
        if state.answered and not state.calls and event.finish is Finish.TOOL_CALLS:
            event.finish = Finish.STOP
        out.append(event)

    def _state(self, choice: int) -> _ChoiceState:
        found = self._choices.get(choice)
        if found is None:
            found = self._choices[choice] = _ChoiceState()
        return found


class _FreeTexts:
    """Takes the text for tools out of their arguments. Only whole arguments can be read, so they are held."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._held: dict[tuple[int, int], list[str]] = {}

    def restore(self, events: list[Event]) -> list[Event]:
        """Return the events in which calls of those tools have free text."""
        out: list[Event] = []
        for event in events:
            match event:
                case ToolCallStarted() if event.name in self._names:
                    event.custom = True
                    self._held[event.choice, event.index] = []
                case ToolCallDelta() if (event.choice, event.index) in self._held:
                    self._held[event.choice, event.index].append(event.arguments)
                    continue
                case ToolCallClosed():
                    self._let_go(event.choice, event.index, out)
                case Finished():
                    for choice, index in list(self._held):
                        if choice == event.choice:
                            self._let_go(choice, index, out)
                case _:
                    pass
            out.append(event)
        return out

    def _let_go(self, choice: int, index: int, out: list[Event]) -> None:
        held = self._held.pop((choice, index), None)
        text = _free_text("".join(held)) if held else ""
        if text:
            out.append(ToolCallDelta(index, text, choice))


def _free_text(arguments: str) -> str:
    """Take the text for a tool out of its arguments; what is no such object is the text itself."""
    try:
        document = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    if not isinstance(document, dict):
        return document if isinstance(document, str) else arguments
    text = document.get("input", "" if not document else None)
    return text if isinstance(text, str) else arguments
