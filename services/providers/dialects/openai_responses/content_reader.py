"""
Reads the content of messages and of tool results: text, images, files.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from services.providers.dialects.neutral.conversation import MediaPart, RefusalPart, TextPart
from services.providers.dialects.neutral.fields import get_dict, get_list, get_str, need_dict, need_str
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.openai_chat.part_reader import MEDIA_TYPES, cache_mark, media_from
from services.providers.dialects.openai_responses.citations import nested_citation

__all__ = ["read_content"]

_TEXT_KINDS: Final = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})

Content = list[TextPart | MediaPart | RefusalPart]


def read_content(value: Any, path: str) -> Content:
    """
    Read content that is a string or a list of parts.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if isinstance(value, str):
        return [TextPart(text=value)] if value else []
    if value is None:
        return []
    if not isinstance(value, list):
        invalid(path, "must be a string or a list")
    parts: Content = []
    for at, entry in enumerate(value):
        where = f"{path}[{at}]"
        part = _part(need_dict(entry, where), where)
        if isinstance(part, MediaPart) or part.text:
            parts.append(part)
    return parts


def _part(part: dict[str, Any], path: str) -> TextPart | MediaPart | RefusalPart:
    kind = need_str(part, "type", f"{path}.")
    if kind in _TEXT_KINDS:
        return TextPart(
            text=get_str(part, "text", f"{path}.") or "",
            cache=cache_mark(part, path),
            citations=[
                nested_citation(one)
                for one in get_list(part, "annotations", f"{path}.")
                if isinstance(one, dict)
            ],
        )
    if kind == "refusal":
        return RefusalPart(text=get_str(part, "refusal", f"{path}.") or "")
    match kind:
        case "input_image":
            media = _image(part, path)
        case "input_file":
            media = _file(part, path)
        case "input_audio":
            media = _audio(part, path)
        case _:
            invalid(f"{path}.type", "is not a kind of content that is known")
    media.cache = cache_mark(part, path)
    return media


def _image(part: dict[str, Any], path: str) -> MediaPart:
    url, file_id = get_str(part, "image_url", f"{path}."), get_str(part, "file_id", f"{path}.")
    if url:
        media = media_from(url, f"{path}.image_url", kind="image")
    elif file_id:
        media = MediaPart(kind="image", file_id=file_id)
    else:
        invalid(f"{path}.image_url", "must be a non-empty string")
    media.detail = get_str(part, "detail", f"{path}.") or ""
    return media


def _file(part: dict[str, Any], path: str) -> MediaPart:
    name = get_str(part, "filename", f"{path}.") or ""
    data, url = get_str(part, "file_data", f"{path}."), get_str(part, "file_url", f"{path}.")
    file_id = get_str(part, "file_id", f"{path}.")
    hint = MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "")
    if data:
        media = _from_data(data, hint, f"{path}.file_data")
    elif url:
        media = media_from(url, f"{path}.file_url", kind="document", hint=hint)
    elif file_id:
        media = MediaPart(kind="document", file_id=file_id)
    else:
        invalid(f"{path}.file_data", "must be a non-empty string")
    media.name = name
    media.detail = get_str(part, "detail", f"{path}.") or ""
    return media


def _from_data(data: str, hint: str, path: str) -> MediaPart:
    """Read a data URI, or base64 alone, which is of the type that the file's name tells."""
    if data[:5].lower() == "data:":
        return media_from(data, path, kind="document", hint=hint)
    _check_base64(data, path)
    return media_from(f"data:{hint or 'application/pdf'};base64,{data}", path, kind="document")


def _audio(part: dict[str, Any], path: str) -> MediaPart:
    audio = get_dict(part, "input_audio", f"{path}.") or {}
    where = f"{path}.input_audio"
    form = need_str(audio, "format", f"{where}.").lower()
    data = need_str(audio, "data", f"{where}.")
    _check_base64(data, f"{where}.data")
    return MediaPart(kind="audio", media_type=f"audio/{form}", data=data)


def _check_base64(data: str, path: str) -> None:
    try:
        base64.b64decode(data)
    except (binascii.Error, ValueError):
        invalid(path, "does not hold valid base64")
