"""Bodies and stream events of the fake upstream, in OpenAI's and Anthropic's words."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

Wire = Literal["openai", "anthropic"]
Event = bytes
Json = dict[str, Any]
Steer = dict[str, str]

ABORT = b"\x00abort"
STALL = b"\x00stall"
KEEP_ALIVE = b": keep-alive\n\n"

INPUT_TOKENS = 12
TEXT = "Hello from the fake upstream."
MODELS = ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small")
CLAUDE_MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5")
ARGUMENTS = '{"city":"Lisbon"}'
THOUGHT = "Let me see."
SIGNATURE = "c2lnbmF0dXJl"


def error_body(wire: Wire, kind: str, message: str) -> Json:
    """Return an error body in the provider's shape."""
    if wire == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"}
    code = kind if kind in {"context_length_exceeded", "content_policy_violation"} else None
    return {
        "error": {
            "message": message,
            "type": "invalid_request_error" if code else kind,
            "param": None,
            "code": code,
        }
    }


def plain_body(kind: str, request: Json, steer: Steer) -> Json | None:
    """Return the body of a plain answer, or None for a path that has no shape of its own."""
    shape = {
        "chat/completions": _chat,
        "completions": _completion,
        "embeddings": _embeddings,
        "messages": _message,
        "messages/count_tokens": _count,
        "models": _models,
    }.get(kind)
    return shape(request, steer) if shape is not None else None


def _count(_request: Json, _steer: Steer) -> Json:
    return {"input_tokens": INPUT_TOKENS}


def _models(_request: Json, _steer: Steer) -> Json:
    names = (*MODELS, *CLAUDE_MODELS)
    rows = [{"id": name, "object": "model", "created": 1, "owned_by": "fake"} for name in names]
    return {"object": "list", "data": rows, "has_more": False}


def stream_events(kind: str, request: Json, steer: Steer) -> list[Event]:
    """Return the events of a streamed answer, `ABORT` and `STALL` among them."""
    if kind == "messages":
        return _message_events(request, steer)
    return _chat_events(request, steer) if kind == "chat/completions" else _completion_events(request, steer)


def begun(request: Json) -> str:
    """Return the words of the assistant's that a request wants to be gone on from; empty for none."""
    messages = request.get("messages") or [{}]
    last = messages[-1] if isinstance(messages, list) else {}
    if not isinstance(last, dict) or last.get("role") != "assistant":
        return ""
    content = last.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def answer_text(request: Json, steer: Steer) -> str:
    """Return the words of the answer, or those after what the request wants to be gone on from."""
    whole = _whole_text(request, steer)
    if steer.get("prefill") != "go-on":
        return whole
    start = begun(request)
    if start and whole.startswith(start):
        return whole[len(start) :]
    return steer.get("otherwise", whole)


def _whole_text(request: Json, steer: Steer) -> str:
    if "words" in steer:
        return " ".join(f"w{index}" for index in range(int(steer["words"])))
    if "echo" in steer:
        content = [m.get("content") for m in request.get("messages", []) if m.get("role") == "user"][-1]
        return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)
    return steer.get("text", TEXT)


def obeying(steer: Steer, *, forced: bool) -> Steer:
    """Steer to JSON where that was asked for: a call of the tool that the request forces, or the text."""
    if "structured" not in steer:
        return steer
    return {**steer, "tools": "1"} if forced else {**steer, "text": ARGUMENTS}


def text_pieces(text: str) -> list[str]:
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def served_model(request: Json, steer: Steer) -> str:
    return steer.get("served") or str(request.get("model", "")).partition("+")[0]


def _openai_usage(text: str, steer: Steer) -> Json:
    count = len(text_pieces(text))
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": count,
        "total_tokens": INPUT_TOKENS + count,
        "prompt_tokens_details": {"cached_tokens": int(steer.get("cached", 0)), "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def made_calls(request: Json, steer: Steer) -> list[Json]:
    tools = request.get("tools") or [{"function": {"name": "get_weather"}}]
    name = tools[0].get("name") or tools[0]["function"]["name"]
    return [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ARGUMENTS}}
        for index in range(int(steer.get("tools") or 0))
    ]


