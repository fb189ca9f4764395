"""
Streams in each dialect that can be continued, and what the official SDKs make of them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import httpx2
import openai
import orjson
from anthropic.lib.streaming._messages import accumulate_event
from google.genai._api_client import HttpResponse
from google.genai.types import GenerateContentResponse
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem

from services.edge.splice.dialects import observe
from services.edge.splice.verdict import Dialect
from services.providers.dialects.anthropic import client_side as messages_side
from services.providers.dialects.gemini import client_side as gemini_side
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.events import Event, Finished, Started, TextDelta, UsageReport
from services.providers.dialects.neutral.sides import AnswerContext
from services.providers.dialects.openai_chat import side as chat_side
from services.providers.dialects.openai_responses import client_side as responses_side
from services.providers.dialects.usage import UsageCounts
from tests.fakes.responses_events import checked_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.edge.splice.sent import Sent
    from services.providers.dialects.neutral.sides import ClientSide

__all__ = ["WIRES", "Read", "Wire", "message_of", "stream_of"]

Json = dict[str, Any]
STOP = Finished(Finish.STOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """
    What a client has of a stream when it is over.

    Attributes:
        calls: Names of the tools that are called.
        usage: Tokens in and out.
        finish: Why it stopped, in the dialect's words.
        whole: The SDK saw the dialect's own end.
    """

    text: str
    id: str
    model: str
    usage: tuple[int, int]
    finish: str
    thoughts: str = ""
    calls: tuple[str, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A dialect, how its streams are written, and how its SDK reads them."""

    name: str
    dialect: Dialect
    client: ClientSide
    read: Callable[[bytes], Read]
    array: bool = False
    finishes: dict[str, str] = field(default_factory=dict)

    def sent(self) -> Sent:
        """Make what follows an answer."""
        return observe(self.dialect, array=self.array)

    def events(self, *events: Event, of: str = "one") -> list[bytes]:
        """Write a whole answer; each entry is what one event comes to, and the first has what opens it."""
        writer = self.client.stream_writer(context(of))
        begun = [Started(f"id_{of}", f"model-{of}")]
        written = [writer.write([*begun, events[0]]), *(writer.write([event]) for event in events[1:])]
        pieces = [piece for block in (*written, writer.end()) for piece in self.split(block)]
        return [piece for piece in pieces if piece]

    def split(self, block: bytes) -> list[bytes]:
        """Cut events apart."""
        return self.sent().frames.split(block)


def context(of: str) -> AnswerContext:
    """Return the context of a request, which differs by who answers it."""
    return AnswerContext(
        model=f"model-{of}", created_s=len(of), answer_id=of[0] * 24, include_usage=True, echo={}
    )


def stream_of(
    wire: Wire, pieces: list[str], *, of: str = "one", used: tuple[int, int] = (10, 5)
) -> list[bytes]:
    """Write an answer of text alone."""
    usage = UsageReport(UsageCounts(input_tokens=used[0], output_tokens=used[1]))
    return wire.events(*(TextDelta(piece) for piece in pieces), STOP, usage, of=of)


class _Reply:
    """Answers every call of two SDKs with the same bytes, which may be exchanged."""

    def __init__(self) -> None:
        self.content = b""
        self.openai = openai.OpenAI(
            api_key="none",
            base_url="http://sdk.test/v1",
            http_client=httpx2.Client(transport=httpx2.MockTransport(self._openai)),
            max_retries=0,
        )
        self.anthropic = anthropic.Anthropic(
            api_key="none",
            base_url="http://sdk.test",
            http_client=_anthropic_client(self),
            max_retries=0,
        )

    def _openai(self, _request: Any) -> httpx2.Response:
        return httpx2.Response(200, content=self.content, headers={"content-type": "text/event-stream"})


def _anthropic_client(reply: _Reply) -> Any:
    base = anthropic.DefaultHttpxClient.__mro__
    module = httpx2 if any(kind.__module__.startswith("httpx2") for kind in base) else httpx
    return module.Client(
        transport=module.MockTransport(
            lambda _: module.Response(
                200, content=reply.content, headers={"content-type": "text/event-stream"}
            )
        )
    )


@functools.cache
def _reply() -> _Reply:
    return _Reply()


@functools.lru_cache(4096)
def read_chat(data: bytes) -> Read:
    """Read chunks as OpenAI's SDK does."""
    reply = _reply()
    reply.content = data
    state = ChatCompletionStreamState()
    stream = reply.openai.chat.completions.create(model="m", messages=[], stream=True)
    roles = 0
    for chunk in stream:
        roles += any(choice.delta.role is not None for choice in chunk.choices)
        state.handle_chunk(chunk)
    assert 1 == roles
    assert 1 == data.count(b"data: [DONE]\n\n")
    assert data.endswith(b"data: [DONE]\n\n")
    found = state.get_final_completion()
    choice = found.choices[0]
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    return Read(
        text=choice.message.content or "",
        id=found.id,
        model=found.model,
        usage=(found.usage.prompt_tokens, found.usage.completion_tokens),
        finish=str(choice.finish_reason),
        thoughts=str(getattr(choice.message, "reasoning_content", "")),
        calls=tuple(getattr(call, "function").name for call in choice.message.tool_calls or ()),  # noqa: B009
    )


