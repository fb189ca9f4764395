"""
Reads a provider's list of models: OpenAI's shape with members of the provider's own, or a shape of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.providers.model_row import ModelRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["read_model_list"]

# The longest list in use (an aggregator's) has some hundreds of entries.
_MOST: Final = 5000
_NANO: Final = 10**9
_LARGEST: Final = 1 << 53  # whatever is larger is no number of tokens

# Members in which providers say how much a model takes, in the order in which they are believed.
_CONTEXT: Final = (
    "context_length",
    "context_window",
    "max_context_length",
    "max_model_len",
    "max_input_tokens",
    "inputTokenLimit",
)
_OUTPUT: Final = ("max_completion_tokens", "max_tokens", "outputTokenLimit")

# What Google, Cohere, Mistral, Fireworks and OpenRouter call what a model can do.
_CAPABILITIES: Final = {
    "batchEmbedContents": "embeddings",
    "chat": "chat",
    "completion_chat": "chat",
    "embed": "embeddings",
    "embedContent": "embeddings",
    "function_calling": "tools",
    "generateContent": "chat",
    "image": "vision",
    "include_reasoning": "reasoning",
    "reasoning": "reasoning",
    "rerank": "rerank",
    "supports_chat": "chat",
    "supports_image_input": "vision",
    "supports_tools": "tools",
    "thinking": "reasoning",
    "tools": "tools",
    "vision": "vision",
}


def read_model_list(body: bytes, slug: str) -> list[ModelRow]:
    """
    Read a list of models.

    Args:
        body: As the provider sent it: `{"data": [{"id": …}]}` as OpenAI and Anthropic have it, the bare list,
            or `{"models": [{"name": …}]}` as Google and Cohere have it.
        slug: The provider, for the error.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
    """
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    rows = document
    if isinstance(document, dict):
        rows = document.get("data", document.get("models"))
    if not isinstance(rows, list):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's list of models is none.", provider=slug)
    return list(_rows(rows))


def _rows(rows: list[Any]) -> Iterator[ModelRow]:
    for row in rows[:_MOST]:
        if not isinstance(row, dict):
            continue
        name = row.get("id", row.get("name"))
        if isinstance(name, str) and name:
            yield ModelRow(
                # Google's own lists have a collection before the name, which its API takes or leaves.
                name=name.removeprefix("models/"),
                context_tokens=_context(row),
                output_tokens=_first(row, _OUTPUT) or _nested(row, "top_provider", "max_completion_tokens"),
                input_nano_usd=_price(row, "prompt"),
                output_nano_usd=_price(row, "completion"),
                capabilities=_capabilities(row),
            )


def _context(row: Mapping[str, Any]) -> int | None:
    return _first(row, _CONTEXT) or _nested(row, "meta", "n_ctx_train")


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := _count(row.get(name)))), None)


def _nested(row: Mapping[str, Any], outer: str, inner: str) -> int | None:
    found = row.get(outer)
    return _count(found.get(inner)) if isinstance(found, dict) else None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < _LARGEST else None


def _price(row: Mapping[str, Any], name: str) -> float | None:
    """Read a price as OpenRouter gives it: dollars a token, as text."""
    pricing = row.get("pricing")
    value = pricing.get(name) if isinstance(pricing, dict) else None
    if not isinstance(value, str):
        return None
    try:
        dollars = float(value)
    except ValueError:
        return None
    return dollars * _NANO if math.isfinite(dollars) and dollars >= 0 else None


def _capabilities(row: Mapping[str, Any]) -> tuple[str, ...]:
    found = {_CAPABILITIES[word] for word in _words(row) if word in _CAPABILITIES}
    return tuple(sorted(found))


def _words(row: Mapping[str, Any]) -> Iterator[str]:
    for name in ("supportedGenerationMethods", "endpoints", "supported_parameters", "features"):
        yield from _texts(row.get(name))
    architecture = row.get("architecture")
    if isinstance(architecture, dict):
        yield from _texts(architecture.get("input_modalities"))
    for holder in (row, row.get("capabilities")):
        if isinstance(holder, dict):
            yield from (name for name, value in holder.items() if value is True)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        yield from (text for text in value if isinstance(text, str))