def _chat(request: Json, steer: Steer) -> Json:
    steer = obeying(steer, forced=False)
    text, calls = answer_text(request, steer), made_calls(request, steer)
    message: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if calls:
        message |= {"content": text if "tools-mixed" in steer else None, "tool_calls": calls}
    if "think" in steer:
        message["reasoning_content"] = THOUGHT
    finish = steer.get("finish") or ("tool_calls" if calls else "stop")
    answer: Json = {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": served_model(request, steer),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    if "no-usage" not in steer:
        answer["usage"] = _openai_usage(text, steer)
    return answer


def _completion(request: Json, steer: Steer) -> Json:
    text = answer_text(request, steer)
    return {
        "id": "cmpl-fake",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": served_model(request, steer),
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
        "usage": _openai_usage(text, steer),
    }


def _embeddings(request: Json, steer: Steer) -> Json:
    inputs = request.get("input")
    count = len(inputs) if isinstance(inputs, list) and inputs and not isinstance(inputs[0], int) else 1
    vector: Any = [0.25, -0.5, 1.0]
    if request.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)],
        "model": served_model(request, steer),
        "usage": {"prompt_tokens": INPUT_TOKENS, "total_tokens": INPUT_TOKENS},
    }


def _anthropic_usage(steer: Steer, output: int) -> Json:
    cached = int(steer.get("cached", 0))
    return {
        "input_tokens": INPUT_TOKENS - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": output,
    }


def _message(request: Json, steer: Steer) -> Json:
    steer = obeying(steer, forced=(request.get("tool_choice") or {}).get("type") in {"any", "tool"})
    text, calls = answer_text(request, steer), made_calls(request, steer)
    content: list[Json] = []
    if "think" in steer:
        content.append({"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE})
    if not calls or "tools-mixed" in steer:
        content.append({"type": "text", "text": text})
    content += [
        {
            "type": "tool_use",
            "id": f"toolu_{i}",
            "name": c["function"]["name"],
            "input": orjson.loads(ARGUMENTS),
        }
        for i, c in enumerate(calls)
    ]
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": served_model(request, steer),
        "content": content,
        "stop_reason": steer.get("finish") or ("tool_use" if calls else "end_turn"),
        "stop_sequence": None,
        "usage": _anthropic_usage(steer, len(text_pieces(text))),
    }


def _sse(payload: Json, *, named: bool = False) -> Event:
    head = f"event: {payload['type']}\n".encode() if named else b""
    return head + b"data: " + orjson.dumps(payload) + b"\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaws:
    """
    How a wire format shows what goes wrong in the middle of a stream.

    Attributes:
        error: Makes the event that tells of an error of some type.
        malformed: Bytes that are no event.
        comment: A sign of life; empty: the format has none.
        is_delta: Tells the events that hold content.
    """

    error: Callable[[str], Event]
    malformed: Event
    comment: Event
    is_delta: Callable[[Event], bool]


_BROKEN: Event = b'data: {"id": "broken\n\n'
_OPENAI_FLAWS = Flaws(
    error=lambda kind: _sse(error_body("openai", kind, "Overloaded.")),
    malformed=_BROKEN,
    comment=KEEP_ALIVE,
    is_delta=lambda event: True,
)
_ANTHROPIC_FLAWS = Flaws(
    error=lambda kind: _sse(error_body("anthropic", kind, "Overloaded."), named=True),
    malformed=_BROKEN,
    comment=b'event: ping\ndata: {"type": "ping"}\n\n',
    is_delta=lambda event: b"content_block_delta" in event,
)


def steered(
    before: list[Event], content: list[Event], after: list[Event], steer: Steer, flaws: Flaws
) -> list[Event]:
    """Apply what goes wrong in the middle of a stream."""
    if "first-error" in steer:
        return [flaws.error(steer["first-error"] or "overloaded_error")]
    events = [*before, *content, *after]
    for key, tail in (
        ("cut", [ABORT]),
        ("end", []),
        ("stall", [STALL]),
        ("malformed", [flaws.malformed, *content, *after]),
        ("error-after", [flaws.error("overloaded_error")]),
    ):
        if key in steer:
            events = [*before, *_until(content, int(steer[key] or 1), flaws), *tail]
    if "comments" in steer and flaws.comment:
        events = [part for event in events for part in (flaws.comment, event)]
    return events


def _until(content: list[Event], count: int, flaws: Flaws) -> list[Event]:
    """Return the events up to and with the `count`-th delta."""
    if count == 0:
        return []
    deltas = [i for i, event in enumerate(content) if flaws.is_delta(event)]
    return content[: deltas[count - 1] + 1] if 0 < count <= len(deltas) else content


def _chat_events(request: Json, steer: Steer) -> list[Event]:
    steer = obeying(steer, forced=False)
    text, calls = answer_text(request, steer), made_calls(request, steer)
    with_usage = bool((request.get("stream_options") or {}).get("include_usage"))

    def chunk(delta: Json, finish: str | None = None, **extra: Any) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse(_chunk_head(request, steer) | {"choices": [choice]} | usage_null | extra)

    usage_null: Json = {"usage": None} if with_usage else {}
    content = (
        [chunk({"content": piece}) for piece in text_pieces(text)]
        if not calls or "tools-mixed" in steer
        else []
    )
    if "think" in steer:
        content.insert(0, chunk({"reasoning_content": THOUGHT}))
    for index, call in enumerate(calls):
        start = call | {"index": index, "function": call["function"] | {"arguments": ""}}
        content.append(chunk({"tool_calls": [start]}))
        content += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
            for part in (ARGUMENTS[:8], ARGUMENTS[8:])
        ]
    used: Json = {"usage": _openai_usage(text, steer)} if "usage-always" in steer else {}
    after = [chunk({}, steer.get("finish") or ("tool_calls" if calls else "stop"), **used)]
    if with_usage and "no-usage" not in steer:
        after.append(_sse(_chunk_head(request, steer) | {"choices": [], "usage": _openai_usage(text, steer)}))
    if "no-done" not in steer:
        after.append(b"data: [DONE]\n\n")
    before = [chunk({"role": "assistant", "content": "", "refusal": None})]
    return steered(before, content, after, steer, _OPENAI_FLAWS)


