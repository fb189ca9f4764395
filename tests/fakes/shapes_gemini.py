"""Bodies and stream events of the fake upstream, in Gemini's words."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from tests.fakes.upstream_shapes import (
    ARGUMENTS,
    INPUT_TOKENS,
    KEEP_ALIVE,
    SIGNATURE,
    THOUGHT,
    Event,
    Flaws,
    Json,
    Steer,
    answer_text,
    obeying,
    steered,
    text_pieces,
)

__all__ = ["error_body", "model_and_method", "plain_body", "stream_events"]

_PATH: Final = re.compile(r"models/([^/:]+):(\w+)$")
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


def model_and_method(path: str) -> tuple[str, str] | None:
    """Take the model and the method out of a path; None: it is no call of Gemini's."""
    found = _PATH.search(path)
    return (found[1], found[2]) if found else None


def error_body(status: int, message: str) -> Json:
    """Return an error body."""
    return {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "INTERNAL")}}


def plain_body(method: str, model: str, request: Json, steer: Steer) -> Json:
    """Return the body of a plain answer."""
    if method == "countTokens":
        return {"totalTokens": INPUT_TOKENS}
    if method == "batchEmbedContents":
        return {"embeddings": [{"values": [0.25, -0.5, 1.0]} for _ in request.get("requests", [])]}
    if method == "embedContent":
        return {"embedding": {"values": [0.25, -0.5, 1.0]}}
    parts = [*_thoughts(steer), *_content(request, steer)]
    return _answer(model, steer, parts, finish=True, usage=_usage(request, steer))


def stream_events(model: str, request: Json, steer: Steer) -> list[Event]:
    """Return the events of a streamed answer."""
    content = [
        _sse(_answer(model, steer, [part], usage={"promptTokenCount": INPUT_TOKENS}))
        for whole in (*_thoughts(steer), *_content(request, steer))
        for part in _pieces(whole)
    ]
    last = _answer(model, steer, [{"text": ""}], finish=True, usage=_usage(request, steer))
    return steered([], content, [_sse(last)], steer, _FLAWS)


def _content(request: Json, steer: Steer) -> list[Json]:
    steer = obeying(steer, forced=False)
    count = int(steer.get("tools") or 0)
    text = {"text": answer_text({"messages": _messages(request)}, steer)}
    tools = request.get("tools") or [{"functionDeclarations": [{"name": "get_weather"}]}]
    name = tools[0]["functionDeclarations"][0]["name"] if count else ""
    calls: list[Json] = [
        {"functionCall": {"name": name, "args": orjson.loads(ARGUMENTS)}} for _ in range(count)
    ]
    if calls:
        calls[0]["thoughtSignature"] = SIGNATURE
    return [*([text] if not calls or "tools-mixed" in steer else []), *calls]


def _messages(request: Json) -> list[Json]:
    return [
        {"role": entry.get("role", "user"), "content": "".join(p.get("text", "") for p in entry["parts"])}
        for entry in request.get("contents", [])
    ]


def _thoughts(steer: Steer) -> list[Json]:
    return [{"text": THOUGHT, "thought": True}] if "think" in steer else []


def _pieces(part: Json) -> list[Json]:
    if "text" not in part or part.get("thought"):
        return [part]
    return [{"text": piece} for piece in text_pieces(part["text"])]


def _answer(model: str, steer: Steer, parts: list[Json], *, finish: bool = False, **more: Any) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        candidate["finishReason"] = steer.get("finish") or "STOP"
    made: Json = {
        "candidates": [candidate],
        "modelVersion": steer.get("served") or model,
        "responseId": "resp-fake",
    }
    if "no-usage" not in steer:
        made["usageMetadata"] = more["usage"]
    return made


def _usage(request: Json, steer: Steer) -> Json:
    count = len(text_pieces(answer_text({"messages": _messages(request)}, steer)))
    cached = int(steer.get("cached", 0))
    return {
        "promptTokenCount": INPUT_TOKENS,
        "candidatesTokenCount": count,
        "totalTokenCount": INPUT_TOKENS + count,
    } | ({"cachedContentTokenCount": cached} if cached else {})


def _sse(payload: Json) -> Event:
    return b"data: " + orjson.dumps(payload) + b"\r\n\r\n"


_FLAWS: Final = Flaws(
    error=lambda _: _sse(error_body(503, "Overloaded.")),
    malformed=b'data: {"id": "broken\r\n\r\n',
    comment=KEEP_ALIVE,
    is_delta=lambda _: True,
)
