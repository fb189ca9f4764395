"""
Reads content parts of chat messages: text, images, sound, film and files.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final
from urllib.parse import urlsplit

from services.providers.dialects.neutral.conversation import (
    CacheMark,
    MediaKind,
    MediaPart,
    RefusalPart,
    TextPart,
)
from services.providers.dialects.neutral.fields import get_dict, get_str, need_dict, need_str
from services.providers.dialects.neutral.notes import invalid

__all__ = ["AUDIO_FORMATS", "MEDIA_TYPES", "cache_mark", "media_from", "read_content", "split_data_uri"]

ContentPart = TextPart | MediaPart | RefusalPart

_DATA_URI: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_TTLS: Final = ("5m", "1h")
_PDF: Final = "application/pdf"
_PLAIN: Final = "text/plain"
# OpenAI's names of sound formats, where they are not the second half of the media type.
AUDIO_FORMATS: Final = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
# For files that come without a media type: by the end of their name.
MEDIA_TYPES: Final = {
    "pdf": _PDF,
    "txt": _PLAIN,
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_KINDS: Final[dict[str, MediaKind]] = {"image": "image", "audio": "audio", "video": "video"}
_URL_PARTS: Final[dict[str, MediaKind]] = {
    "image_url": "image",
    "video_url": "video",
    "audio_url": "audio",
}


def read_content(content: Any, path: str, *, media: bool = True) -> list[ContentPart]:
    """
    Read the content of a message: a string, a list of parts, or nothing.

    Args:
        content: As the client sent it.
        path: Where it stands in the request, for errors.
        media: Parts other than text are allowed here.

    Raises:
        GatewayError: INVALID_REQUEST for what is no content.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if not isinstance(content, list):
        invalid(path, "must be a string or a list of parts")
    parts = []
    for index, entry in enumerate(content):
        where = f"{path}[{index}]"
        part = _part(need_dict(entry, where), where, media=media)
        if part is not None:
            parts.append(part)
    return parts


def cache_mark(source: dict[str, Any], path: str) -> CacheMark | None:
    """Read `cache_control`, or OpenAI's own `prompt_cache_breakpoint`, of a part, message or tool."""
    mark = source.get("cache_control")
    if not isinstance(mark, dict):
        return CacheMark() if isinstance(source.get("prompt_cache_breakpoint"), dict) else None
    ttl = get_str(mark, "ttl", f"{path}.cache_control.") or ""
    if ttl and ttl not in _TTLS:
        invalid(f"{path}.cache_control.ttl", f"must be {' or '.join(_TTLS)}")
    return CacheMark(ttl=ttl)


def split_data_uri(uri: str, path: str) -> tuple[str, str]:
    """Take a data URI apart into media type and base64 text."""
    match = _DATA_URI.match(uri)
    if match is None or ";base64" not in match.group(2).lower():
        invalid(path, "must be a data URI in base64")
    data = uri[match.end() :]
    if not _decodable(data):
        invalid(path, "does not hold valid base64")
    media_type = match.group(1).strip().lower()
    return ("image/jpeg" if media_type == "image/jpg" else media_type), data


def media_from(value: str, path: str, *, kind: MediaKind, hint: str = "") -> MediaPart:
    """
    Make a part of a data URI or a URL.

    Args:
        value: The URI.
        path: Where it stands in the request, for errors.
        kind: What it is, unless its media type says otherwise.
        hint: Media type that the client states beside it.
    """
    if value[:5].lower() == "data:":
        media_type, data = split_data_uri(value, path)
        found = _kind_of(media_type, kind)
        if found == "document" and media_type == _PLAIN:
            return MediaPart(kind=found, media_type=media_type, text=_plain_text(data, path))
        return MediaPart(kind=found, media_type=media_type or hint, data=data)
    url_path = _url_path(value, path).lower()
    if url_path.endswith(".pdf"):
        return MediaPart(kind="document", media_type=_PDF, url=value)
    return MediaPart(kind=_kind_of(hint, kind), media_type=hint, url=value)