def _chunk_head(request: Json, steer: Steer) -> Json:
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": served_model(request, steer),
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }


def _completion_events(request: Json, steer: Steer) -> list[Event]:
    head = _completion(request, steer)
    text, usage = head["choices"][0]["text"], head.pop("usage")

    def chunk(piece: str, finish: str | None, **extra: Any) -> Event:
        return _sse(head | {"choices": [{"index": 0, "text": piece, "finish_reason": finish}]} | extra)

    content = [chunk(piece, None) for piece in text_pieces(text)]
    return steered([], content, [chunk("", "stop", usage=usage), b"data: [DONE]\n\n"], steer, _OPENAI_FLAWS)


def _message_events(request: Json, steer: Steer) -> list[Event]:
    message = _message(request, steer)
    start = message | {"content": [], "stop_reason": None, "usage": _anthropic_usage(steer, 1)}
    before = [_sse({"type": "message_start", "message": start}, named=True)]
    content: list[Event] = []
    for index, block in enumerate(message["content"]):
        content += _block_events(index, block)
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    after = [_sse({"type": "message_delta", "delta": delta, "usage": usage}, named=True)]
    if "no-done" not in steer:
        after.append(_sse({"type": "message_stop"}, named=True))
    return steered(before, content, after, steer, _ANTHROPIC_FLAWS)


def _block_events(index: int, block: Json) -> list[Event]:
    kind = block["type"]
    opened: Json = {
        "text": {"type": "text", "text": ""},
        "thinking": {"type": "thinking", "thinking": "", "signature": ""},
        "tool_use": block | {"input": {}},
    }[kind]
    deltas: dict[str, list[Json]] = {
        "text": [{"type": "text_delta", "text": piece} for piece in text_pieces(block.get("text", ""))],
        "thinking": [
            {"type": "thinking_delta", "thinking": block.get("thinking", "")},
            {"type": "signature_delta", "signature": block.get("signature", "")},
        ],
        "tool_use": [
            {"type": "input_json_delta", "partial_json": part} for part in ("", ARGUMENTS[:8], ARGUMENTS[8:])
        ],
    }
    ping = [_sse({"type": "ping"}, named=True)] if index == 0 else []
    return [
        _sse({"type": "content_block_start", "index": index, "content_block": opened}, named=True),
        *ping,
        *(
            _sse({"type": "content_block_delta", "index": index, "delta": d}, named=True)
            for d in deltas[kind]
        ),
        _sse({"type": "content_block_stop", "index": index}, named=True),
    ]
