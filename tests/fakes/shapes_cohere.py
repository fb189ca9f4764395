"""Bodies and stream events of the fake upstream, in Cohere's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.fakes.upstream_shapes import (
    ARGUMENTS,
    INPUT_TOKENS,
    KEEP_ALIVE,
    THOUGHT,
    Event,
    Flaws,
    Json,
    Steer,
    answer_text,
    made_calls,
    obeying,
    steered,
    text_pieces,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["error_body", "plain_body", "stream_events"]


def error_body(message: str) -> Json:
    """Return an error body."""
    return {"id": "fake", "message": message}


def plain_body(endpoint: str, request: Json, steer: Steer) -> Json | None:
    """Return the body of a plain answer; None for a path that has no shape of its own."""
    match endpoint:
        case "v2/chat":
            return _chat(request, steer)
        case "v2/embed":
            return _embed(request)
        case "v2/rerank":
            return _rerank(request)
    return None


def stream_events(request: Json, steer: Steer) -> list[Event]:
    """Return the events of a streamed answer."""
    answer = _chat(request, steer)
    message = answer["message"]
    start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}}
    before = [_sse("message-start", id="fake", delta=start)]
    content = [
        event
        for index, block in enumerate(message.get("content") or [])
        for event in _content_events(index, block)
    ]
    for index, call in enumerate(message.get("tool_calls") or []):
        content += _call_events(index, call)
    end: Json = {"finish_reason": answer["finish_reason"]}
    if "usage" in answer:
        end["usage"] = answer["usage"]
    return steered(before, content, [_sse("message-end", delta=end)], steer, _FLAWS)


def _content_events(index: int, block: Json) -> Iterator[Event]:
    kind = block["type"]
    opened = {"type": kind, kind: ""}
    yield _sse("content-start", index=index, delta={"message": {"content": opened}})
    for piece in text_pieces(block[kind]) if kind == "text" else [block[kind]]:
        yield _sse("content-delta", index=index, delta={"message": {"content": {kind: piece}}})
    yield _sse("content-end", index=index)


def _call_events(index: int, call: Json) -> Iterator[Event]:
    start = {**call, "function": {**call["function"], "arguments": ""}}
    yield _sse("tool-call-start", index=index, delta={"message": {"tool_calls": start}})
    for part in (ARGUMENTS[:8], ARGUMENTS[8:]):
        delta = {"message": {"tool_calls": {"function": {"arguments": part}}}}
        yield _sse("tool-call-delta", index=index, delta=delta)
    yield _sse("tool-call-end", index=index)


def _chat(request: Json, steer: Steer) -> Json:
    steer = obeying(steer, forced=False)
    text, calls = answer_text(request, steer), made_calls(request, steer)
    message: Json = {"role": "assistant", "content": []}
    if "think" in steer:
        message["content"].append({"type": "thinking", "thinking": THOUGHT})
    if not calls or "tools-mixed" in steer:
        message["content"].append({"type": "text", "text": text})
    if calls:
        message["tool_calls"] = calls
    count = len(text_pieces(text))
    answer: Json = {
        "id": "fake",
        "message": message,
        "finish_reason": steer.get("finish") or ("TOOL_CALL" if calls else "COMPLETE"),
    }
    if "no-usage" not in steer:
        tokens = {"input_tokens": INPUT_TOKENS, "output_tokens": count}
        answer["usage"] = {"billed_units": tokens, "tokens": tokens}
    return answer


def _embed(request: Json) -> Json:
    count = len(request.get("texts") or request.get("inputs") or [])
    return {
        "id": "fake",
        "embeddings": {"float": [[0.25, -0.5, 1.0]] * count},
        "texts": request.get("texts", []),
        "meta": {"billed_units": {"input_tokens": INPUT_TOKENS}},
    }


def _rerank(request: Json) -> Json:
    count = min(len(request["documents"]), request.get("top_n") or len(request["documents"]))
    return {
        "id": "fake",
        "results": [{"index": index, "relevance_score": 1 / (index + 1)} for index in range(count)],
        "meta": {"billed_units": {"search_units": 1}},
    }


def _sse(kind: str, **members: Any) -> Event:
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **members}) + b"\n\n"


_FLAWS: Final = Flaws(
    # Cohere tells of an error within a stream by how the message ends.
    error=lambda _: _sse("message-end", delta={"finish_reason": "ERROR", "error": "Overloaded."}),
    malformed=b'event: content-delta\ndata: {"type": "broken\n\n',
    comment=KEEP_ALIVE,
    is_delta=lambda event: event.startswith((b"event: content-delta", b"event: tool-call-delta")),
)
