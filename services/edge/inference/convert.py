"""
Typed messages to OpenAI's chat JSON and back. Pure.

The typed front door is the OpenAI dialect with types on it, so that typed and HTTP callers share one
pipeline, one cache and one set of translations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf import json_format

from headrace.inference.v1 import inference_service_pb2 as pb
from kit.errors import GatewayError, Reason
from kit.sse import parse_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.common.v1 import usage_pb2

__all__ = ["chat_body", "chat_response", "embed_body", "embed_response", "stream_responses"]

_ROLES = {
    pb.ROLE_SYSTEM: "system",
    pb.ROLE_USER: "user",
    pb.ROLE_ASSISTANT: "assistant",
    pb.ROLE_TOOL: "tool",
}
_CHOICES = {
    pb.TOOL_CHOICE_MODE_UNSPECIFIED: "auto",
    pb.TOOL_CHOICE_MODE_AUTO: "auto",
    pb.TOOL_CHOICE_MODE_REQUIRED: "required",
    pb.TOOL_CHOICE_MODE_NONE: "none",
}


def chat_body(request: pb.ChatRequest, *, stream: bool) -> bytes:
    """
    Give the OpenAI chat body of a typed request.

    Raises:
        GatewayError: INVALID_REQUEST; something required is missing.
    """
    body: dict[str, Any] = dict(json_format.MessageToDict(request.extra))
    body["model"] = request.model
    body["messages"] = [_message(message, index) for index, message in enumerate(request.messages)]
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.HasField("tool_choice"):
        body["tool_choice"] = _tool_choice(request.tool_choice)
    for name in ("max_tokens", "temperature", "top_p"):
        if request.HasField(name):
            body[name] = getattr(request, name)
    if request.stop:
        body["stop"] = list(request.stop)
    body["stream"] = stream
    if stream:
        body["stream_options"] = {"include_usage": True}
    return orjson.dumps(body)


def chat_response(body: bytes, log_id: str) -> pb.ChatResponse:
    """
    Read an OpenAI chat answer.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
    """
    answer = _object(body)
    choices = answer.get("choices") or [{}]
    message = choices[0].get("message") or {}
    response = pb.ChatResponse(
        log_id=log_id,
        model=answer.get("model") or "",
        message=pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=_tool_calls(message.get("tool_calls"))),
        finish_reason=choices[0].get("finish_reason") or "",
    )
    if message.get("content"):
        response.message.parts.add(text=message["content"])
    _set_usage(response.usage, answer.get("usage"))
    return response


def stream_responses(data: bytes) -> Iterator[pb.ChatStreamResponse]:
    """
    Read whole events of an OpenAI chat stream.

    Raises:
        GatewayError: UPSTREAM_ERROR; the stream says that it broke off.
    """
    for _, payload in parse_events(data):
        if payload == b"[DONE]":
            continue
        chunk = _object(payload)
        if error := chunk.get("error"):
            raise GatewayError(Reason.UPSTREAM_ERROR, str(error.get("message") or "The stream broke off."))
        response = _stream_response(chunk)
        if response is not None:
            yield response


def embed_body(request: pb.EmbedRequest) -> bytes:
    """Give the OpenAI embeddings body of a typed request."""
    body: dict[str, Any] = {"model": request.model, "input": list(request.inputs), "encoding_format": "float"}
    if request.HasField("dimensions"):
        body["dimensions"] = request.dimensions
    return orjson.dumps(body)


def embed_response(body: bytes, log_id: str) -> pb.EmbedResponse:
    """
    Read an OpenAI embeddings answer.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
    """
    answer = _object(body)
    entries = sorted(answer.get("data") or [], key=lambda entry: entry.get("index", 0))
    response = pb.EmbedResponse(
        log_id=log_id,
        model=answer.get("model") or "",
        embeddings=[pb.Embedding(values=entry["embedding"]) for entry in entries],
    )
    _set_usage(response.usage, answer.get("usage"))
    return response


def _message(message: pb.Message, index: int) -> dict[str, Any]:
    role = _ROLES.get(message.role)
    if role is None:
        raise GatewayError(
            Reason.INVALID_REQUEST, f"messages[{index}] has no role.", param=f"messages.{index}.role"
        )
    turn: dict[str, Any] = {"role": role, "content": _content(message.parts)}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    return turn


def _content(parts: Iterable[pb.Part]) -> Any:
    listed = list(parts)
    if not listed:
        return None
    if len(listed) == 1 and listed[0].WhichOneof("kind") == "text":
        return listed[0].text
    return [
        {"type": "text", "text": part.text}
        if part.WhichOneof("kind") == "text"
        else {"type": "image_url", "image_url": {"url": part.image_url}}
        for part in listed
    ]


def _tool(tool: pb.Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.HasField("parameters"):
        function["parameters"] = json_format.MessageToDict(tool.parameters)
    return {"type": "function", "function": function}


def _tool_choice(choice: pb.ToolChoice) -> Any:
    if choice.WhichOneof("kind") == "function":
        return {"type": "function", "function": {"name": choice.function}}
    return _CHOICES[choice.mode]


def _tool_calls(calls: Any) -> list[pb.ToolCall]:
    return [
        pb.ToolCall(
            id=call.get("id") or "",
            name=call["function"].get("name") or "",
            arguments=call["function"].get("arguments") or "",
        )
        for call in calls or ()
        if isinstance(call.get("function"), dict)
    ]


def _stream_response(chunk: dict[str, Any]) -> pb.ChatStreamResponse | None:
    response = pb.ChatStreamResponse()
    for choice in (chunk.get("choices") or ())[:1]:
        delta = choice.get("delta") or {}
        response.text = delta.get("content") or ""
        response.reasoning = delta.get("reasoning_content") or ""
        response.finish_reason = choice.get("finish_reason") or ""
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            response.tool_calls.add(
                index=call.get("index") or 0,
                id=call.get("id") or "",
                name=function.get("name") or "",
                arguments=function.get("arguments") or "",
            )
    _set_usage(response.usage, chunk.get("usage"))
    # A chunk that only opens the turn says nothing that has a field here.
    return response if response.ByteSize() else None


def _set_usage(usage: usage_pb2.Usage, found: Any) -> None:
    if not isinstance(found, dict):
        return
    details = {
        "cache_read_tokens": (found.get("prompt_tokens_details") or {}).get("cached_tokens"),
        "reasoning_tokens": (found.get("completion_tokens_details") or {}).get("reasoning_tokens"),
        "input_tokens": found.get("prompt_tokens"),
        "output_tokens": found.get("completion_tokens"),
    }
    for name, count in details.items():
        if isinstance(count, int):
            setattr(usage, name, count)


def _object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer is not a JSON object.")
    return parsed
