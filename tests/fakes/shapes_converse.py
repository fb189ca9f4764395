"""Bodies and frames of the fake upstream, in the words of Bedrock's Converse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from tests.fakes import eventstream
from tests.fakes.upstream_shapes import (
    ARGUMENTS,
    INPUT_TOKENS,
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

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ERROR_TYPES", "error_body", "model_and_method", "plain_body", "stream_events"]

_PATH: Final = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|count-tokens)$")
ERROR_TYPES: Final = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    413: "RequestEntityTooLargeException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


def model_and_method(path: str) -> tuple[str, str] | None:
    """Take the model and the method out of a path; None: it is no call of Bedrock's."""
    found = _PATH.search(path)
    return (found[1], found[2]) if found else None


def error_body(message: str) -> Json:
    """Return an error body; its type is in the header `x-amzn-errortype`."""
    return {"message": message}


def plain_body(method: str, request: Json, steer: Steer) -> Json:
    """Return the body of a plain answer."""
    steer = _obeying(request, steer)
    if method == "count-tokens":
        return {"inputTokens": INPUT_TOKENS}
    if method == "invoke":
        return {"embedding": [0.25, -0.5, 1.0], "inputTextTokenCount": INPUT_TOKENS}
    answer: Json = {
        "output": {"message": {"role": "assistant", "content": _blocks(request, steer)}},
        "stopReason": _stop_reason(steer),
        "metrics": {"latencyMs": 12},
    }
    if "no-usage" not in steer:
        answer["usage"] = _usage(request, steer)
    return answer


def stream_events(request: Json, steer: Steer) -> list[Event]:
    """Return the frames of a streamed answer."""
    steer = _obeying(request, steer)
    content = [event for index, block in enumerate(_blocks(request, steer)) for event in _block(index, block)]
    after = [] if "no-done" in steer else [eventstream.metadata(**_usage(request, steer))]
    return steered(
        [eventstream.message_start()],
        content,
        [eventstream.message_stop(_stop_reason(steer)), *after],
        steer,
        _FLAWS,
    )


def _obeying(request: Json, steer: Steer) -> Steer:
    choice = (request.get("toolConfig") or {}).get("toolChoice") or {}
    return obeying(steer, forced=bool({"any", "tool"} & choice.keys()))


def _block(index: int, block: Json) -> Iterator[Event]:
    match block:
        case {"text": text}:
            yield from (eventstream.content_delta(index, text=piece) for piece in text_pieces(text))
        case {"toolUse": call}:
            start = {"toolUseId": call["toolUseId"], "name": call["name"]}
            yield eventstream.content_start(index, toolUse=start)
            for part in (ARGUMENTS[:8], ARGUMENTS[8:]):
                yield eventstream.content_delta(index, toolUse={"input": part})
        case {"reasoningContent": _}:
            yield eventstream.content_delta(index, reasoningContent={"text": THOUGHT})
            yield eventstream.content_delta(index, reasoningContent={"signature": SIGNATURE})
    yield eventstream.content_stop(index)


def _blocks(request: Json, steer: Steer) -> list[Json]:
    count = int(steer.get("tools") or 0)
    blocks: list[Json] = []
    if "think" in steer:
        thought = {"text": THOUGHT, "signature": SIGNATURE}
        blocks.append({"reasoningContent": {"reasoningText": thought}})
    if not count or "tools-mixed" in steer:
        blocks.append({"text": _text(request, steer)})
    name = request["toolConfig"]["tools"][0]["toolSpec"]["name"] if count else ""
    return blocks + [
        {"toolUse": {"toolUseId": f"tooluse_{index}", "name": name, "input": orjson.loads(ARGUMENTS)}}
        for index in range(count)
    ]


def _text(request: Json, steer: Steer) -> str:
    messages = [
        {"role": entry["role"], "content": "".join(part.get("text", "") for part in entry["content"])}
        for entry in request.get("messages", [])
    ]
    return answer_text({"messages": messages}, steer)


def _stop_reason(steer: Steer) -> str:
    return steer.get("finish") or ("tool_use" if int(steer.get("tools") or 0) else "end_turn")


def _usage(request: Json, steer: Steer) -> Json:
    count, cached = len(text_pieces(_text(request, steer))), int(steer.get("cached", 0))
    return {
        "inputTokens": INPUT_TOKENS - cached,
        "outputTokens": count,
        "totalTokens": INPUT_TOKENS + count,
        "cacheReadInputTokens": cached,
        "cacheWriteInputTokens": 0,
    }


def _corrupt() -> Event:
    whole = bytearray(eventstream.content_delta(0, text="broken"))
    whole[-5] ^= 0xFF
    return bytes(whole)


_FLAWS: Final = Flaws(
    error=lambda _: eventstream.exception("serviceUnavailableException", "Overloaded."),
    malformed=_corrupt(),
    comment=b"",
    is_delta=lambda event: b"contentBlockDelta" in event,
)
