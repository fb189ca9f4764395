"""
The most that a request is likely to use, told before it runs: what limits reserve for it. Pure.

An estimate errs on the high side, because what is reserved and not used is given back a moment later, and
what is used and was not reserved is what a hard limit is overspent by.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

import orjson

from headrace.common.v1 import http_pb2

if TYPE_CHECKING:
    from services.edge.pipeline.exchange import Exchange

__all__ = ["Estimate", "asked_model", "estimate"]

# Text has more bytes to a token than this in every language and with every tokenizer in use, the JSON around
# it included.
_BYTES_A_TOKEN: Final = 2
# Images and files come as base64; providers count an image of any size as a few thousand tokens at most.
_BLOB: Final = re.compile(rb"[A-Za-z0-9+/=_-]{2048,}")
_BLOB_TOKENS: Final = 4096
# The most that the answer may have, in each dialect's word.
_LIMIT: Final = re.compile(
    rb'"(?:max_tokens|max_completion_tokens|max_output_tokens|maxOutputTokens|maxTokens|max_gen_len)"'
    rb"\s*:\s*(\d{1,9})"
)
_CHOICES: Final = re.compile(rb'"(?:n|candidateCount|num_generations)"\s*:\s*(\d{1,3})')
# Calls whose answer is no text.
_NO_TEXT: Final = frozenset({http_pb2.DIALECT_OPENAI_EMBEDDINGS})

# Where a provider's own path names the model: Google's, and Bedrock's.
_IN_PATH: Final = re.compile(r"(?:^|/)models?/([^/:?]+(?:%3A[^/:?]*)?)")

Estimate = tuple[int, int]
"""Tokens in, and tokens out."""


def estimate(exchange: Exchange, *, usual_output_tokens: int) -> Estimate:
    """
    Estimate what a request uses at most.

    Args:
        exchange: The request.
        usual_output_tokens: What an answer is taken to have whose request does not bound it.
    """
    body = exchange.body
    blobs, blob_bytes = 0, 0
    if len(body) > 2048:
        for match in _BLOB.finditer(body):
            blobs += 1
            blob_bytes += match.end() - match.start()
    tokens_in = (len(body) - blob_bytes) // _BYTES_A_TOKEN + blobs * _BLOB_TOKENS + 1
    if exchange.dialect in _NO_TEXT:
        return tokens_in, 0
    bounds = [int(found) for found in _LIMIT.findall(body)]
    choices = max((int(found) for found in _CHOICES.findall(body)), default=1)
    return tokens_in, (max(bounds) if bounds else usual_output_tokens) * max(1, choices)


def asked_model(exchange: Exchange, step_model: str) -> str:
    """
    Name the model that a step asks for, as far as limits can know it.

    A native call's step names none: it stands in the path, in the query or, as the only member that is looked
    at, in the body. Empty where none of them tells.
    """
    if step_model or exchange.native is None:
        return step_model
    if found := _IN_PATH.search(exchange.native.path):
        return unquote(found[1])
    if "model=" in exchange.native.query:
        # As sessions over a WebSocket have it.
        return dict(parse_qsl(exchange.native.query)).get("model", "")
    try:
        document = orjson.loads(exchange.body)
    except orjson.JSONDecodeError:
        return ""
    model = document.get("model") if isinstance(document, dict) else None
    return model if isinstance(model, str) else ""
