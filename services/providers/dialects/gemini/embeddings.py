"""
OpenAI's embeddings at Google: `batchEmbedContents` at AI Studio, `predict` at Vertex AI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import Answer, load_object
from services.providers.dialects.embeddings import read_vectors, write_openai_embeddings_answer
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.usage import UsageCounts, read_gemini_usage

if TYPE_CHECKING:
    from services.providers.dialects.embeddings import EmbeddingsRequest
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_batch", "read_predictions", "write_batch", "write_instances"]

Json = dict[str, Any]

# Google's own members, in both of the spellings that its SDKs use; they say what the vectors are for.
_TASK: Final = ("taskType", "task_type")
_TITLE: Final = ("title",)


def write_batch(request: EmbeddingsRequest, model: str, notes: Notes) -> bytes:
    """
    Write the body of `batchEmbedContents`.

    Args:
        request: What is to be embedded.
        model: With its collection, such as `models/gemini-embedding-001`.
        notes: What was dropped.
    """
    options: Json = {"model": model}
    if request.dimensions is not None:
        options["outputDimensionality"] = request.dimensions
    task, title = _taken(request, _TASK), _taken(request, _TITLE)
    if task:
        options["taskType"] = task
    if title:
        options["title"] = title
    _rest(request, notes)
    requests = [{**options, "content": {"parts": [{"text": words}]}} for words in request.inputs]
    return _dump({"requests": requests})


def read_batch(body: bytes, request: EmbeddingsRequest, model: str) -> Answer:
    """
    Read an answer of `batchEmbedContents`.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none, or not one for each input.
    """
    document = load_object(body)
    entries = document.get("embeddings")
    rows = [_values(entry, "values") for entry in (entries if isinstance(entries, list) else [])]
    usage = document.get("usageMetadata")
    return _answer(rows, request, model, read_gemini_usage(usage) if isinstance(usage, dict) else None)


def write_instances(request: EmbeddingsRequest, notes: Notes) -> bytes:
    """Write the body of Vertex AI's `predict`; the model is in the path."""
    task, title = _taken(request, _TASK), _taken(request, _TITLE)
    options: Json = {}
    if task:
        options["task_type"] = task
    if title:
        options["title"] = title
    _rest(request, notes)
    body: Json = {"instances": [{"content": words, **options} for words in request.inputs]}
    if request.dimensions is not None:
        body["parameters"] = {"outputDimensionality": request.dimensions}
    return _dump(body)


def read_predictions(body: bytes, request: EmbeddingsRequest, model: str) -> Answer:
    """
    Read an answer of `predict`.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none, or not one for each input.
    """
    entries = load_object(body).get("predictions")
    found = [_values(entry, "embeddings") for entry in (entries if isinstance(entries, list) else [])]
    counts = [_tokens(entry) for entry in found]
    known = [count for count in counts if count is not None]
    usage = UsageCounts(input_tokens=sum(known)) if known and len(known) == len(counts) else None
    return _answer([_values(entry, "values") for entry in found], request, model, usage)


def _answer(rows: list[Any], request: EmbeddingsRequest, model: str, usage: UsageCounts | None) -> Answer:
    vectors = read_vectors(rows)
    if len(vectors) != len(request.inputs):
        raise GatewayError(
            Reason.UPSTREAM_MALFORMED, "The provider's answer does not hold one embedding for each input."
        )
    written = write_openai_embeddings_answer(vectors, model, usage, request.encoding_format)
    return Answer(body=written, usage=usage)


def _tokens(entry: Any) -> int | None:
    statistics = _values(entry, "statistics")
    count = statistics.get("token_count") if isinstance(statistics, dict) else None
    if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count < 1 << 53:
        return None
    return int(count)


def _values(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else None


def _taken(request: EmbeddingsRequest, names: tuple[str, ...]) -> str:
    """Take a member of Google's out of those that OpenAI does not have."""
    for name in names:
        value = request.extra.pop(name, None)
        if value is not None and not isinstance(value, str):
            invalid(name, "must be a string")
        if value:
            return value
    return ""


def _rest(request: EmbeddingsRequest, notes: Notes) -> None:
    if request.user:
        notes.dropped("user")
    for name in request.extra:
        notes.dropped(name)


def _dump(body: Json) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        invalid("input", "holds text that is not valid")
