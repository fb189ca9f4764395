"""
Workers AI's `run` over a stand-in that speaks OpenAI's chat completions only: requests there, answers back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHAT_PATH", "chat_request", "run_answer", "run_events"]

CHAT_PATH = "/v1/chat/completions"


def chat_request(body: bytes, model: str) -> bytes:
    """Turn a request of `run` into one of chat completions."""
    request = orjson.loads(body)
    if request.get("stream"):
        request["stream_options"] = {"include_usage": True}
    tools = [
        tool if "function" in tool else {"type": "function", "function": tool}
        for tool in request.pop("tools", [])
    ]
    return orjson.dumps({**request, "model": model, **({"tools": tools} if tools else {})})


def run_answer(body: bytes) -> bytes:
    """Turn a whole answer of chat completions into one of `run`."""
    answer = orjson.loads(body)
    message = answer["choices"][0]["message"]
    result: dict[str, Any] = {"response": message.get("content"), "usage": answer["usage"]}
    if message.get("tool_calls"):
        result["tool_calls"] = [
            {"name": call["function"]["name"], "arguments": orjson.loads(call["function"]["arguments"])}
            for call in message["tool_calls"]
        ]
    return orjson.dumps({"result": result, "success": True, "errors": [], "messages": []})


def run_events(body: bytes) -> Iterator[bytes]:
    """Turn a streamed answer of chat completions, which is there as a whole, into the events of `run`."""
    calls: dict[int, dict[str, str]] = {}
    usage: Any = None
    for line in body.splitlines():
        if not line.startswith(b"data: {"):
            continue
        chunk = orjson.loads(line[6:])
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            if choice["delta"].get("content"):
                yield _event(response=choice["delta"]["content"], p="abcdefgh")
            for delta in choice["delta"].get("tool_calls") or []:
                call = calls.setdefault(delta["index"], {"name": "", "arguments": ""})
                for name in call:
                    call[name] += delta["function"].get(name) or ""
    if calls:
        made = [
            {"name": call["name"], "arguments": orjson.loads(call["arguments"])} for call in calls.values()
        ]
        yield _event(response="", tool_calls=made)
    yield _event(response="", usage=usage)
    yield b"data: [DONE]\n\n"


def _event(**members: Any) -> bytes:
    return b"data: " + orjson.dumps(members) + b"\n\n"
