"""
OpenAI's embeddings in Cohere's API, and the answer back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import Answer, load_object, text
from services.providers.dialects.cohere.usage import read_billed
from services.providers.dialects.embeddings import read_vectors, write_openai_embeddings_answer
from services.providers.dialects.neutral.fields import dump_body, get_str
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.embeddings import EmbeddingsRequest, EncodingFormat
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_answer", "write_request"]

_MOST_INPUTS: Final = 96
# Models from the third version on demand to be told what a text is for; most texts are to be found later.
_INPUT_TYPE: Final = "search_document"
# Extensions of OpenAI's dialect that are taken: members of Cohere's own.
_OWN: Final = ("max_tokens", "priority", "truncate")


def write_request(request: EmbeddingsRequest, model: str, notes: Notes) -> bytes:
    """
    Write a request.

    Raises:
        GatewayError: INVALID_REQUEST for more texts than Cohere takes; UNSUPPORTED, in strict mode.
    """
    if len(request.inputs) > _MOST_INPUTS:
        invalid("input", f"may hold at most {_MOST_INPUTS} texts for Cohere")
    body: dict[str, Any] = {
        "model": model,
        "texts": request.inputs,
        "input_type": get_str(request.extra, "input_type") or _INPUT_TYPE,
        "embedding_types": [request.encoding_format],
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    for name in _OWN:
        if name in request.extra:
            body[name] = request.extra[name]
    if request.user:
        notes.dropped("user")
    for name in request.extra:
        if name != "input_type" and name not in _OWN:
            notes.dropped(name)
    return dump_body(body)


def read_answer(body: bytes, *, model: str, inputs: int, encoding_format: EncodingFormat) -> Answer:
    """
    Translate an answer.

    Args:
        body: The provider's.
        model: As it was asked for; Cohere does not repeat it.
        inputs: How many texts were sent.
        encoding_format: How the client wants each vector.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
    """
    document = load_object(body)
    held = document.get("embeddings")
    # One list for each type that was asked for; a list alone is how the first version answers.
    by_type = held if isinstance(held, dict) else {"float": held}
    vectors: list[Any] | None = _texts(by_type.get("base64")) if encoding_format == "base64" else None
    if vectors is None:
        vectors = read_vectors(by_type.get("float"))
    if len(vectors) != inputs:
        raise GatewayError(
            Reason.UPSTREAM_MALFORMED,
            "The provider's answer holds another number of embeddings than asked for.",
        )
    usage = read_billed(document.get("meta"))
    written = write_openai_embeddings_answer(vectors, model, usage, encoding_format)
    return Answer(body=written, usage=usage, served_model=text(document.get("model")))


def _texts(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) and all(isinstance(entry, str) for entry in value) else None