def _part(part: dict[str, Any], path: str, *, media: bool) -> ContentPart | None:
    kind = need_str(part, "type", path + ".")
    if kind == "text":
        text = get_str(part, "text", path + ".")
        return TextPart(text=text, cache=cache_mark(part, path)) if text else None
    if kind == "refusal":
        refusal = get_str(part, "refusal", path + ".")
        return RefusalPart(text=refusal) if refusal else None
    found: MediaPart | None = None
    if media and kind in _URL_PARTS:
        found = _by_url(part, kind, path)
    elif media and kind == "input_audio":
        found = _audio(part, path)
    elif media and kind == "file":
        found = _file(part, path)
    if found is None:
        invalid(f"{path}.type", f"is not a part that is allowed here: {kind[:40]!r}")
    found.cache = cache_mark(part, path)
    return found


def _by_url(part: dict[str, Any], kind: str, path: str) -> MediaPart:
    source = part.get(kind)
    path = f"{path}.{kind}"
    if isinstance(source, str):
        found = media_from(source, path, kind=_URL_PARTS[kind])
        found.path = path
        return found
    source = need_dict(source, path)
    url = need_str(source, "url", path + ".")
    detail = get_str(source, "detail", path + ".")
    found = media_from(url, path, kind=_URL_PARTS[kind], hint=get_str(source, "format", path + ".") or "")
    found.detail = detail or ""
    found.path = path
    return found


def _audio(part: dict[str, Any], path: str) -> MediaPart:
    path = f"{path}.input_audio"
    audio = need_dict(part.get("input_audio"), path)
    data = need_str(audio, "data", path + ".")
    name = need_str(audio, "format", path + ".").lower()
    if data[:5].lower() == "data:":
        _, data = split_data_uri(data, f"{path}.data")
    elif not _decodable(data):
        invalid(f"{path}.data", "does not hold valid base64")
    return MediaPart(kind="audio", media_type=f"audio/{name}", data=data, path=path)


def _file(part: dict[str, Any], path: str) -> MediaPart:
    file = get_dict(part, "file", path + ".") or {}
    path = f"{path}.file"
    name = get_str(file, "filename", path + ".") or ""
    hint = get_str(file, "format", path + ".") or ""
    file_id = get_str(file, "file_id", path + ".")
    if file_id:
        where = f"{path}.file_id"
        return MediaPart(kind="document", media_type=hint, file_id=file_id, name=name, path=where)
    value = need_str(file, "file_data", path + ".")
    path = f"{path}.file_data"
    hint = hint or MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "")
    if value[:5].lower() == "data:" or "://" in value[:16]:
        found = media_from(value, path, kind="document", hint=hint)
    elif _decodable(value) and hint == _PLAIN:
        found = MediaPart(kind="document", media_type=hint, text=_plain_text(value, path))
    elif _decodable(value):
        found = MediaPart(kind=_kind_of(hint, "document"), media_type=hint, data=value)
    else:
        invalid(path, "must be a data URI, a URL or base64")
    found.name = name
    found.path = path
    return found


def _kind_of(media_type: str, kind: MediaKind) -> MediaKind:
    if not media_type:
        return kind
    return _KINDS.get(media_type.partition("/")[0], "document")


def _decodable(data: str) -> bool:
    try:
        return bool(data) and bool(binascii.a2b_base64(data))
    except ValueError:
        return False


def _plain_text(data: str, path: str) -> str:
    try:
        text = base64.b64decode(data).decode("utf-8")
    except ValueError:
        invalid(path, "must hold UTF-8 text in base64")
    return text


def _url_path(url: str, path: str) -> str:
    """Check that it is a URL with a scheme and a place, and return its path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        invalid(path, "is not a valid URL")
    if not parts.scheme or not parts.netloc:
        invalid(path, "must be a data URI or a URL")
    return parts.path
