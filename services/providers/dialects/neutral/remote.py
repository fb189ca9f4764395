"""
Media that a request only names by address, for targets that want their bytes.

Which of them a target wants is its own matter; getting them is the adapter's, between the reading of the
client's request and the writing of the target's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.providers.dialects.neutral.conversation import MediaPart, ToolResultPart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.providers.dialects.neutral.conversation import Conversation, MediaKind, Message

__all__ = ["RemotePart", "fill", "kind_of_type", "on_the_web", "remote_media"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePart:
    """
    A piece of media that lies elsewhere.

    Attributes:
        part: To be filled, in place.
        path: Of its message in the client's body, for errors that name it.
    """

    part: MediaPart
    path: str


def on_the_web(part: MediaPart) -> bool:
    """Tell whether a part lies where anybody can get it: behind an address of http or https."""
    return part.url.lower().startswith(("https://", "http://"))


def remote_media(
    conversation: Conversation, wants: Callable[[MediaPart], bool] = on_the_web
) -> list[RemotePart]:
    """
    List the media on the web that a target wants as bytes, results of tools included, in their order.

    Args:
        conversation: The request.
        wants: Says of a part whether the target wants it so; asked for parts on the web only.
    """
    return [
        RemotePart(part=part, path=message.path or "messages")
        for message in conversation.messages
        for part in _media_of(message)
        if on_the_web(part) and wants(part)
    ]


def fill(part: MediaPart, *, media_type: str, data: str) -> None:
    """Put the bytes of a part, in base64, in the place of its address."""
    part.media_type, part.data, part.url = media_type, data, ""
    part.kind = kind_of_type(media_type)


def kind_of_type(media_type: str) -> MediaKind:
    """Tell what a media type is one of."""
    match media_type.partition("/")[0].strip().lower():
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
        case _:
            return "document"


def _media_of(message: Message) -> Iterator[MediaPart]:
    for part in message.parts:
        if isinstance(part, MediaPart):
            yield part
        elif isinstance(part, ToolResultPart):
            yield from (item for item in part.content if isinstance(item, MediaPart))
