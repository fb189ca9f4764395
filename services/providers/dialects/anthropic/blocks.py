"""
Text and media of messages as content blocks.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.notes import invalid, unsupported

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import CacheMark, MediaPart
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["Block", "cache_control", "media_block", "text_block"]

Block = dict[str, Any]

_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF: Final = "application/pdf"
_PLAIN: Final = "text/plain"
# What servers say of a file of which they know nothing; Anthropic looks at the file itself.
_ANY_TYPE: Final = "application/octet-stream"
_PDF_BEGINS: Final = "JVBER"  # `%PDF` in base64
_SCHEMES: Final = ("https://", "http://")


def text_block(value: str) -> Block | None:
    """Make a text block; None for a text that Anthropic would refuse as empty."""
    return {"type": "text", "text": value} if value.strip() else None


def cache_control(mark: CacheMark) -> dict[str, str]:
    """Write a cache mark."""
    return {"type": "ephemeral", "ttl": mark.ttl} if mark.ttl else {"type": "ephemeral"}


def media_block(part: MediaPart, path: str, notes: Notes) -> Block:
    """
    Make the block of an image or a document.

    Args:
        part: What to show.
        path: Where its message stands, for errors about a part that does not say where it stands.
        notes: Where changes are recorded.

    Raises:
        GatewayError: UNSUPPORTED for any other medium or form; INVALID_REQUEST when there is nothing in it.
    """
    path = part.path or path
    if part.kind == "image":
        block: Block = {"type": "image", "source": _image_source(part, path)}
    elif part.kind == "document":
        block = {"type": "document", "source": _document_source(part, path)}
        if part.name:
            block["title"] = part.name
    else:
        unsupported(path, f"is not supported: this provider takes no {part.kind}")
    if part.detail not in {"", "auto"}:
        notes.dropped("messages.detail")
    return block


def _image_source(part: MediaPart, path: str) -> Block:
    if not part.data:
        return _elsewhere(part, path)
    media_type = _media_type(part)
    if media_type not in _IMAGE_TYPES:
        unsupported(path, "must be image/jpeg, image/png, image/gif or image/webp for this provider")
    return {"type": "base64", "media_type": media_type, "data": part.data}


def _document_source(part: MediaPart, path: str) -> Block:
    if part.text:
        return _plain_text(part.text)
    media_type = _media_type(part)
    unknown = media_type in {"", _ANY_TYPE}
    if not part.data and (not part.url or unknown or media_type == _PDF):
        return _elsewhere(part, path)
    if part.data and media_type == _PLAIN:
        return _plain_text(_decoded(part.data, path))
    if not part.data or not (media_type == _PDF or (unknown and part.data.startswith(_PDF_BEGINS))):
        unsupported(path, "must be application/pdf or text/plain for this provider")
    return {"type": "base64", "media_type": _PDF, "data": part.data}


def _elsewhere(part: MediaPart, path: str) -> Block:
    """Make the source of what does not lie in the request."""
    if part.file_id:
        unsupported(path, "is not supported: the file is at another provider")
    if not part.url:
        invalid(path, f"holds no {part.kind}")
    if not part.url.lower().startswith(_SCHEMES):
        unsupported(path, "must be the data itself or an http(s) URL for this provider")
    return {"type": "url", "url": part.url}


def _media_type(part: MediaPart) -> str:
    media_type = part.media_type.partition(";")[0].strip().lower()
    return "image/jpeg" if media_type == "image/jpg" else media_type


def _plain_text(value: str) -> Block:
    return {"type": "text", "media_type": _PLAIN, "data": value}


def _decoded(data: str, path: str) -> str:
    try:
        value = base64.b64decode(data).decode("utf-8")
    except ValueError:
        invalid(path, "must hold UTF-8 text in base64")
    return value
