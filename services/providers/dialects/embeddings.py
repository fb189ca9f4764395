"""
OpenAI's embeddings, for providers that speak another dialect: the request is read, the answer is written.
"""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.neutral.fields import get_int, get_str, load_body
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.usage import UsageCounts

__all__ = [
    "EmbeddingsRequest",
    "EncodingFormat",
    "packed",
    "read_openai_embeddings_request",
    "read_vectors",
    "write_openai_embeddings_answer",
]

EncodingFormat = Literal["float", "base64"]

# What OpenAI's API takes; every other provider takes fewer.
_MOST_INPUTS = 2048
_MEMBERS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsRequest:
    """
    What is to be embedded.

    Attributes:
        inputs: At least one, none of them empty.
        dimensions: Length of each vector; None: the model's own.
        encoding_format: How the client wants each vector.
        user: The end user's identifier.
        extra: Members that OpenAI does not have. What an adapter does not take out, it reports as dropped.
    """

    inputs: tuple[str, ...]
    dimensions: int | None = None
    encoding_format: EncodingFormat = "float"
    user: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def read_openai_embeddings_request(body: bytes, notes: Notes) -> EmbeddingsRequest:
    """
    Read a request of OpenAI's embeddings API.

    Raises:
        GatewayError: INVALID_REQUEST when it is none; UNSUPPORTED when the input are numbers of tokens, which
            mean nothing to another provider's model.
    """
    document = load_body(body)
    dimensions = get_int(document, "dimensions")
    # The upper bound only keeps numbers out that JSON's writers cannot write.
    if dimensions is not None and not 1 <= dimensions < 1 << 31:
        invalid("dimensions", "must be at least 1")
    return EmbeddingsRequest(
        inputs=_inputs(document.get("input"), notes),
        dimensions=dimensions,
        encoding_format=_encoding_format(document),
        user=get_str(document, "user") or "",
        extra={name: value for name, value in document.items() if name not in _MEMBERS and value is not None},
    )


def _encoding_format(document: Mapping[str, Any]) -> EncodingFormat:
    form = get_str(document, "encoding_format")
    if form == "base64":
        return "base64"
    if form not in {None, "float"}:
        invalid("encoding_format", "must be `float` or `base64`")
    return "float"


def _inputs(value: Any, notes: Notes) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    if not given:
        invalid("input", "must not be empty")
    if len(given) > _MOST_INPUTS:
        invalid("input", f"may hold at most {_MOST_INPUTS} texts")
    for index, item in enumerate(given):
        if isinstance(item, list) or (isinstance(item, int) and not isinstance(item, bool)):
            notes.refuse("input", "is made of tokens, which only OpenAI's models read; send text")
        if not isinstance(item, str):
            invalid("input", "must be a string or a list of strings")
        if not item:
            invalid(f"input.{index}" if isinstance(value, list) else "input", "must not be empty")
    return tuple(given)


def read_vectors(value: Any) -> list[list[float]]:
    """
    Take the vectors of a provider's answer.

    Raises:
        GatewayError: UPSTREAM_MALFORMED when they are not lists of finite numbers.
    """
    if not isinstance(value, list) or not all(_is_vector(row) for row in value):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds no embeddings.")
    return value


def _is_vector(row: Any) -> bool:
    # A sum is the cheapest look at each of some thousand numbers; a boolean among them does no harm.
    try:
        return isinstance(row, list) and math.isfinite(math.fsum(row))
    except (TypeError, ValueError, OverflowError):
        return False


def write_openai_embeddings_answer(
    vectors: Sequence[Sequence[float] | str],
    model: str,
    usage: UsageCounts | None,
    encoding_format: EncodingFormat,
) -> bytes:
    """
    Write an answer of OpenAI's embeddings API.

    Args:
        vectors: One for each input, in the inputs' order: numbers, or in base64 already.
        model: As the provider names it.
        usage: None: not known, and then not in the answer.
        encoding_format: `base64` gives each vector as 32-bit floats, lowest byte first.
    """
    answer: dict[str, Any] = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": packed(vector) if encoding_format == "base64" else vector,
            }
            for index, vector in enumerate(vectors)
        ],
        "model": model,
    }
    if usage is not None and usage.input_tokens is not None:
        total = usage.input_tokens + (usage.output_tokens or 0)
        answer["usage"] = {"prompt_tokens": usage.input_tokens, "total_tokens": total}
    return orjson.dumps(answer)


def packed(vector: Sequence[float] | str) -> str:
    """Write a vector as 32-bit floats, lowest byte first, in base64; one that is so already stays."""
    if isinstance(vector, str):
        return vector
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers).decode("ascii")
