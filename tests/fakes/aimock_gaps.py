"""
Where aimock says what no provider says: its answers are mended, so that SDKs see what they would see there.

- Gemini has no finish reason `FUNCTION_CALL`, and the same calls under `v1` as under `v1beta`.
- Bedrock announces no blocks of text, and its SDK refuses an announcement that is empty.
- Mistral refuses `include_usage`, gives usage in the last chunk without being asked, and a call as a whole.
- OpenAI has models that answer on responses alone.
- Vertex AI has Anthropic's models under paths of its own.
- Workers AI's `run` is not there at all.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.fakes import run_relay, shapes_converse, shapes_gemini, shapes_workers_ai

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MISTRAL", "Gap", "gap_of"]

# Before the paths of whoever is asked as Mistral is.
MISTRAL: Final = "/mistral"
_GEMINI_V1: Final = re.compile(r"^/v1(?=/models/[^/:]+:\w+)")
_CHAT: Final = run_relay.CHAT_PATH
_NO_CHAT: Final = re.compile(rb'"model": ?"gpt-5-pro"')
_NO_CHAT_ERROR: Final = {
    "error": {
        "message": "This is not a chat model and thus not supported in the v1/chat/completions endpoint.",
        "type": "invalid_request_error",
        "param": "model",
        "code": None,
    }
}
_RAW: Final = re.compile(r"/publishers/anthropic/models/([^/:]+):(?:rawPredict|streamRawPredict)$")
_FORBIDDEN: Final = {
    "detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"]}]
}


class Gap:
    """
    What is done to a request and its answer.

    Args:
        path: Of aimock, with the query.
        body: For aimock.
        refusal: Status and body of an answer in place of all that.
    """

    def __init__(self, path: str, body: bytes, *, refusal: tuple[int, Any] | None = None) -> None:
        self.path = path
        self.body = body
        self.refusal = refusal

    def mended(self, body: bytes, content_type: str) -> bytes:
        """Mend an answer that went well."""
        del content_type
        return body


class _Gemini(Gap):
    def mended(self, body: bytes, content_type: str) -> bytes:
        return body.replace(b'"FUNCTION_CALL"', b'"STOP"')


class _Converse(Gap):
    def mended(self, body: bytes, content_type: str) -> bytes:
        if content_type == "application/json":
            return body
        return b"".join(frame for frame in _frames(body) if b'"start":{}' not in frame)


class _Mistral(Gap):
    def mended(self, body: bytes, content_type: str) -> bytes:
        return b"".join(_mistral_events(body)) if content_type == "text/event-stream" else body


class _Run(Gap):
    def mended(self, body: bytes, content_type: str) -> bytes:
        if content_type == "text/event-stream":
            return b"".join(run_relay.run_events(body))
        return run_relay.run_answer(body)


def gap_of(path: str, body: bytes) -> Gap | None:
    """
    Find what is to be done to a request; None: nothing.

    Args:
        path: As it arrived, with the query.
        body: As it arrived.
    """
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        # What is no JSON is refused by aimock as it would be by others.
        return Gap(path.removeprefix(MISTRAL), body) if path.startswith(MISTRAL) else None
    return next((gap for find in _FINDERS if (gap := find(path, path.partition("?")[0], body))), None)


def _run(_: str, bare: str, body: bytes) -> Gap | None:
    model = shapes_workers_ai.model_of(bare)
    return _Run(_CHAT, run_relay.chat_request(body, model)) if model else None


def _converse(path: str, bare: str, body: bytes) -> Gap | None:
    return _Converse(path, body) if shapes_converse.model_and_method(bare) else None


def _claude(_: str, bare: str, body: bytes) -> Gap | None:
    found = _RAW.search(bare)
    return Gap("/v1/messages", orjson.dumps({**orjson.loads(body), "model": found[1]})) if found else None


def _gemini(path: str, bare: str, body: bytes) -> Gap | None:
    return _Gemini(_GEMINI_V1.sub("/v1beta", path), body) if shapes_gemini.model_and_method(bare) else None


def _no_chat(path: str, bare: str, body: bytes) -> Gap | None:
    refused = bare == _CHAT and _NO_CHAT.search(body)
    return Gap(path, body, refusal=(404, _NO_CHAT_ERROR)) if refused else None


def _mistral(path: str, _: str, body: bytes) -> Gap | None:
    if not path.startswith(MISTRAL):
        return None
    path = path.removeprefix(MISTRAL)
    request = orjson.loads(body)
    if "include_usage" in (request.get("stream_options") or {}):
        return _Mistral(path, body, refusal=(422, _FORBIDDEN))
    if request.get("stream"):
        request["stream_options"] = {"include_usage": True}
        body = orjson.dumps(request)
    return _Mistral(path, body)


# The first that has something to say: paths of Anthropic's models at Vertex look like Gemini's too.
_FINDERS: Final = (_mistral, _run, _converse, _claude, _gemini, _no_chat)


def _mistral_events(body: bytes) -> Iterator[bytes]:
    calls: dict[int, Any] = {}
    last: Any = None
    for line in body.splitlines():
        if not line.startswith(b"data: {"):
            continue
        chunk = orjson.loads(line[6:])
        if not chunk["choices"]:
            last["usage"] = chunk["usage"]
            continue
        chunk.pop("usage", None)
        [choice] = chunk["choices"]
        deltas = choice["delta"].pop("tool_calls", ())
        for delta in deltas:
            call = calls.setdefault(delta["index"], delta)
            if call is not delta:
                call["function"]["arguments"] += delta["function"]["arguments"]
        if choice["finish_reason"]:
            last = chunk
            if calls:
                choice["delta"]["tool_calls"] = list(calls.values())
        elif choice["delta"]:
            yield _sse(chunk)
    yield _sse(last)
    yield b"data: [DONE]\n\n"


def _sse(chunk: Any) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _frames(body: bytes) -> Iterator[bytes]:
    """Cut an event stream of AWS's into its frames, each of which begins with its length."""
    start = 0
    while start < len(body):
        (length,) = struct.unpack_from("!I", body, start)
        yield body[start : start + length]
        start += length
