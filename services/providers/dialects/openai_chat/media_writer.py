"""
Writes texts and media as content parts of chat messages.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.notes import unsupported
from services.providers.dialects.openai_chat.part_reader import AUDIO_FORMATS

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import CacheMark, MediaPart, TextPart
    from services.providers.dialects.openai_chat.quirks import ChatQuirks

__all__ = ["cache_control", "image_part", "media_part", "short", "text_part"]

Json = dict[str, Any]
_WEB: Final = ("http://", "https://")
_ENDINGS: Final = {"application/pdf": "pdf", "text/plain": "txt", "text/csv": "csv", "text/html": "html"}


def text_part(part: TextPart, quirks: ChatQuirks) -> Json:
    """Write text as a part."""
    return {"type": "text", "text": part.text} | cache_control(part.cache, quirks)


def cache_control(mark: CacheMark | None, quirks: ChatQuirks) -> Json:
    """Write a mark as the member that goes beside what it marks."""
    if mark is None or not quirks.cache_marks:
        return {}
    return {"cache_control": {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl else {})}


def short(parts: list[Json], quirks: ChatQuirks) -> str | list[Json]:
    """Take a single text without its part, and several as one where the host reads no parts of text."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    if not quirks.text_parts and all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def media_part(part: MediaPart, path: str, quirks: ChatQuirks) -> Json:
    """
    Write media.

    Raises:
        GatewayError: UNSUPPORTED, naming the message; the host has no place for it.
    """
    match part.kind:
        case "image":
            written = image_part(part, path, quirks)
        case "document":
            written = _document(part, path, quirks)
        case "audio":
            written = _audio(part, path, quirks)
        case _:
            if not quirks.video:
                unsupported(path, "holds a film, which this provider does not watch")
            written = {"type": "video_url", "video_url": {"url": _address(part, path, "video/mp4")}}
    return written | cache_control(part.cache, quirks)


def image_part(part: MediaPart, path: str, quirks: ChatQuirks) -> Json:
    """
    Write an image.

    Raises:
        GatewayError: UNSUPPORTED, naming the message.
    """
    if not quirks.images:
        unsupported(path, "holds an image, which this provider does not read")
    image = {"url": _address(part, path, "image/png")}
    if part.detail:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _address(part: MediaPart, path: str, usual: str) -> str:
    """Write where something is: on the web, or in the address itself."""
    if part.data:
        return f"data:{part.media_type or usual};base64,{part.data}"
    if not part.url.lower().startswith(_WEB):
        unsupported(path, "refers to a file that this provider cannot get")
    return part.url


def _audio(part: MediaPart, path: str, quirks: ChatQuirks) -> Json:
    if not quirks.audio or not part.data:
        unsupported(path, "holds sound, which this provider does not hear in that form")
    media_type = part.media_type or "audio/wav"
    if quirks.audio == "text":
        return {"type": "input_audio", "input_audio": part.data}
    name = AUDIO_FORMATS.get(media_type, media_type.partition("/")[2])
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": name}}


def _document(part: MediaPart, path: str, quirks: ChatQuirks) -> Json:
    if part.text or (not quirks.files and _plain(part)):
        text = part.text or base64.b64decode(part.data).decode("utf-8", "replace")
        return {"type": "text", "text": f"{part.name}\n\n{text}" if part.name else text}
    if not quirks.files:
        unsupported(path, "holds a document, which this provider does not read")
    if part.file_id:
        return _by_id(part, path, quirks)
    if quirks.files == "document_url":
        written: Json = {"type": "document_url", "document_url": _address(part, path, "application/pdf")}
        return written | ({"document_name": part.name} if part.name else {})
    if part.url and quirks.files == "file":
        unsupported(path, "holds a document by its address, and this provider only takes its data")
    ending = _ENDINGS.get(part.media_type, "pdf")
    data = _address(part, path, "application/pdf")
    return {"type": "file", "file": {"filename": part.name or f"document.{ending}", "file_data": data}}


def _by_id(part: MediaPart, path: str, quirks: ChatQuirks) -> Json:
    if quirks.files != "file":
        unsupported(path, "refers to a file that this provider cannot get")
    file = {"file_id": part.file_id}
    return {"type": "file", "file": file | ({"filename": part.name} if part.name else {})}


def _plain(part: MediaPart) -> bool:
    return bool(part.data) and part.media_type.startswith("text/")
