"""Parts of messages as content blocks of Converse."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.conversation import TextPart
from services.providers.dialects.neutral.notes import invalid, unsupported

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import CacheMark, MediaKind, MediaPart

__all__ = ["Block", "DocumentNames", "cache_point", "content_block", "media_block", "text_block"]

Block = dict[str, Any]

_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_VIDEOS: Final = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_SOUNDS: Final = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/mp4": "mp4",
    "audio/webm": "webm",
    "audio/pcm": "pcm",
}
_FORMATS: Final[dict[MediaKind, dict[str, str]]] = {
    "image": _IMAGES,
    "document": _DOCUMENTS,
    "video": _VIDEOS,
    "audio": _SOUNDS,
}
_EXTENSIONS: Final = {"jpg": "jpeg", "htm": "html", "markdown": "md", "text": "txt", "3gp": "three_gp"}
# How the files begin, in base64, for clients that do not say what they send.
_BEGINNINGS: Final = {
    "iVBORw0KGgo": "png",
    "/9j/": "jpeg",
    "R0lGOD": "gif",
    "UklGR": "webp",
    "JVBERi0": "pdf",
}
_NAME_UNSAFE: Final = re.compile(r"[^A-Za-z0-9\-()\[\]]+")
_MAX_NAME_CHARS: Final = 200
_MAX_DOCUMENT_BYTES: Final = 4_500_000
_MAX_DOCUMENTS: Final = 5
_NAME_ROOM: Final = 180  # leaves room for what makes a name the only one of its kind


class DocumentNames:
    """Gives documents names that Converse takes, each once in a request, and counts them."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def fit(self, name: str, path: str) -> str:
        """
        Return the name for the next document.

        Raises:
            GatewayError: UNSUPPORTED; it is one too many.
        """
        if len(self._taken) >= _MAX_DOCUMENTS:
            unsupported(path, f"holds more than the {_MAX_DOCUMENTS} documents that this provider takes")
        stem = _NAME_UNSAFE.sub(" ", name.rpartition("/")[2]).strip()[:_NAME_ROOM].strip() or "document"
        candidate, count = stem, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{stem} ({count})"
        self._taken.add(candidate)
        return candidate[:_MAX_NAME_CHARS]


def text_block(text: str) -> Block | None:
    """Make a text block; None for a text that Converse refuses as blank."""
    return {"text": text} if text.strip() else None


def content_block(part: TextPart | MediaPart, path: str, names: DocumentNames) -> Block | None:
    """Make the block of a part that users and tools may send; None when there is nothing in it."""
    return text_block(part.text) if isinstance(part, TextPart) else media_block(part, path, names)


def media_block(part: MediaPart, path: str, names: DocumentNames) -> Block:
    """
    Make the block of an image, a document, sound or film.

    Raises:
        GatewayError: UNSUPPORTED for what lies elsewhere or has a format that Converse does not know.
    """
    if part.kind == "document" and part.text:
        source: Block = {"bytes": base64.b64encode(part.text.encode("utf-8", "replace")).decode()}
        return {"document": {"format": "txt", "name": names.fit(part.name, path), "source": source}}
    source = _source(part, path)
    block = {"format": _format(part, path), "source": source}
    if part.kind == "document":
        block["name"] = names.fit(part.name, path)
    return {part.kind: block}


def cache_point(mark: CacheMark) -> Block:
    """Make the element that stands after what is to be kept."""
    return {"cachePoint": {"type": "default", "ttl": "1h"} if mark.ttl == "1h" else {"type": "default"}}


def _source(part: MediaPart, path: str) -> Block:
    if part.data:
        _check_size(part, path)
        return {"bytes": part.data}
    if part.url[:5].lower() == "s3://":
        return {"s3Location": {"uri": part.url}}
    if part.file_id:
        unsupported(path, "names a file that is at another provider")
    if not part.url:
        invalid(path, f"holds no {part.kind}")
    return unsupported(path, f"must hold the {part.kind} itself: this provider fetches no URL but s3://")


def _check_size(part: MediaPart, path: str) -> None:
    """Refuse a document that Converse refuses. The newer models read longer PDFs than its general limit."""
    if (
        part.kind == "document"
        and "pdf" not in part.media_type
        and len(part.data) > _MAX_DOCUMENT_BYTES * 4 // 3 + 4
    ):
        unsupported(path, "holds a document of more than 4.5 MB, which is the most that this provider takes")


def _format(part: MediaPart, path: str) -> str:
    known = _FORMATS[part.kind]
    media_type = part.media_type.partition(";")[0].strip().lower()
    found = known.get("image/jpeg" if media_type == "image/jpg" else media_type, "")
    if not found and media_type in {"", "application/octet-stream", "text/plain"}:
        extension = (part.name or part.url).rpartition(".")[2].lower()
        found = _EXTENSIONS.get(extension, extension)
        if found not in known.values():
            found = next((kind for start, kind in _BEGINNINGS.items() if part.data.startswith(start)), "")
    if found not in known.values():
        unsupported(path, f"must be one of {', '.join(sorted(set(known.values())))} for this provider")
    return found
