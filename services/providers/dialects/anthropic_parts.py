"""Content parts of OpenAI chat messages as content blocks of Anthropic messages."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import urlsplit

from services.providers.dialects.chat_request import (
    Notes,
    get_dict,
    get_str,
    invalid,
    need_dict,
    need_str,
    unsupported,
)

Block = dict[str, Any]

_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_DATA_URI = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)


def text_block(value: str, cache_control: Any = None) -> Block | None:
    """Make a text block; None for a text that Anthropic would refuse as empty."""
    if not value.strip():
        return None
    block: Block = {"type": "text", "text": value}
    if isinstance(cache_control, dict):
        block["cache_control"] = cache_control
    return block


def content_blocks(content: Any, path: str, notes: Notes, *, media: bool = True) -> list[Block]:
    """
    Translate the content of a message: a string, a list of parts, or nothing.

    Args:
        content: As the client sent it.
        path: Where it stands in the request, for errors.
        notes: Where changes are recorded.
        media: Parts other than text are allowed here.

    Raises:
        GatewayError: With INVALID_REQUEST or UNSUPPORTED for a part that cannot be translated.
    """
    if content is None:
        return []
    if isinstance(content, str):
        block = text_block(content)
        return [block] if block else []
    if not isinstance(content, list):
        invalid(path, "must be a string or a list of parts")
    blocks = []
    for index, part in enumerate(content):
        where = f"{path}[{index}]"
        block = _block(need_dict(part, where), where, notes, media=media)
        if block is not None:
            blocks.append(block)
    return blocks


def _block(part: Block, path: str, notes: Notes, *, media: bool) -> Block | None:
    kind = need_str(part, "type", path + ".")
    cache_control = part.get("cache_control")
    if kind in {"text", "refusal"}:
        return text_block(get_str(part, kind, path + ".") or "", cache_control)
    if kind == "input_audio":
        unsupported(f"{path}.input_audio", "is not supported: this provider takes no audio")
    if not media or kind not in {"image_url", "file"}:
        invalid(f"{path}.type", f"is not a part that is allowed here: {kind[:40]!r}")
    block = _image(part, path, notes) if kind == "image_url" else _file(part, path)
    if isinstance(cache_control, dict):
        block["cache_control"] = cache_control
    return block


def _image(part: Block, path: str, notes: Notes) -> Block:
    image = part.get("image_url")
    path = f"{path}.image_url"
    if isinstance(image, str):
        url = image
    else:
        image = need_dict(image, path)
        url = need_str(image, "url", path + ".")
        if get_str(image, "detail", path + ".") not in {None, "auto"}:
            notes.dropped("image_url.detail")
    if url[:5].lower() == "data:":
        media_type, data = _data_uri(url, path)
        if media_type == "application/pdf":
            return _pdf(data)
        if media_type not in _IMAGE_TYPES:
            unsupported(path, "must be image/jpeg, image/png, image/gif or image/webp for this provider")
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    kind = "document" if _remote_path(url, path).lower().endswith(".pdf") else "image"
    return {"type": kind, "source": {"type": "url", "url": url}}


def _file(part: Block, path: str) -> Block:
    path = f"{path}.file"
    file = get_dict(part, "file", path[: -len("file")]) or {}
    if file.get("file_id") is not None:
        unsupported(f"{path}.file_id", "is not supported: the file is at another provider")
    data = need_str(file, "file_data", path + ".")
    title = get_str(file, "filename", path + ".")
    path = f"{path}.file_data"
    if data[:5].lower() != "data:":
        _remote_path(data, path)
        block: Block = {"type": "document", "source": {"type": "url", "url": data}}
    else:
        media_type, encoded = _data_uri(data, path)
        if media_type == "application/pdf":
            block = _pdf(encoded)
        elif media_type == "text/plain":
            block = _plain_text(encoded, path)
        else:
            unsupported(path, "must be application/pdf or text/plain for this provider")
    if title:
        block["title"] = title
    return block


def _pdf(data: str) -> Block:
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    return {"type": "document", "source": source}


def _plain_text(encoded: str, path: str) -> Block:
    try:
        data = base64.b64decode(encoded).decode("utf-8")
    except ValueError:
        invalid(path, "must hold UTF-8 text in base64")
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": data}}


def _data_uri(uri: str, path: str) -> tuple[str, str]:
    """Take a data URI apart into media type and base64 text."""
    match = _DATA_URI.match(uri)
    if match is None or ";base64" not in match.group(2).lower():
        invalid(path, "must be a data URI in base64")
    data = uri[match.end() :]
    try:
        decodable = bool(data) and bool(binascii.a2b_base64(data))
    except ValueError:
        decodable = False
    if not decodable:
        invalid(path, "does not hold valid base64")
    media_type = match.group(1).lower()
    return ("image/jpeg" if media_type == "image/jpg" else media_type), data


def _remote_path(url: str, path: str) -> str:
    """Check that a URL is one that the provider can fetch, and return its path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        invalid(path, "is not a valid URL")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        invalid(path, "must be a data URI or an http(s) URL")
    return parts.path
