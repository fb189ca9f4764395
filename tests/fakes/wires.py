"""Which API a request of the fake upstream is meant for, by its path, and what it answers there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.fakes import (
    eventstream,
    shapes_cohere,
    shapes_converse,
    shapes_gemini,
    shapes_workers_ai,
)
from tests.fakes import upstream_shapes as shapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.upstream_shapes import Event, Json, Steer

__all__ = ["Wire", "wire_of"]

_EVENT_STREAM = "text/event-stream; charset=utf-8"
# Endpoints of OpenAI's and Anthropic's APIs, wherever a provider has put them.
_ENDPOINTS = ("chat/completions", "completions", "embeddings", "messages/count_tokens", "messages", "models")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """
    How one request is answered.

    Attributes:
        plain: Body of a plain answer; None: the path has no shape of its own.
        events: Events of a streamed answer; None: no stream was asked for.
        error: Body of an error of some status, type and message.
        error_headers: Beside it, by status.
        stream_type: Content type of a stream.
    """

    plain: Callable[[], Json | None]
    events: Callable[[], list[Event]] | None
    error: Callable[[int, str, str], Json]
    error_headers: Callable[[int], dict[str, str]] = field(default=lambda _: {})
    stream_type: str = _EVENT_STREAM


def wire_of(path: str, headers: frozenset[str], request: Json, steer: Steer) -> Wire:
    """
    Find out how a request is answered.

    Args:
        path: As it arrived.
        headers: Names of headers, in lower case.
        request: The parsed body; empty when it is no JSON object.
        steer: Directives.
    """
    path = unquote(path)
    if gemini := shapes_gemini.model_and_method(path):
        return _gemini(*gemini, request, steer)
    if converse := shapes_converse.model_and_method(path):
        return _converse(converse[1], request, steer)
    if shapes_workers_ai.model_of(path):
        return _workers_ai(request, steer)
    if path.strip("/") in {"v2/chat", "v2/embed", "v2/rerank"}:
        return _cohere(path.strip("/"), request, steer)
    return _openai_or_anthropic(path, headers, request, steer)


def _gemini(model: str, method: str, request: Json, steer: Steer) -> Wire:
    streams = method == "streamGenerateContent"
    return Wire(
        plain=lambda: shapes_gemini.plain_body(method, model, request, steer),
        events=(lambda: shapes_gemini.stream_events(model, request, steer)) if streams else None,
        error=lambda status, _, message: shapes_gemini.error_body(status, message),
    )


def _converse(method: str, request: Json, steer: Steer) -> Wire:
    streams = method == "converse-stream"
    return Wire(
        plain=lambda: shapes_converse.plain_body(method, request, steer),
        events=(lambda: shapes_converse.stream_events(request, steer)) if streams else None,
        error=lambda _, __, message: shapes_converse.error_body(message),
        error_headers=lambda status: {
            "x-amzn-errortype": shapes_converse.ERROR_TYPES.get(status, "InternalServerException")
        },
        stream_type=eventstream.CONTENT_TYPE,
    )


def _cohere(endpoint: str, request: Json, steer: Steer) -> Wire:
    streams = endpoint == "v2/chat" and request.get("stream") is True
    return Wire(
        plain=lambda: shapes_cohere.plain_body(endpoint, request, steer),
        events=(lambda: shapes_cohere.stream_events(request, steer)) if streams else None,
        error=lambda _, __, message: shapes_cohere.error_body(message),
    )


def _workers_ai(request: Json, steer: Steer) -> Wire:
    streams = request.get("stream") is True
    return Wire(
        plain=lambda: shapes_workers_ai.plain_body(request, steer),
        events=(lambda: shapes_workers_ai.stream_events(request, steer)) if streams else None,
        error=lambda status, _, message: shapes_workers_ai.error_body(status, message),
    )


def _openai_or_anthropic(path: str, headers: frozenset[str], request: Json, steer: Steer) -> Wire:
    kind = next((name for name in _ENDPOINTS if path.endswith(f"/{name}")), path.strip("/"))
    raw: Any = path.rpartition(":")[2]
    if raw in {"rawPredict", "streamRawPredict"}:
        kind = "messages"
    named: shapes.Wire = (
        "anthropic" if kind.startswith("messages") or "anthropic-version" in headers else "openai"
    )
    streams = kind in {"chat/completions", "completions", "messages"} and request.get("stream") is True
    return Wire(
        plain=lambda: shapes.plain_body(kind, request, steer),
        events=(lambda: shapes.stream_events(kind, request, steer)) if streams else None,
        error=lambda _, error, message: shapes.error_body(named, error, message),
    )
