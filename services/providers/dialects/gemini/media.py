"""
Media: their types, guessed from a name where the client did not say, and whether Google fetches them itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from services.providers.dialects.neutral.remote import kind_of_type as kind_of

if TYPE_CHECKING:
    from services.providers.dialects.gemini.models import ModelProfile
    from services.providers.dialects.neutral.conversation import MediaPart

__all__ = ["YOUTUBE", "fetches", "kind_of", "media_type_of", "wants_bytes"]

_YOUTUBE: Final = r"https?://(?:www\.|m\.)?(?:youtube\.com/|youtu\.be/)"
YOUTUBE: Final = re.compile(_YOUTUBE, re.IGNORECASE)
# What Google has itself: films there, and files that were uploaded to it.
_OWN: Final = re.compile(rf"{_YOUTUBE}|https://generativelanguage\.googleapis\.com/", re.IGNORECASE)
# Types that AI Studio gets from the web.
_FETCHED: Final = frozenset(
    {
        "application/json",
        "application/pdf",
        "image/bmp",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/css",
        "text/csv",
        "text/html",
        "text/javascript",
        "text/markdown",
        "text/plain",
        "text/rtf",
        "text/xml",
    }
)

_BY_EXTENSION: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "bmp": "image/bmp",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "xml": "text/xml",
    "json": "application/json",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/m4a",
    "aiff": "audio/aiff",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpg",
    "mov": "video/quicktime",
    "avi": "video/avi",
    "webm": "video/webm",
    "wmv": "video/wmv",
    "flv": "video/x-flv",
    "3gp": "video/3gpp",
}
# Where nothing tells, what a client most likely sends.
_BY_KIND: Final = {
    "image": "image/jpeg",
    "document": "application/pdf",
    "audio": "audio/wav",
    "video": "video/mp4",
}


def media_type_of(part: MediaPart) -> str:
    """Return the media type that the client said, or the one that its name most likely stands for."""
    return _told_type(part) or _BY_KIND[part.kind]


def fetches(part: MediaPart, profile: ModelProfile, *, vertex: bool) -> bool:
    """
    Tell whether Google gets a part on the web by itself.

    Args:
        part: With an address of http or https.
        profile: What the model takes.
        vertex: Vertex AI fetches for every model, and any type.
    """
    if _OWN.match(part.url):
        return True
    if not part.url.lower().startswith("https://"):
        return False
    return vertex or (profile.urls and media_type_of(part) in _FETCHED)


def wants_bytes(part: MediaPart, profile: ModelProfile, *, vertex: bool) -> bool:
    """Tell whether a part on the web has to be given as bytes: also when only they tell what it is."""
    if _OWN.match(part.url):
        return False
    return not (_told_type(part) and fetches(part, profile, vertex=vertex))


def _told_type(part: MediaPart) -> str:
    if part.media_type:
        return part.media_type
    for name in (part.name, re.split(r"[?#]", part.url, maxsplit=1)[0]):
        found = _BY_EXTENSION.get(name.rpartition(".")[2].lower())
        if found is not None:
            return found
    return ""
