"""
Calls in a dialect of ours to any provider: `{provider}/{model}` in the body says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.edge.pipeline.exchange import Exchange

if TYPE_CHECKING:
    from services.edge.headers import RequestHeaders

__all__ = ["check_model", "exchange"]

_LONGEST_MODEL = 256  # far above any real name; bounds what decisions are kept under


def exchange(
    *,
    account_id: str,
    gateway_id: str,
    endpoint: str,
    dialect: http_pb2.Dialect.ValueType,
    headers: RequestHeaders,
    body: bytes,
    max_messages: int,
) -> Exchange:
    """
    Read a call as far as the gateway needs to.

    Raises:
        GatewayError: BAD_CHAT_FORMAT; what is needed is not there or is of the wrong type.
    """
    parsed = parse(body)
    model = parsed.get("model")
    if not isinstance(model, str) or not model:
        raise _bad("model", '`model` must be text such as "openai/gpt-4o-mini".')
    check_model(model)
    streamed = parsed.get("stream")
    if streamed is not None and not isinstance(streamed, bool):
        raise _bad("stream", "`stream` must be true or false.")
    _CHECKS[dialect](parsed, max_messages)
    return Exchange(
        account_id=account_id,
        gateway_id=gateway_id,
        # On these paths the credential's place may hold a token of ours, which `headers` has set apart.
        token=headers.gateway_token or headers.own_token,
        dialect=dialect,
        endpoint=endpoint,
        requested_model=model,
        body=body,
        streamed=bool(streamed),
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


def _check_chat(parsed: dict[str, Any], max_messages: int) -> None:
    messages = parsed.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages", "`messages` must be a list with at least one message.")
    if len(messages) > max_messages:
        raise GatewayError(
            Reason.TOO_LARGE,
            f"`messages` has {len(messages)} entries; at most {max_messages} are taken.",
            param="messages",
            limit=str(max_messages),
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _bad(f"messages.{index}", f"`messages[{index}]` must be an object.")
        if not isinstance(message.get("role"), str):
            raise _bad(f"messages.{index}.role", f"`messages[{index}].role` must be text.")


def _check_embeddings(parsed: dict[str, Any], _: int) -> None:
    if not isinstance(parsed.get("input"), str | list):
        raise _bad("input", "`input` must be text or a list.")
    if parsed.get("stream"):
        raise GatewayError(Reason.UNSUPPORTED, "Embeddings cannot be streamed.", param="stream")


_CHECKS = {
    http_pb2.DIALECT_OPENAI_CHAT: _check_chat,
    http_pb2.DIALECT_OPENAI_EMBEDDINGS: _check_embeddings,
}


def _bad(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.BAD_CHAT_FORMAT, message, param=param)
