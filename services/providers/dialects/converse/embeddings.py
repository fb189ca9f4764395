"""
Embeddings of the models at Bedrock, which have no shape in common: each maker's own is written and read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import load_object
from services.providers.dialects.converse.families import base_model
from services.providers.dialects.embeddings import read_vectors
from services.providers.dialects.neutral.fields import dump_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.embeddings import EmbeddingsRequest
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_embeddings", "write_embeddings_request"]

_COHERE_TEXTS: Final = 96
_NO_VECTORS: Final = "The provider's answer holds no embeddings."


def write_embeddings_request(request: EmbeddingsRequest, model: str, notes: Notes) -> bytes:
    """
    Write a request of InvokeModel.

    Args:
        request: Its `extra` is emptied of what a model of this maker takes; the rest is reported.
        model: In Bedrock's naming.
        notes: Where changes are recorded.

    Raises:
        GatewayError: UNSUPPORTED, naming the parameter.
    """
    name = base_model(model).lower()
    prefix = next((prefix for prefix in _WRITERS if name.startswith(prefix)), "")
    if not prefix:
        notes.refuse("model", "is no model for embeddings that is known at this provider")
    document = _WRITERS[prefix](request, notes)
    if request.user:
        notes.dropped("user")
    for extra in request.extra:
        notes.dropped(extra)
    return dump_body(document)


def read_embeddings(body: bytes) -> tuple[list[list[float]], int | None]:
    """
    Read an answer of any of the makers.

    Returns:
        The vectors in the order of the inputs, and the tokens of the input, where the body says them.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it holds no embeddings.
    """
    document = load_object(body)
    tokens = document.get("inputTextTokenCount")
    counted = tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None
    single, several = document.get("embedding"), document.get("embeddings")
    if single is not None:
        return read_vectors([single]), counted
    if isinstance(several, dict):  # Cohere's, by type
        several = several.get("float")
    if isinstance(several, list) and several and isinstance(several[0], dict):  # Nova's
        several = [entry.get("embedding") if isinstance(entry, dict) else None for entry in several]
    if not several:
        raise GatewayError(Reason.UPSTREAM_MALFORMED, _NO_VECTORS)
    return read_vectors(several), counted


def _only(request: EmbeddingsRequest, notes: Notes) -> str:
    if len(request.inputs) > 1:
        notes.refuse("input", "must be one string: this model embeds one text in a request")
    return request.inputs[0]


def _titan_text_1(request: EmbeddingsRequest, notes: Notes) -> dict[str, Any]:
    if request.dimensions is not None:
        notes.dropped("dimensions")
    return {"inputText": _only(request, notes)}


def _titan_text_2(request: EmbeddingsRequest, notes: Notes) -> dict[str, Any]:
    document: dict[str, Any] = {"inputText": _only(request, notes)}
    if request.dimensions is not None:
        document["dimensions"] = request.dimensions
    if isinstance(request.extra.get("normalize"), bool):
        document["normalize"] = request.extra.pop("normalize")
    return document


def _titan_image(request: EmbeddingsRequest, notes: Notes) -> dict[str, Any]:
    document: dict[str, Any] = {"inputText": _only(request, notes)}
    if request.dimensions is not None:
        document["embeddingConfig"] = {"outputEmbeddingLength": request.dimensions}
    return document


def _nova(request: EmbeddingsRequest, notes: Notes) -> dict[str, Any]:
    purpose = request.extra.get("embeddingPurpose")
    if isinstance(purpose, str):
        del request.extra["embeddingPurpose"]
    params: dict[str, Any] = {
        "embeddingPurpose": purpose if isinstance(purpose, str) else "GENERIC_INDEX",
        # Nothing is cut off unsaid: a text that is too long is an error.
        "text": {"truncationMode": "NONE", "value": _only(request, notes)},
    }
    if request.dimensions is not None:
        params["embeddingDimension"] = request.dimensions
    return {
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": params,
    }


def _cohere(request: EmbeddingsRequest, notes: Notes) -> dict[str, Any]:
    if len(request.inputs) > _COHERE_TEXTS:
        notes.refuse("input", f"may hold at most {_COHERE_TEXTS} texts for this provider")
    document: dict[str, Any] = {"texts": list(request.inputs), "input_type": "search_document"}
    for name in ("input_type", "truncate"):
        if isinstance(request.extra.get(name), str):
            document[name] = request.extra.pop(name)
    return document


def _cohere_3(request: EmbeddingsRequest, notes: Notes) -> dict[str, Any]:
    if request.dimensions is not None:
        notes.dropped("dimensions")
    return _cohere(request, notes)


def _cohere_4(request: EmbeddingsRequest, notes: Notes) -> dict[str, Any]:
    document = _cohere(request, notes)
    if request.dimensions is not None:
        document["output_dimension"] = request.dimensions
    return {**document, "embedding_types": ["float"]}


# The first that fits wins.
_WRITERS: Final[dict[str, Callable[[EmbeddingsRequest, Notes], dict[str, Any]]]] = {
    "amazon.titan-embed-text-v2": _titan_text_2,
    "amazon.titan-embed-image": _titan_image,
    "amazon.titan-embed": _titan_text_1,
    "amazon.nova-": _nova,
    "cohere.embed-v4": _cohere_4,
    "cohere.embed-": _cohere_3,
}
