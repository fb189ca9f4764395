"""
Where a gateway tells what it did: `otel` and `stripe`. Only checked and kept so far.

Source of names and shapes: the public product's gateway object. Secrets are refused: see `credential`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from services.router.core.credential import is_credential_header, is_reference, looks_like_credential

if TYPE_CHECKING:
    from services.router.core.json_reader import Value

__all__ = ["read_otel", "read_stripe"]

_MOST_TARGETS: Final = 20
_MOST_HEADERS: Final = 32
_LONGEST_HEADER: Final = 4096
_LONGEST_URL: Final = 2048
_MOST_EVENTS: Final = 100
_LONGEST_PAYLOAD: Final = 16_384
_URL: Final = re.compile(r"https?://[\x21-\x7e]+", re.ASCII)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)


def read_otel(value: Value) -> list[dict[str, Any]]:
    """Read where spans go to."""
    return [_target(item) for item in value.items(most=_MOST_TARGETS)]


def read_stripe(value: Value) -> dict[str, Any]:
    """Read how usage is billed on."""
    members = value.members(("authorization", "usage_events"), required=("authorization", "usage_events"))
    return {
        "authorization": _reference(members["authorization"]),
        "usage_events": [_event(item) for item in members["usage_events"].items(most=_MOST_EVENTS)],
    }


def _target(value: Value) -> dict[str, Any]:
    known = ("authorization", "content_type", "headers", "url")
    members = value.members(known, required=("url",))
    target: dict[str, Any] = {
        "url": _url(members["url"]),
        "headers": _headers(members["headers"]) if "headers" in members else {},
        "content_type": "json",
    }
    if "content_type" in members:
        target["content_type"] = members["content_type"].one_of("json", "protobuf")
    if "authorization" in members:
        target["authorization"] = _reference(members["authorization"])
    return target


def _event(value: Value) -> dict[str, str]:
    members = value.members(("payload",), required=("payload",))
    payload = members["payload"]
    if not isinstance(payload.raw, str) or len(payload.raw) > _LONGEST_PAYLOAD:
        raise payload.error(f"A string of at most {_LONGEST_PAYLOAD} characters is expected.")
    return {"payload": payload.raw}


def _url(value: Value) -> str:
    text = value.text(most=_LONGEST_URL, least=1)
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        raise value.error("This is no URL.") from None
    if not (_URL.fullmatch(text) and has_host):
        raise value.error("A URL that begins with http:// or https:// is expected.")
    if "@" in url.netloc:
        raise value.error("A URL here must not hold a user or a password: name a stored secret instead.")
    if url.fragment or looks_like_credential(url.query):
        raise value.error("A URL here must not hold a fragment, or a key in its query.")
    return text


def _headers(value: Value) -> dict[str, str]:
    found = {}
    for name, member in value.mapping(most=_MOST_HEADERS).items():
        if not _HEADER_NAME.fullmatch(name):
            raise member.error("This is no name of a header.")
        text = member.text(most=_LONGEST_HEADER)
        if is_credential_header(name) or looks_like_credential(text):
            raise member.error(
                "This header holds a secret, which is not kept here: store it and name it in `authorization`."
            )
        found[name] = text
    return found


def _reference(value: Value) -> str:
    text = value.text(most=_LONGEST_HEADER, least=1)
    if not is_reference(text):
        raise value.error("The name or id of a stored secret is expected, not the secret itself.")
    return text
