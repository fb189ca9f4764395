"""
Calls in a dialect of ours to any provider: `{provider}/{model}` in the body or the path says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.edge.handlers import gemini
from services.edge.pipeline.exchange import Exchange
from services.edge.wire import multipart

if TYPE_CHECKING:
    from services.edge.headers import RequestHeaders
    from services.edge.routes import Route

__all__ = ["check_model", "exchange"]

_LONGEST_MODEL = 256  # far above any real name; bounds what decisions are kept under
_COUNT_TOKENS = "count_tokens"


def exchange(
    route: Route, *, query: str, headers: RequestHeaders, body: bytes, max_messages: int
) -> Exchange:
    """
    Read a call as far as the gateway needs to.

    Args:
        route: What is called.
        query: Query string of the request.
        headers: Its headers, sorted.
        body: Its body.
        max_messages: Longest conversation that is taken.

    Raises:
        GatewayError: BAD_CHAT_FORMAT; what is needed is not there or is of the wrong type.
    """
    operation = route.operation
    others: tuple[str, ...] = ()
    if route.dialect == http_pb2.DIALECT_GEMINI:
        gemini.check(parse(body), max_messages)
        operation, streamed = gemini.operation(operation, query)
        model = route.rest
    elif route.dialect == http_pb2.DIALECT_OPENAI_OTHER and multipart.is_form(headers.content_type):
        model, streamed = _read_form(headers.content_type, body)
    else:
        model, streamed, others = _read_json(route, body, max_messages)
    check_model(model)
    return Exchange(
        account_id=route.account_id,
        gateway_id=route.gateway_id,
        # On these paths the credential's place may hold a token of ours, which `headers` has set apart.
        token=headers.gateway_token or headers.own_token,
        dialect=route.dialect,
        operation=operation,
        endpoint=route.endpoint,
        requested_model=model,
        other_models=others,
        body=body,
        streamed=streamed,
        headers=headers,
    )


def check_model(model: str) -> None:
    """
    Refuse a model's name that is longer than any is.

    Raises:
        GatewayError: BAD_CHAT_FORMAT.
    """
    if len(model) > _LONGEST_MODEL:
        raise _bad("model", f"`model` has {len(model)} characters; at most {_LONGEST_MODEL} are taken.")


def parse(body: bytes) -> dict[str, Any]:
    """
    Read a body that must be a JSON object.

    Raises:
        GatewayError: BAD_CHAT_FORMAT.
    """
    if not body:
        raise GatewayError(Reason.BAD_CHAT_FORMAT, "The request has no body; a JSON object is expected.")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(Reason.BAD_CHAT_FORMAT, f"The body is not valid JSON: {error}.") from None
    if not isinstance(parsed, dict):
        raise GatewayError(Reason.BAD_CHAT_FORMAT, "The body must be a JSON object.")
    return parsed


def _read_json(route: Route, body: bytes, max_messages: int) -> tuple[str, bool, tuple[str, ...]]:
    """Give the model, whether a stream is asked for, and the models that are named to fall back to."""
    parsed = parse(body)
    model = parsed.get("model")
    if not isinstance(model, str) or not model:
        raise _bad_model()
    streamed = parsed.get("stream")
    if streamed is not None and not isinstance(streamed, bool):
        raise _bad("stream", "`stream` must be true or false.")
    _CHECKS[route.dialect](parsed, max_messages)
    if route.dialect == http_pb2.DIALECT_OPENAI_OTHER:
        # Speech has a word of its own for a stream of events.
        streamed = streamed or parsed.get("stream_format") == "sse"
    others = _other_models(parsed["models"]) if "models" in parsed else ()
    return model, bool(streamed) and route.operation != _COUNT_TOKENS, others


def _other_models(named: Any) -> tuple[str, ...]:
    """Read what OpenRouter falls back to by itself: a token may be restricted to some models."""
    if not isinstance(named, list):
        return ()
    return tuple(name for name in named if isinstance(name, str))


def _read_form(content_type: str, body: bytes) -> tuple[str, bool]:
    found = multipart.fields(content_type, body, ("model", "stream"))
    model = found.get("model", "")
    if not model:
        raise _bad_model()
    return model, found.get("stream", "").lower() == "true"


def _check_chat(parsed: dict[str, Any], max_messages: int) -> None:
    messages = parsed.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages", "`messages` must be a list with at least one message.")
    _check_length("messages", messages, max_messages)
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _bad(f"messages.{index}", f"`messages[{index}]` must be an object.")
        if not isinstance(message.get("role"), str):
            raise _bad(f"messages.{index}.role", f"`messages[{index}].role` must be text.")


def _check_responses(parsed: dict[str, Any], max_messages: int) -> None:
    asked = parsed.get("input")
    if isinstance(asked, list):
        _check_length("input", asked, max_messages)
    elif asked is not None and not isinstance(asked, str):
        raise _bad("input", "`input` must be text or a list.")


def _check_embeddings(parsed: dict[str, Any], _: int) -> None:
    if not isinstance(parsed.get("input"), str | list):
        raise _bad("input", "`input` must be text or a list.")
    if parsed.get("stream"):
        raise GatewayError(Reason.UNSUPPORTED, "Embeddings cannot be streamed.", param="stream")


def _check_nothing(_: dict[str, Any], __: int) -> None:
    """The provider, whose own dialect it is, judges everything."""


_CHECKS = {
    http_pb2.DIALECT_OPENAI_CHAT: _check_chat,
    http_pb2.DIALECT_ANTHROPIC_MESSAGES: _check_chat,
    http_pb2.DIALECT_OPENAI_RESPONSES: _check_responses,
    http_pb2.DIALECT_OPENAI_EMBEDDINGS: _check_embeddings,
    http_pb2.DIALECT_OPENAI_OTHER: _check_nothing,
}


def _check_length(param: str, entries: list[Any], most: int) -> None:
    if len(entries) > most:
        raise GatewayError(
            Reason.TOO_LARGE,
            f"`{param}` has {len(entries)} entries; at most {most} are taken.",
            param=param,
            limit=str(most),
        )


def _bad_model() -> GatewayError:
    return _bad("model", '`model` must be text such as "openai/gpt-4o-mini".')


def _bad(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.BAD_CHAT_FORMAT, message, param=param)
