"""
The common shape of rerank requests, which is Cohere's own but for a few members, and the answer back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import Answer, load_object
from services.providers.dialects.cohere.usage import read_billed
from services.providers.dialects.neutral.fields import (
    dump_body,
    get_bool,
    get_int,
    get_list,
    load_body,
    need_str,
)
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.openai_chat.same import with_model

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["RerankRequest", "prepare_request", "read_answer"]

# Members that other providers of the shape have and Cohere refuses.
_FOREIGN: Final = ("max_chunks_per_doc", "overlap_tokens", "rank_fields", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """
    A request on its way.

    Attributes:
        body: To be sent.
        documents: As the client gave them, when it wants them back.
        count: How many there are.
    """

    body: bytes
    count: int
    documents: list[Any] = field(default_factory=list)


def prepare_request(body: bytes, model: str, notes: Notes) -> RerankRequest:
    """
    Write a request.

    Raises:
        GatewayError: INVALID_REQUEST when it is none; UNSUPPORTED, in strict mode.
    """
    document = load_body(body)
    need_str(document, "query")
    documents = get_list(document, "documents")
    if not documents:
        invalid("documents", "must be a list with at least one document")
    top_n = get_int(document, "top_n")
    if top_n is not None and top_n < 1:
        invalid("top_n", "must be at least 1")
    wanted = bool(get_bool(document, "return_documents"))
    written = {**document, "model": model}
    written.pop("return_documents", None)
    written["documents"] = [_text(item, index, notes) for index, item in enumerate(documents)]
    if top_n is not None:
        # As many as there are is what asking for more means.
        written["top_n"] = min(top_n, len(documents))
    for name in _FOREIGN:
        if written.pop(name, None) is not None:
            notes.dropped(name)
    same = written == {**document, "model": model}
    return RerankRequest(
        body=with_model(body, document, model) if same else dump_body(written),
        count=len(documents),
        documents=documents if wanted else [],
    )


def _text(item: Any, index: int, notes: Notes) -> str:
    """Take a document as text, which is all that Cohere ranks."""
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        invalid(f"documents.{index}", "must be a string or an object")
    if set(item) == {"text"} and isinstance(item["text"], str):
        return item["text"]
    notes.emulated("documents")
    return dump_body(item).decode()


def read_answer(body: bytes, request: RerankRequest) -> Answer:
    """
    Read an answer: the best first, each with its document when those are wanted back.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
    """
    document = load_object(body)
    results = document.get("results")
    if not isinstance(results, list) or not all(_is_result(entry, request.count) for entry in results):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds no ranking.")
    ordered = sorted(results, key=lambda entry: -entry["relevance_score"])
    usage = read_billed(document.get("meta"))
    if ordered == results and not request.documents:
        return Answer(body=body, usage=usage)
    if request.documents:
        for entry in ordered:
            given = request.documents[entry["index"]]
            entry["document"] = {"text": given} if isinstance(given, str) else given
    document["results"] = ordered
    try:
        written = orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer nests too deeply.") from error
    return Answer(body=written, usage=usage)


def _is_result(entry: Any, count: int) -> bool:
    if not isinstance(entry, dict):
        return False
    index, score = entry.get("index"), entry.get("relevance_score")
    return (
        isinstance(index, int)
        and not isinstance(index, bool)
        and 0 <= index < count
        and isinstance(score, int | float)
        and not isinstance(score, bool)
    )
