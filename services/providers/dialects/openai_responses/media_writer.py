"""
Writes media as parts of a response's input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.notes import unsupported

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import MediaPart

__all__ = ["media_part"]

Json = dict[str, Any]
_WEB: Final = ("http://", "https://")
_DETAILS: Final = ("low", "high", "auto", "original")
_ENDINGS: Final = {"application/pdf": "pdf", "text/plain": "txt", "text/csv": "csv", "text/html": "html"}
_PDF: Final = "application/pdf"


def media_part(part: MediaPart, path: str) -> Json:
    """
    Write media.

    Args:
        part: What to write.
        path: Of the message, for errors.

    Raises:
        GatewayError: UNSUPPORTED, naming the message; responses have no place for it.
    """
    if part.kind == "image":
        return _image(part, path)
    if part.kind != "document":
        unsupported(path or "messages", f"holds {part.kind}, which OpenAI's responses do not take")
    return _document(part, path)


def _image(part: MediaPart, path: str) -> Json:
    written: Json = {
        "type": "input_image",
        "detail": part.detail if part.detail in _DETAILS else "auto",
    }
    if part.file_id:
        return {**written, "file_id": part.file_id}
    return {**written, "image_url": _address(part, path, "image/png")}


def _document(part: MediaPart, path: str) -> Json:
    if part.text:
        return {"type": "input_text", "text": f"{part.name}\n\n{part.text}" if part.name else part.text}
    written: Json = {"type": "input_file"}
    if part.detail in _DETAILS[:3]:
        written["detail"] = part.detail
    if part.file_id:
        return {**written, "file_id": part.file_id}
    if not part.data:
        return {**written, "file_url": _address(part, path, _PDF)}
    name = part.name or f"document.{_ENDINGS.get(part.media_type, 'pdf')}"
    return {**written, "filename": name, "file_data": _address(part, path, _PDF)}


def _address(part: MediaPart, path: str, usual: str) -> str:
    """Write where something is: on the web, or in the address itself."""
    if part.data:
        return f"data:{part.media_type or usual};base64,{part.data}"
    if not part.url.lower().startswith(_WEB):
        unsupported(path or "messages", "refers to a file that this provider cannot get")
    return part.url