@functools.lru_cache(4096)
def read_responses(data: bytes) -> Read:
    """Read response events as OpenAI's SDK does, and check how they nest."""
    reply = _reply()
    reply.content = data
    told = checked_events(data)
    events = list(reply.openai.responses.create(model="m", input="x", stream=True))
    assert len(told) == len(events)
    found = events[-1].response  # type: ignore[union-attr]
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == found.output_text
    assert found.usage is not None
    assert len({item.id for item in found.output}) == len(found.output)
    assert {
        (event["response"]["id"], event["response"]["model"]) for event in told if "response" in event
    } == {(found.id, found.model)}
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    return Read(
        text=found.output_text,
        id=found.id,
        model=str(found.model),
        usage=(found.usage.input_tokens, found.usage.output_tokens),
        finish=str(found.status),
        thoughts="".join(
            part.text
            for item in found.output
            if isinstance(item, ResponseReasoningItem)
            for part in item.summary
        ),
        calls=tuple(str(item.name) for item in found.output if isinstance(item, ResponseFunctionToolCall)),
    )


@functools.lru_cache(4096)
def read_messages(data: bytes) -> Read:
    """Read message events as Anthropic's SDK does, and check that blocks follow one another."""
    reply = _reply()
    reply.content = data
    snapshot: Any = None
    kinds: list[str] = []
    opened: list[int] = []
    buffers: dict[int, bytes] = {}
    stream = reply.anthropic.messages.create(model="m", max_tokens=9, messages=[], stream=True)
    for event in stream:
        kinds.append(event.type)
        if event.type == "content_block_start":
            assert not opened
            opened.append(event.index)
        elif event.type == "content_block_delta":
            assert [event.index] == opened
        elif event.type == "content_block_stop":
            assert event.index == opened.pop()
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert not opened
    assert [1, 1] == [kinds.count("message_start"), kinds.count("message_stop")]
    assert ["message_delta", "message_stop"] == kinds[-2:]
    return Read(
        text="".join(block.text for block in snapshot.content if block.type == "text"),
        id=snapshot.id,
        model=snapshot.model,
        usage=(snapshot.usage.input_tokens, snapshot.usage.output_tokens),
        finish=str(snapshot.stop_reason),
        thoughts="".join(block.thinking for block in snapshot.content if block.type == "thinking"),
        calls=tuple(block.name for block in snapshot.content if block.type == "tool_use"),
    )


def message_of(data: bytes) -> list[str]:
    """List the kinds of a message's events."""
    return [
        event[7 : event.index(b"\n")].decode() for event in data.split(b"\n\n") if event[:7] == b"event: "
    ]


@functools.lru_cache(4096)
def read_gemini(data: bytes) -> Read:
    """Read responses as Google's SDK does."""
    response = HttpResponse({}, response_stream=httpx.Response(200, content=data))
    return _read_gemini(list(response.segments()))


@functools.lru_cache(4096)
def read_array(data: bytes) -> Read:
    """Read the array of responses."""
    return _read_gemini(orjson.loads(data))


def _read_gemini(documents: list[Json]) -> Read:
    found = [GenerateContentResponse.model_validate(document) for document in documents]
    parts = [
        part
        for one in found
        for candidate in one.candidates or ()
        for part in (candidate.content.parts if candidate.content else None) or ()
    ]
    ends = [c.finish_reason for one in found for c in one.candidates or () if c.finish_reason]
    assert 1 == len(ends)
    assert 1 == len({(one.response_id, one.model_version) for one in found})
    usage = found[-1].usage_metadata
    assert usage is not None
    assert usage.total_token_count == (usage.prompt_token_count or 0) + (usage.candidates_token_count or 0)
    return Read(
        text="".join(part.text or "" for part in parts if not part.thought),
        id=str(found[0].response_id),
        model=str(found[0].model_version),
        usage=(usage.prompt_token_count or 0, usage.candidates_token_count or 0),
        finish=str(ends[0].value),
        thoughts="".join(part.text or "" for part in parts if part.thought),
        calls=tuple(str(part.function_call.name) for part in parts if part.function_call),
    )


WIRES = {
    wire.name: wire
    for wire in (
        Wire(name="chat", dialect=Dialect.CHAT, client=chat_side.CLIENT, read=read_chat),
        Wire(name="responses", dialect=Dialect.RESPONSES, client=responses_side.CLIENT, read=read_responses),
        Wire(name="messages", dialect=Dialect.MESSAGES, client=messages_side.CLIENT, read=read_messages),
        Wire(name="gemini", dialect=Dialect.GEMINI, client=gemini_side.CLIENT, read=read_gemini),
        Wire(
            name="gemini-array",
            dialect=Dialect.GEMINI,
            client=gemini_side.CLIENT_OF_ARRAYS,
            read=read_array,
            array=True,
        ),
    )
}
