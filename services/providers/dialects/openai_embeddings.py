"""
OpenAI's embeddings to a provider that speaks the same: the model changes, the usage is read.

Bytes are handed on as they are, but for one thing: some providers answer with numbers when they were asked
for base64, which OpenAI's clients ask for by default and cannot do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from services.providers.dialects.answer import Answer, load_object, text
from services.providers.dialects.embeddings import packed, read_vectors
from services.providers.dialects.openai_chat.same import in_band_failure, merged_usage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["answer_reader", "read_answer"]


def answer_reader(request: bytes) -> Callable[[bytes], Answer]:
    """Make what reads the answer to a request, in the encoding that the request asks for."""
    if b"base64" not in request:
        return read_answer
    try:
        document = orjson.loads(request)
    except orjson.JSONDecodeError:
        return read_answer
    asked = isinstance(document, dict) and document.get("encoding_format") == "base64"
    return _read_packed if asked else read_answer


def read_answer(body: bytes) -> Answer:
    """
    Meter a whole answer. The body is handed on as it is.

    Raises:
        GatewayError: With UPSTREAM_MALFORMED when it is not a JSON object.
    """
    return _answer(load_object(body), body)


def _read_packed(body: bytes) -> Answer:
    document = load_object(body)
    rows = document.get("data")
    plain = [row for row in rows if _has_numbers(row)] if isinstance(rows, list) else []
    if plain:
        vectors = read_vectors([row["embedding"] for row in plain])
        for row, vector in zip(plain, vectors, strict=True):
            row["embedding"] = packed(vector)
        body = _written(document, body)
    return _answer(document, body)


def _has_numbers(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("embedding"), list)


def _written(document: dict[str, Any], body: bytes) -> bytes:
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        return body  # nests deeper than can be written, which no embeddings do


def _answer(document: dict[str, Any], body: bytes) -> Answer:
    return Answer(
        body=body,
        usage=merged_usage(document.get("usage")),
        served_model=text(document.get("model")),
        failure=in_band_failure(document, body, started=False),
    )
