"""
The most that a request is likely to use, told before it runs: what limits reserve for it. Pure.

An estimate errs on the high side, because what is reserved and not used is given back a moment later, and
what is used and was not reserved is what a hard limit is overspent by.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

import orjson

from headrace.common.v1 import http_pb2

if TYPE_CHECKING:
    from services.edge.pipeline.exchange import Exchange

__all__ = ["Estimate", "asked_models", "estimate"]

# Text has more bytes to a token than this in every language and with every tokenizer in use, the JSON around
# it included.
_BYTES_A_TOKEN: Final = 2
# Images and files come as base64; providers count an image of any size as a few thousand tokens at most.
_BLOB: Final = re.compile(rb"[A-Za-z0-9+/=_-]{2048,}")
_BLOB_TOKENS: Final = 4096
# In every notation that JSON has.
_NUMBER: Final = rb"(\d++(?:\.\d++)?(?:[eE][+-]?\d++)?)"
# The most that the answer may have, in each dialect's word.
_LIMIT: Final = re.compile(
    rb'"(?:max_tokens|max_completion_tokens|max_output_tokens|maxOutputTokens|maxTokens|max_gen_len)"'
    rb"\s*:\s*" + _NUMBER
)
_CHOICES: Final = re.compile(rb'"(?:n|candidateCount|num_generations)"\s*:\s*' + _NUMBER)
# Above what anybody allows.
_MOST_TOKENS: Final = 10**9
_MOST_CHOICES: Final = 999
# Calls whose answer is no text.
_NO_TEXT: Final = frozenset({http_pb2.DIALECT_OPENAI_EMBEDDINGS})

# Where a provider's own path names the model, and nothing in the body does.
_GOOGLE: Final = re.compile(
    r"(?:(?:^|/)publishers/(?P<publisher>[^/]+))?(?:^|/)models/(?P<model>[^/]+):\w+/?$"
)
_BEDROCK: Final = re.compile(r"(?:^|/)model/(?P<model>.+)/(?:invoke|converse|count-tokens)[a-z-]*/?$")
_MOST_MODELS: Final = 100

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
    tokens_out = _greatest(_LIMIT, body, usual_output_tokens, _MOST_TOKENS)
    return tokens_in, tokens_out * max(1, _greatest(_CHOICES, body, 1, _MOST_CHOICES))


def asked_models(exchange: Exchange, step_model: str) -> tuple[str, ...]:
    """
    Name the models that a step may be answered by, as far as limits can know it; the one that is asked first.

    A native call's step names none: it stands in the path, in the query or, as one of the members that are
    looked at, in the body. Nothing but a provider's own place is looked at, so that nobody names another
    model where the provider does not look. None where nothing tells.
    """
    if step_model or exchange.native is None:
        return (step_model, *exchange.other_models[:_MOST_MODELS]) if step_model else ()
    path = unquote(exchange.native.path)
    if found := _GOOGLE.search(path) or _BEDROCK.search(path):
        publisher = f"{found['publisher']}/" if found.groupdict().get("publisher") else ""
        return (publisher + found["model"],)
    if exchange.native.method == "GET":
        # As sessions over a WebSocket have it.
        asked = dict(parse_qsl(exchange.native.query)).get("model", "")
        return (asked,) if asked else ()
    try:
        document = orjson.loads(exchange.body)
    except orjson.JSONDecodeError:
        return ()
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, str) or not model:
        return ()
    others = document.get("models")
    others = others[:_MOST_MODELS] if isinstance(others, list) else []
    return (model, *(name for name in others if isinstance(name, str)))


def _greatest(member: re.Pattern[bytes], body: bytes, default: int, most: int) -> int:
    found = [min(float(number), most) for number in member.findall(body)]
    return math.ceil(max(found)) if found else default
