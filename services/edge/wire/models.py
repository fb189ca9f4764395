"""
A model, and a list of them, in the shape that a client's SDK reads. Pure.

What is not known of a model is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headrace.common.v1 import http_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.provider.v1.provider_service_pb2 import Model

__all__ = ["id_of", "model", "model_list"]

# Providers' lists say too rarely when a model was made; SDKs want a time.
_NO_TIME: Final = "1970-01-01T00:00:00Z"
# A nano-dollar for one token is a thousandth of a dollar for a million.
_PER_MILLION: Final = 1e-3
_EMBEDDINGS: Final = ("embedContent", "batchEmbedContents")
_CHAT: Final = ("generateContent", "streamGenerateContent", "countTokens")


def id_of(found: Model) -> str:
    """Give the name that a model is asked for by."""
    return f"{found.provider}/{found.model}"


def model(found: Model, dialect: http_pb2.Dialect.ValueType) -> dict[str, Any]:
    """Give one model."""
    return _SHAPES.get(dialect, _openai)(found)


def model_list(found: Sequence[Model], dialect: http_pb2.Dialect.ValueType) -> dict[str, Any]:
    """Give all models, on the one page that there is."""
    shown = [model(each, dialect) for each in found]
    if dialect == http_pb2.DIALECT_GEMINI:
        return {"models": shown}
    if dialect == http_pb2.DIALECT_ANTHROPIC_MESSAGES:
        first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
        return {"data": shown, "has_more": False, "first_id": first, "last_id": last}
    return {"object": "list", "data": shown}


def _openai(found: Model) -> dict[str, Any]:
    shown = {"id": id_of(found), "object": "model", "created": 0, "owned_by": found.provider}
    return {**shown, **_known(found)}


def _anthropic(found: Model) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": "model",
        "id": id_of(found),
        "display_name": found.model,
        "created_at": _NO_TIME,
        "lifecycle": "active",
    }
    if found.HasField("context_tokens"):
        shown["max_input_tokens"] = found.context_tokens
    if found.HasField("output_tokens"):
        shown["max_tokens"] = found.output_tokens
    known = _known(found)
    # Anthropic's `capabilities` is an object of another shape.
    known.pop("capabilities", None)
    return {**shown, **known}


def _google(found: Model) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": f"models/{id_of(found)}",
        "displayName": found.model,
        "supportedGenerationMethods": list(_EMBEDDINGS if _only_embeds(found) else _CHAT),
    }
    if found.HasField("context_tokens"):
        shown["inputTokenLimit"] = found.context_tokens
    if found.HasField("output_tokens"):
        shown["outputTokenLimit"] = found.output_tokens
    return {**shown, **_known(found)}


def _known(found: Model) -> dict[str, Any]:
    """Give the members that are ours, and the same in every shape."""
    shown: dict[str, Any] = {"provider": found.provider}
    if found.HasField("context_tokens"):
        shown["context_window"] = found.context_tokens
    if found.HasField("output_tokens"):
        shown["max_output_tokens"] = found.output_tokens
    prices = {}
    if found.HasField("input_token_nano_usd"):
        prices["input"] = round(found.input_token_nano_usd * _PER_MILLION, 9)
    if found.HasField("output_token_nano_usd"):
        prices["output"] = round(found.output_token_nano_usd * _PER_MILLION, 9)
    if prices:
        shown["usd_per_million_tokens"] = prices
    if found.capabilities:
        shown["capabilities"] = list(found.capabilities)
    return shown


def _only_embeds(found: Model) -> bool:
    return "embeddings" in found.capabilities and "chat" not in found.capabilities


_SHAPES: Final = {
    http_pb2.DIALECT_GEMINI: _google,
    http_pb2.DIALECT_ANTHROPIC_MESSAGES: _anthropic,
}
