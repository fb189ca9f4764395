"""
Reads single parts of a turn: text, media, results of functions.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.gemini.media import YOUTUBE, media_type_of
from services.providers.dialects.gemini.wire_names import camel, many, need_camel
from services.providers.dialects.neutral.conversation import MediaPart, TextPart
from services.providers.dialects.neutral.fields import get_dict, get_str, need_dict, need_str
from services.providers.dialects.neutral.notes import invalid, unsupported
from services.providers.dialects.neutral.remote import kind_of_type

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["dump_arguments", "note_unread", "read_content_part", "read_response"]

ContentPart = TextPart | MediaPart
Json = dict[str, Any]

_PLAIN: Final = "text/plain"
_FILES: Final = ("https://generativelanguage.googleapis.com/", "files/")
_DETAILS: Final = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_MEDIUM": "medium",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "high",
}
_READ: Final = frozenset(
    {
        "fileData",
        "functionCall",
        "functionResponse",
        "inlineData",
        "mediaResolution",
        "text",
        "thought",
        "thoughtSignature",
    }
)
# What is said about a part, and what tools that Google runs left in the history: not a part's content.
_DROPPED: Final = frozenset(
    {
        "audioMetadata",
        "codeExecutionResult",
        "documentMetadata",
        "executableCode",
        "mediaProcessing",
        "partMetadata",
        "speechMetadata",
        "spreadsheetMetadata",
        "toolCall",
        "toolResponse",
        "videoMetadata",
    }
)


def note_unread(part: Json, path: str, notes: Notes) -> None:
    """
    Report the members of a part that nobody reads.

    Raises:
        GatewayError: UNSUPPORTED; one of them may be content.
    """
    for name, value in part.items():
        if name in _READ or value is None:
            continue
        if name not in _DROPPED:
            unsupported(f"{path}.{name}", "is not supported by this provider")
        notes.dropped(f"contents.parts.{name}")


def read_content_part(part: Json, path: str) -> ContentPart | None:
    """
    Read text or media; None when there is neither.

    Raises:
        GatewayError: INVALID_REQUEST, naming the member at fault.
    """
    text = get_str(part, "text", path + ".")
    if text:
        return TextPart(text=text)
    media = _inline(part, path) or _file(part, path)
    resolution = part.get("mediaResolution")
    if media is not None and resolution is not None:
        level = get_str(need_dict(resolution, f"{path}.mediaResolution"), "level", f"{path}.mediaResolution.")
        media.detail = _DETAILS.get(level or "", "")
    return media


def _inline(part: Json, path: str) -> MediaPart | None:
    value = part.get("inlineData")
    if value is None:
        return None
    path += ".inlineData"
    blob = need_camel(value, path)
    media_type = need_str(blob, "mimeType", path + ".").strip().lower()
    data = _base64(need_str(blob, "data", path + "."), f"{path}.data")
    name = get_str(blob, "displayName", path + ".") or ""
    found = MediaPart(kind=kind_of_type(media_type), media_type=media_type, name=name)
    if media_type.partition(";")[0] == _PLAIN:
        found.media_type, found.text = _PLAIN, _decoded(data, f"{path}.data")
    if not found.text:
        found.data = data
    return found


def _file(part: Json, path: str) -> MediaPart | None:
    value = part.get("fileData")
    if value is None:
        return None
    path += ".fileData"
    file = need_camel(value, path)
    uri = need_str(file, "fileUri", path + ".")
    media_type = (get_str(file, "mimeType", path + ".") or "").strip().lower()
    found = MediaPart(kind="document", media_type=media_type, url=uri)
    found.kind = "video" if YOUTUBE.match(uri) else kind_of_type(media_type_of(found))
    found.name = get_str(file, "displayName", path + ".") or ""
    if media_type == "video/*":
        found.media_type = ""
    if uri.startswith(_FILES):
        # Nobody but Google can open it, and Google only with the key that it was sent with.
        found.url, found.file_id = "", uri
    elif "://" not in uri:
        invalid(f"{path}.fileUri", "must be a URI")
    return found


def read_response(response: Json, path: str, notes: Notes) -> tuple[list[ContentPart], bool | None]:
    """
    Read what a function gave back: its content, and whether it is an error (None: not said).

    Raises:
        GatewayError: INVALID_REQUEST, naming the member at fault.
    """
    value = get_dict(response, "response", path + ".") or {}
    is_error = True if set(value) == {"error"} else None
    content: list[ContentPart] = []
    text = _response_text(value, f"{path}.response")
    if text:
        content.append(TextPart(text=text))
    for index, entry in enumerate(many(response, "parts", path + ".")):
        where = f"{path}.parts[{index}]"
        part = camel(need_dict(entry, where))
        note_unread(part, where, notes)
        found = read_content_part(part, where)
        if found is not None:
            content.append(found)
    for name in ("willContinue", "scheduling"):
        if response.get(name):
            notes.dropped(f"contents.parts.functionResponse.{name}")
    return content, is_error


def _response_text(value: Json, path: str) -> str:
    """Take the text of a response that is text by Google's convention, and JSON of any other."""
    if len(value) == 1:
        only = value.get("output", value.get("error"))
        if isinstance(only, str):
            return only
    return dump_arguments(value, path)


def dump_arguments(value: Json, path: str) -> str:
    """
    Write an object of the client's as text.

    Raises:
        GatewayError: INVALID_REQUEST; it nests too deeply.
    """
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        invalid(path, "nests too deeply")


def _base64(data: str, path: str) -> str:
    """Bring base64 to the standard alphabet: Google takes that of URLs too, and its own client sends it."""
    data = data.replace("-", "+").replace("_", "/")
    data += "=" * (-len(data) % 4)
    try:
        valid = bool(binascii.a2b_base64(data))
    except ValueError:
        valid = False
    if not valid:
        invalid(path, "does not hold valid base64")
    return data


def _decoded(data: str, path: str) -> str:
    try:
        return b64decode(data).decode("utf-8")
    except ValueError:
        invalid(path, "must hold UTF-8 text in base64")
