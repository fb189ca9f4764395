"""Anthropic's streamed answers as OpenAI's chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kit.errors import GatewayError
from kit.sse import MAX_EVENT_BYTES, SseSplitter, parse_events
from services.providers.dialects.answer import text
from services.providers.dialects.anthropic_blocks import OpenBlock
from services.providers.dialects.anthropic_to_openai_chat import (
    finish_reason,
    openai_failure,
    openai_usage,
    thinking_block,
)
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.openai_error import CLASS_STATUSES, openai_error, openai_error_event
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import UsageCounts, estimate, merge_report, read_anthropic_usage

if TYPE_CHECKING:
    from services.providers.dialects.openai_chat_to_anthropic import ResponseContext

_DONE = b"data: [DONE]\n\n"


class AnthropicToOpenAIStream:
    """
    Translates a stream; see `AnswerStream` for what callers may rely on.

    Args:
        context: What the request side left for the response side.
        request_bytes: Length of the request body, for an estimate when the stream is cut.
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(
        self,
        context: ResponseContext,
        *,
        request_bytes: int = 0,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._context = context
        self._request_bytes = request_bytes
        self._splitter = SseSplitter(max_event_bytes)
        self._head = b""  # how each chunk begins; empty until the first one
        self._tail = b',"logprobs":null,"finish_reason":null}]%s}\n\n' % (
            b',"usage":null' if context.include_usage else b""
        )
        self._blocks: dict[int, OpenBlock] = {}
        self._calls = 0
        self._held_text: list[str] = []
        self._answered = False  # the tool that gives the answer was called
        self._report: dict[str, Any] = {}
        self._content_events = 0
        self._closed = False
        self._ended = False
        self.usage: UsageCounts | None = None
        self.finish_reason = ""
        self.served_model = ""
        self.failure: StreamFailure | None = None
        self.warnings: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """True when nothing that is still to come can matter."""
        return self._ended or self.failure is not None

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider and return the chunks for the client."""
        if self._closed:
            return b""
        try:
            block = self._splitter.feed(data)
        except GatewayError as error:
            return self._break(FailureClass.MALFORMED, error.message)
        return self._translate(block) if block else b""

    def finish(self) -> bytes:
        """Say that the provider has closed the stream, and return the bytes to append."""
        if self._closed:
            return b""
        rest = self._splitter.finish()
        # The last event may lack its blank line; a piece of one is as good as nothing.
        out = self._translate(rest, lenient=True) if rest else b""
        if self._closed:
            return out
        if self.finish_reason:
            return out + self._end()
        return out + self._break(FailureClass.CUT, "The provider's answer stopped before its end.")

    def fail(self, failure_class: FailureClass, message: str) -> bytes:
        """Say that the stream broke, and return the bytes to append."""
        if self._closed or self.finish_reason:
            return self.finish()
        return self._break(failure_class, message)

    def _translate(self, block: bytes, *, lenient: bool = False) -> bytes:
        out: list[bytes] = []
        for name, data in parse_events(block):
            try:
                event = orjson.loads(data)
            except orjson.JSONDecodeError:
                event = None
            if isinstance(event, dict):
                self._event(event, name, out)
            elif not lenient and data != b"[DONE]":
                out.append(
                    self._break(FailureClass.MALFORMED, "The provider sent an event that is not JSON.")
                )
            if self._closed:
                break
        return b"".join(out)

    def _event(self, event: dict[str, Any], name: str, out: list[bytes]) -> None:
        kind = event.get("type") or name
        if kind == "content_block_delta":
            self._delta(event, out)
        elif kind == "content_block_start":
            self._block_start(event, out)
        elif kind == "content_block_stop":
            block = self._blocks.pop(_index(event), None)
            if block is not None:
                self._close_block(block, out)
        elif kind == "message_start":
            self._message_start(event, out)
        elif kind == "message_delta":
            self._message_delta(event, out)
        elif kind == "message_stop":
            out.append(self._end())
        elif kind == "error":
            self.failure = openai_failure(event, started=bool(self._head))
            out.append(openai_error_event(self.failure.body))
            self._close()
        # Anything else (`ping`, and what later versions add) has no counterpart.

    def _message_start(self, event: dict[str, Any], out: list[bytes]) -> None:
        message = event.get("message")
        if self._head or not isinstance(message, dict):
            return
        self._take_usage(message.get("usage"))
        self.served_model = text(message.get("model"))
        self._open(out, text(message.get("id")))

    def _open(self, out: list[bytes], answer_id: str = "") -> None:
        """Write the first chunk, which alone has the role, and fix how all others begin."""
        start = {
            "id": answer_id or self._context.answer_id,
            "object": "chat.completion.chunk",
            "created": self._context.created_s,
            "model": self.served_model or self._context.model,
            "system_fingerprint": None,
        }
        self._head = b"data: " + orjson.dumps(start)[:-1] + b',"choices":[{"index":0,"delta":'
        out.append(self._chunk(b'{"role":"assistant","content":""}'))

    def _chunk(self, delta: bytes) -> bytes:
        return self._head + delta + self._tail

    def _emit(self, out: list[bytes], delta: dict[str, Any]) -> None:
        if not self._head:
            self._open(out)
        out.append(self._head + orjson.dumps(delta) + self._tail)

    def _delta(self, event: dict[str, Any], out: list[bytes]) -> None:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return
        self._content_events += 1
        kind = delta.get("type")
        if kind == "text_delta":
            self._text(text(delta.get("text")), out)
            return
        block = self._blocks.get(_index(event))
        if kind == "thinking_delta":
            thinking = text(delta.get("thinking"))
            if block is not None:
                block.thinking.append(thinking)
            if thinking:
                self._emit(out, {"reasoning_content": thinking})
        elif kind == "signature_delta" and block is not None:
            block.signature += text(delta.get("signature"))
        elif kind == "input_json_delta" and block is not None:
            self._arguments(block, text(delta.get("partial_json")), out)

    def _text(self, value: str, out: list[bytes]) -> None:
        if not value:
            return
        if self._context.json_tool:
            # Only the end tells whether this is the answer, or talk beside the tool that gives it.
            self._held_text.append(value)
        elif self._head:
            out.append(self._head + b'{"content":' + orjson.dumps(value) + b"}" + self._tail)
        else:
            self._emit(out, {"content": value})

    def _block_start(self, event: dict[str, Any], out: list[bytes]) -> None:
        content = event.get("content_block")
        if not isinstance(content, dict):
            return
        block = OpenBlock(kind=text(content.get("type")))
        self._blocks[_index(event)] = block
        if block.kind == "text":
            self._text(text(content.get("text")), out)
        elif block.kind == "thinking":
            block.signature = text(content.get("signature"))
            thinking = text(content.get("thinking"))
            if thinking:
                block.thinking.append(thinking)
                self._emit(out, {"reasoning_content": thinking})
        elif block.kind == "redacted_thinking":
            data = {"type": "redacted_thinking", "data": text(content.get("data"))}
            self._emit(out, {"thinking_blocks": [data]})
        elif block.kind == "tool_use":
            self._tool_start(block, content, out)

    def _tool_start(self, block: OpenBlock, content: dict[str, Any], out: list[bytes]) -> None:
        name = text(content.get("name"))
        if self._context.json_tool and name == self._context.json_tool:
            block.kind = "answer"
            self._answered = True
        else:
            block.call_index = self._calls
            self._calls += 1
            function = {"name": self._context.tool_names.get(name, name), "arguments": ""}
            call = {"index": block.call_index, "id": text(content.get("id")), "type": "function"}
            self._emit(out, {"tool_calls": [{**call, "function": function}]})
        given = content.get("input")
        if isinstance(given, dict) and given:
            # Some hosts send the whole input with the start, and then no deltas.
            self._arguments(block, orjson.dumps(given).decode(), out)
            block.whole = True

    def _arguments(self, block: OpenBlock, piece: str, out: list[bytes]) -> None:
        if not piece or block.whole:
            return
        if block.kind == "answer":
            self._emit(out, {"content": piece})
        elif block.kind == "tool_use":
            call = {"index": block.call_index, "function": {"arguments": piece}}
            self._emit(out, {"tool_calls": [call]})
        block.has_arguments = True

    def _close_block(self, block: OpenBlock, out: list[bytes]) -> None:
        if block.kind in {"tool_use", "answer"} and not block.has_arguments:
            self._arguments(block, "{}", out)
        elif block.kind == "thinking" and block.signature:
            entry = thinking_block("".join(block.thinking), block.signature)
            self._emit(out, {"thinking_blocks": [entry]})

    def _message_delta(self, event: dict[str, Any], out: list[bytes]) -> None:
        self._take_usage(event.get("usage"))
        delta = event.get("delta")
        reason = text(delta.get("stop_reason")) if isinstance(delta, dict) else ""
        if not reason or self.finish_reason:
            return
        for block in self._blocks.values():
            self._close_block(block, out)
        self._blocks.clear()
        if self._held_text and not self._answered:
            self._emit(out, {"content": "".join(self._held_text)})
        if not self._head:
            self._open(out)
        self.finish_reason, self.warnings = finish_reason(reason, called=self._calls > 0)
        finish = b',"finish_reason":"%s"' % self.finish_reason.encode()
        out.append(self._chunk(b"{}").replace(b',"finish_reason":null', finish, 1))

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._report = merge_report(self._report, usage)
            self.usage = read_anthropic_usage(self._report)

    def _end(self) -> bytes:
        """Write what stands after the finish: usage where it was asked for, and the mark of a clean end."""
        if not self.finish_reason:
            return self._break(FailureClass.CUT, "The provider's answer ended without a reason.")
        self._ended = True
        self._closed = True
        if not self._context.include_usage:
            return _DONE
        head = self._head[: self._head.rindex(b',"choices":')]
        usage = orjson.dumps(openai_usage(self.usage))
        return b"".join((head, b',"choices":[],"usage":', usage, b"}\n\n", _DONE))

    def _break(self, failure_class: FailureClass, message: str) -> bytes:
        status = CLASS_STATUSES[failure_class]
        body = openai_error(status, failure_class, message)
        self.failure = StreamFailure(
            failure_class=failure_class,
            message=message,
            reported=True,
            started=bool(self._head),
            status=status,
            body=body,
        )
        self._close()
        return openai_error_event(body)

    def _close(self) -> None:
        """Take nothing more; what was used before the failure is estimated where it was not reported."""
        self._closed = True
        self._splitter.finish()
        if self._head:
            self.usage = estimate(
                self.usage, request_bytes=self._request_bytes, content_events=self._content_events
            )


def _index(event: dict[str, Any]) -> int:
    """Read which block an event is about; a host that does not say has one."""
    index = event.get("index")
    return index if isinstance(index, int) else 0
