"""
Citations of web pages, between Anthropic's shape and that of OpenAI's annotations.

What only Anthropic needs back, the encrypted index and the cited words, stays beside the address. Citations
of documents have no counterpart; the text that they stand on is whole without them.
"""

from __future__ import annotations

from typing import Any

from services.providers.dialects.answer import text

__all__ = ["annotation_of", "citation_of"]

_WEB = "web_search_result_location"
_SEARCH = "search_result_location"
_SCHEMES = ("https://", "http://")


def annotation_of(citation: Any, start: int, end: int) -> dict[str, Any] | None:
    """
    Write a citation as an annotation; None when it is not one of a web page.

    Args:
        citation: As it came.
        start: Where in the whole text the cited block begins, in characters.
        end: Where it ends.
    """
    if not isinstance(citation, dict):
        return None
    kind = citation.get("type")
    url = text(citation.get("url" if kind == _WEB else "source"))
    if kind not in {_WEB, _SEARCH} or not url.startswith(_SCHEMES):
        return None
    found: dict[str, Any] = {
        "url": url,
        "title": text(citation.get("title")),
        "start_index": start,
        "end_index": end,
    }
    for name in ("cited_text", "encrypted_index"):
        if text(citation.get(name)):
            found[name] = citation[name]
    return {"type": "url_citation", "url_citation": found}


def citation_of(annotation: Any) -> dict[str, Any] | None:
    """Write an annotation as a citation; None when it is not one of a web page."""
    if not isinstance(annotation, dict) or annotation.get("type") != "url_citation":
        return None
    # OpenAI's responses have the members beside the type, chat completions below it.
    found = annotation.get("url_citation")
    if not isinstance(found, dict):
        found = annotation
    url = text(found.get("url"))
    if not url:
        return None
    return {
        "type": _WEB,
        "url": url,
        "title": text(found.get("title")) or None,
        "cited_text": text(found.get("cited_text")),
        "encrypted_index": text(found.get("encrypted_index")),
    }
