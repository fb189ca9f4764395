"""
Single parts of a turn: media, tool calls, results of tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.gemini.media import YOUTUBE, fetches, media_type_of
from services.providers.dialects.neutral.conversation import MediaPart, TextPart
from services.providers.dialects.neutral.notes import invalid, unsupported
from services.providers.dialects.neutral.remote import on_the_web

if TYPE_CHECKING:
    from services.providers.dialects.gemini.models import ModelProfile
    from services.providers.dialects.neutral.conversation import ToolCallPart, ToolResultPart
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["arguments_of", "call_part", "media_part", "result_part"]

# Files that were uploaded to AI Studio, by the address that it gave them.
_FILES: Final = "https://generativelanguage.googleapis.com/"
_RESOLUTIONS: Final = {
    "low": "MEDIA_RESOLUTION_LOW",
    "medium": "MEDIA_RESOLUTION_MEDIUM",
    "high": "MEDIA_RESOLUTION_HIGH",
}

Json = dict[str, Any]


def arguments_of(part: ToolCallPart, path: str) -> Json:
    """
    Read the arguments of a call in the history.

    Raises:
        GatewayError: INVALID_REQUEST; they are not a JSON object.
    """
    if part.custom:
        return {"input": part.arguments}
    if not part.arguments.strip():
        return {}
    try:
        arguments = orjson.loads(part.arguments)
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        invalid(path or "messages", "holds a tool call whose arguments are not a JSON object")
    return arguments


def call_part(name: str, call_id: str, arguments: Json) -> Json:
    """Write a tool call. `call_id` empty: without one."""
    call: Json = {"id": call_id} if call_id else {}
    return {"functionCall": {**call, "name": name, "args": arguments}}


def media_part(part: MediaPart, path: str, profile: ModelProfile, notes: Notes, *, vertex: bool) -> Json:
    """
    Write an image, a document, sound or film.

    Raises:
        GatewayError: UNSUPPORTED; it lies where Google cannot get it.
    """
    if part.text:
        return {"text": part.text}
    written: Json
    if part.data:
        written = {"inlineData": {"mimeType": media_type_of(part), "data": part.data}}
    else:
        uri = part.url or part.file_id
        _check(part, path, profile, vertex=vertex)
        film = not part.media_type and YOUTUBE.match(uri)
        written = {"fileData": {"mimeType": "video/*" if film else media_type_of(part), "fileUri": uri}}
    if part.detail and part.detail != "auto":
        resolution = _RESOLUTIONS.get(part.detail)
        if profile.resolutions and resolution:
            written["mediaResolution"] = {"level": resolution}
        else:
            notes.dropped("messages.detail")
    return written


def _check(part: MediaPart, path: str, profile: ModelProfile, *, vertex: bool) -> None:
    where = path or "messages"
    uri = part.url or part.file_id
    if uri.startswith(("gs://", _FILES)):
        return
    if not on_the_web(part):
        unsupported(where, "refers to a file that this provider does not have; send its content")
    if not fetches(part, profile, vertex=vertex):
        unsupported(where, "refers to a URL, which this model does not fetch; send the content in base64")


def result_part(
    part: ToolResultPart, name: str, path: str, profile: ModelProfile, notes: Notes, *, vertex: bool
) -> tuple[Json, list[Json]]:
    """
    Write what a tool gave back.

    Returns:
        The part, and the media that do not fit into it and have to follow in a turn of their own.
    """
    text = "\n".join(item.text for item in part.content if isinstance(item, TextPart))
    media = [
        media_part(item, path, profile, notes, vertex=vertex)
        for item in part.content
        if isinstance(item, MediaPart)
    ]
    response: Json = {} if vertex else {"id": part.call_id}
    response |= {"name": name, "response": _response(text, is_error=part.is_error is True)}
    if profile.resolutions:
        own = [item for item in media if "inlineData" in item]
        media = [item for item in media if "inlineData" not in item]
        if own:
            response["parts"] = [{"inlineData": item["inlineData"]} for item in own]
    return {"functionResponse": response}, media


def _response(text: str, *, is_error: bool) -> Json:
    """Make the object that a response has to be."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if is_error:
        return {"error": value if isinstance(value, dict) else text}
    return value if isinstance(value, dict) else {"output": text}
