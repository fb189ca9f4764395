"""
No target loses what it can say: any conversation of words, calls and results, written for every target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.targets import TARGETS
from services.providers.adapters.translated import CLIENTS
from services.providers.call import ClientDialect
from services.providers.dialects.neutral.conversation import (
    Conversation,
    FunctionTool,
    Message,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Targets whose dialect clients speak too, so that what was written can be read again.
READABLE = {
    "chat": ClientDialect.OPENAI_CHAT,
    "responses": ClientDialect.OPENAI_RESPONSES,
    "messages": ClientDialect.ANTHROPIC_MESSAGES,
    "gemini": ClientDialect.GEMINI,
}
TOOLS = ("look_up", "add")
Streamed = bool  # the kind of answer asked for, a parameter of tests

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)


class _Words:
    """Makes texts of which none is part of another, in the order in which they are asked for."""

    def __init__(self, draw: Callable[[st.SearchStrategy[str]], str], kind: str) -> None:
        self._draw = draw
        self._kind = kind
        self.made: list[str] = []

    def next(self) -> str:
        """Return the next one: whatever hypothesis likes, between two words that are found again."""
        self.made.append(f"<{self._kind}{len(self.made)}>")
        return f"{self.made[-1]}{self._draw(texts)}."


@st.composite
def conversations(draw: Callable[..., Any]) -> tuple[Conversation, list[str], list[str]]:
    """Make a conversation, the words of its system messages, and those of all others in their order."""
    system, others = _Words(draw, "system"), _Words(draw, "other")
    messages = [
        Message(role=draw(st.sampled_from(["system", "developer"])), parts=[TextPart(text=system.next())])
        for _ in range(draw(st.integers(0, 2)))
    ]
    calls = 0
    for _ in range(draw(st.integers(1, 4))):
        messages.append(
            Message(role="user", parts=[TextPart(text=others.next()) for _ in range(draw(st.integers(1, 2)))])
        )
        made = [
            ToolCallPart(
                id=f"call{calls + index:05d}",
                name=draw(st.sampled_from(TOOLS)),
                arguments=orjson.dumps({"q": others.next()}).decode(),
            )
            for index in range(draw(st.integers(0, 3)))
        ]
        calls += len(made)
        if made:
            messages.append(Message(role="assistant", parts=list(made)))
            messages += [
                Message(
                    role="tool",
                    parts=[
                        ToolResultPart(
                            call_id=call.id, name=call.name, content=[TextPart(text=others.next())]
                        )
                    ],
                )
                for call in made
            ]
        messages.append(Message(role="assistant", parts=[TextPart(text=others.next())]))
    messages.append(Message(role="user", parts=[TextPart(text=others.next())]))
    tools = [FunctionTool(name=name, parameters={"type": "object", "properties": {}}) for name in TOOLS]
    return Conversation(messages=messages, tools=[*tools]), system.made, others.made


@pytest.mark.parametrize("name", sorted(TARGETS))
@pytest.mark.parametrize("stream", [False, True])
@given(made=conversations())
def test_every_word_arrives_once_and_in_order(
    name: str, stream: Streamed, made: tuple[Conversation, list[str], list[str]]
) -> None:
    """Texts, arguments and results are all there, none twice, in their order, and nothing is reported."""
    conversation, system, others = made
    target, notes = TARGETS[name], Notes()

    sent = orjson.loads(target.side.write_request(conversation, target.model, stream, notes).body)

    found = " ".join(_strings(sent))
    for words in (system, others):
        assert [1] * len(words) == [found.count(word) for word in words]
        assert words == sorted(words, key=found.index)
    assert () == notes.taken()


@pytest.mark.parametrize("name", sorted(READABLE))
@given(made=conversations())
def test_what_was_written_is_read_again(name: str, made: tuple[Conversation, list[str], list[str]]) -> None:
    """Calls with their arguments, and results with the calls that they answer, come back as they were."""
    conversation = made[0]
    target, client, stream = TARGETS[name], CLIENTS[READABLE[name]], False
    # Read before: writing may fit the conversation to the target.
    expected = _rounds(conversation)

    body = target.side.write_request(conversation, target.model, stream, Notes()).body
    again = client.read_request(body, Notes())

    assert expected == _rounds(again)


def _rounds(conversation: Conversation) -> list[tuple[str, Any, str]]:
    """Return name, arguments and result of every call, in their order."""
    parts = [part for message in conversation.messages for part in message.parts]
    results = {part.call_id: part for part in parts if isinstance(part, ToolResultPart)}
    return [
        (part.name, orjson.loads(part.arguments), _text(results[part.id]))
        for part in parts
        if isinstance(part, ToolCallPart)
    ]


def _text(result: ToolResultPart) -> str:
    return "".join(part.text for part in result.content if isinstance(part, TextPart))


def _strings(value: Any) -> Iterator[str]:
    """Give every string in a document, in its order; those that hold JSON, taken apart."""
    if isinstance(value, str):
        if value.startswith("{"):
            yield from _strings(orjson.loads(value))
        else:
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
