"""
Reads content blocks that hold something to look at: text, images, documents, results of searches.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.anthropic.citations import annotation_of
from services.providers.dialects.neutral.conversation import CacheMark, MediaPart, TextPart
from services.providers.dialects.neutral.fields import get_list, get_str, need_dict, need_str
from services.providers.dialects.neutral.notes import invalid, unsupported

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import MediaKind
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["ContentPart", "cache_mark", "drop_members", "read_block", "read_content"]

ContentPart = TextPart | MediaPart

_TTLS: Final = ("5m", "1h")
_PLAIN: Final = "text/plain"
_PDF: Final = "application/pdf"
# Members of a block that ask for something that only Anthropic has.
_ONLY_HERE: Final = ("citations", "context", "transformations")


def read_content(content: Any, path: str, notes: Notes) -> list[ContentPart]:
    """
    Read content that may hold nothing but text and media: of the system, or of a tool's result.

    Args:
        content: A string, a list of blocks, or nothing.
        path: Where it stands in the request.
        notes: What was dropped or emulated.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the block at fault.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if not isinstance(content, list):
        invalid(path, "must be a string or a list of blocks")
    parts: list[ContentPart] = []
    for index, entry in enumerate(content):
        where = f"{path}.{index}"
        block = need_dict(entry, where)
        found = read_block(block, where, notes)
        if found is None:
            unsupported(f"{where}.type", "is not a block that this provider takes here")
        parts += found
    return parts


def cache_mark(source: dict[str, Any], path: str) -> CacheMark | None:
    """Read `cache_control` of a block or tool; `path` ends in a dot, unless it is empty."""
    mark = source.get("cache_control")
    if mark is None:
        return None
    path += "cache_control"
    ttl = get_str(need_dict(mark, path), "ttl", path + ".") or ""
    if ttl and ttl not in _TTLS:
        invalid(f"{path}.ttl", f"must be {' or '.join(_TTLS)}")
    return CacheMark(ttl=ttl)


def drop_members(source: dict[str, Any], names: tuple[str, ...], path: str, notes: Notes) -> None:
    """Report members that nobody takes, unless they ask for nothing."""
    for name in names:
        value = source.get(name)
        if value and value not in ({"enabled": False}, ["direct"]):
            notes.dropped(f"{path}.{name}")


def read_block(block: dict[str, Any], path: str, notes: Notes, *, start: int = 0) -> list[ContentPart] | None:
    """
    Read one block; None when it is of another kind.

    Args:
        block: As it came.
        path: Where it stands in the request.
        notes: What was dropped or emulated.
        start: How many characters of text the message has before it, for citations.
    """
    kind = need_str(block, "type", path + ".")
    found: list[ContentPart]
    match kind:
        case "text":
            found = _text(block, path, start, notes)
        case "image":
            found = [_media(block, path, "image")]
        case "document":
            found = _document(block, path, notes)
        case "search_result":
            found = _search_result(block, path, notes)
        case _:
            return None
    if kind != "text":
        drop_members(block, _ONLY_HERE, "messages.content", notes)
    mark = cache_mark(block, path + ".")
    if mark is not None and found:
        found[-1].cache = mark
    return found


def _text(block: dict[str, Any], path: str, start: int, notes: Notes) -> list[ContentPart]:
    text = get_str(block, "text", path + ".")
    if text is None:
        invalid(f"{path}.text", "must be a string")
    citations = []
    for entry in get_list(block, "citations", path + "."):
        annotation = annotation_of(entry, start, start + len(text))
        if annotation is None:
            notes.dropped("messages.content.citations")
        else:
            citations.append(annotation)
    return [TextPart(text=text, citations=citations)] if text else []


def _media(block: dict[str, Any], path: str, kind: MediaKind) -> MediaPart:
    """Read an image or a document by its source; plain text and blocks are none of these."""
    path += ".source"
    source = need_dict(block.get("source"), path)
    form = need_str(source, "type", path + ".")
    if form == "base64":
        fallback = _PDF if kind == "document" else ""
        media_type = (get_str(source, "media_type", path + ".") or fallback).strip().lower()
        data = _base64(need_str(source, "data", path + "."), f"{path}.data")
        if not media_type:
            invalid(f"{path}.media_type", "must be a non-empty string")
        return MediaPart(kind=kind, media_type=media_type.replace("image/jpg", "image/jpeg"), data=data)
    if form == "url":
        return _by_url(need_str(source, "url", path + "."), f"{path}.url", kind)
    if form != "file":
        invalid(f"{path}.type", "is not a source that is allowed here")
    return MediaPart(kind=kind, file_id=need_str(source, "file_id", path + "."))


def _by_url(url: str, path: str, kind: MediaKind) -> MediaPart:
    if url[:5].lower() == "data:":
        head, comma, data = url[5:].partition(",")
        if not comma or not head.lower().endswith(";base64"):
            invalid(path, "must be a data URI in base64")
        media_type = head.partition(";")[0].strip().lower()
        return MediaPart(kind=kind, media_type=media_type, data=_base64(data, path))
    if "://" not in url:
        invalid(path, "must be a URL")
    return MediaPart(kind=kind, media_type=_PDF if kind == "document" else "", url=url)


def _document(block: dict[str, Any], path: str, notes: Notes) -> list[ContentPart]:
    title = get_str(block, "title", path + ".") or ""
    source = need_dict(block.get("source"), f"{path}.source")
    match source.get("type"):
        case "text":
            text = need_str(source, "data", f"{path}.source.")
            return [MediaPart(kind="document", media_type=_PLAIN, text=text, name=title)]
        case "content":
            return _blocks(source.get("content"), f"{path}.source.content", title, notes)
        case _:
            found = _media(block, path, "document")
            if found.media_type == _PLAIN and found.data:
                found.text, found.data = _decoded(found.data, f"{path}.source.data"), ""
            found.name = title
            return [found]


def _blocks(content: Any, path: str, title: str, notes: Notes) -> list[ContentPart]:
    """Read a document that is a list of blocks: text alone stays one, with images it comes apart."""
    parts = read_content(content, path, notes)
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) == len(parts):
        return [MediaPart(kind="document", media_type=_PLAIN, text="\n".join(texts), name=title)]
    notes.emulated("messages.content.document")
    return [TextPart(text=title), *parts] if title else parts


def _search_result(block: dict[str, Any], path: str, notes: Notes) -> list[ContentPart]:
    """Read what a search of the client's found. Others know no such block, but they can read it."""
    parts = read_content(block.get("content"), f"{path}.content", notes)
    head = (get_str(block, "title", path + "."), get_str(block, "source", path + "."))
    lines = [line for line in head if line] + [part.text for part in parts if isinstance(part, TextPart)]
    notes.emulated("messages.content.search_result")
    return [TextPart(text="\n".join(lines))] if lines else []


def _base64(data: str, path: str) -> str:
    try:
        valid = bool(binascii.a2b_base64(data))
    except ValueError:
        valid = False
    if not valid:
        invalid(path, "does not hold valid base64")
    return data


def _decoded(data: str, path: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8")
    except ValueError:
        invalid(path, "must hold UTF-8 text in base64")
