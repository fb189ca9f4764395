"""Bodies and stream events of the fake upstream, in the words of Workers AI's `run`."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from tests.fakes.upstream_shapes import (
    ARGUMENTS,
    INPUT_TOKENS,
    KEEP_ALIVE,
    Event,
    Flaws,
    Json,
    Steer,
    answer_text,
    made_calls,
    steered,
    text_pieces,
)

__all__ = ["error_body", "model_of", "plain_body", "stream_events"]

_PATH: Final = re.compile(r"/run/(@cf/.+)$")


def model_of(path: str) -> str | None:
    """Take the model out of a path; None: it is no call of `run`."""
    found = _PATH.search(path.replace("%40", "@"))
    return found[1] if found else None


def error_body(status: int, message: str) -> Json:
    """Return an error body: the envelope of Cloudflare's API."""
    errors = [{"code": 5000 + status, "message": message}]
    return {"result": None, "success": False, "errors": errors, "messages": []}


def plain_body(request: Json, steer: Steer) -> Json:
    """Return the body of a plain answer."""
    text, calls = answer_text(request, steer), made_calls(request, steer)
    result: Json = {"response": text if not calls or "tools-mixed" in steer else None}
    if calls:
        result["tool_calls"] = [
            {"name": call["function"]["name"], "arguments": orjson.loads(ARGUMENTS)} for call in calls
        ]
    if "no-usage" not in steer:
        result["usage"] = _usage(text)
    return {"result": result, "success": True, "errors": [], "messages": []}


def stream_events(request: Json, steer: Steer) -> list[Event]:
    """Return the events of a streamed answer."""
    text, calls = answer_text(request, steer), made_calls(request, steer)
    content = [_sse(response=piece, p="abc") for piece in text_pieces(text)]
    if calls:
        made = [{"name": call["function"]["name"], "arguments": orjson.loads(ARGUMENTS)} for call in calls]
        content = [*(content if "tools-mixed" in steer else []), _sse(response="", tool_calls=made)]
    after = [] if "no-usage" in steer else [_sse(response="", usage=_usage(text))]
    if "no-done" not in steer:
        after.append(b"data: [DONE]\n\n")
    return steered([], content, after, steer, _FLAWS)


def _usage(text: str) -> Json:
    count = len(text_pieces(text))
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": count,
        "total_tokens": INPUT_TOKENS + count,
    }


def _sse(**members: Any) -> Event:
    return b"data: " + orjson.dumps(members) + b"\n\n"


_FLAWS: Final = Flaws(
    error=lambda _: _sse(**error_body(503, "Overloaded.")),
    malformed=b'data: {"response": "broken\n\n',
    comment=KEEP_ALIVE,
    is_delta=lambda _: True,
)
