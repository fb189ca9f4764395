"""Accounts' own providers between messages and the management API's JSON."""

from __future__ import annotations

import base64
import html
from typing import Any, Final

import orjson

from headrace.common.v1 import http_pb2
from headrace.router.v1 import custom_provider_pb2 as pb
from kit.errors import GatewayError, Reason
from services.edge.wire.moment import iso

__all__ = ["provider", "shown"]

# REST's names for what a message calls otherwise.
_NAMES: Final = {"enable": "enabled"}
_LOGO: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" '
    'fill="#2b6cb0"/><text x="16" y="22" font-family="sans-serif" font-size="18" fill="#fff" '
    'text-anchor="middle">{letter}</text></svg>'
)


def provider(values: dict[str, Any]) -> tuple[pb.CustomProvider, list[str]]:
    """
    Write a provider from the members of a body.

    Args:
        values: Those that were given.

    Returns:
        The provider, and the names of its fields that were given.

    Raises:
        GatewayError: INVALID_REQUEST; `headers` is no JSON object of text.
    """
    message = pb.CustomProvider()
    fields = []
    for rest_name, value in values.items():
        name = _NAMES.get(rest_name, rest_name)
        fields.append(name)
        if name == "headers":
            message.headers.extend(_headers(value))
        elif value is not None:
            setattr(message, name, value)
    return message, fields


def shown(provider: pb.CustomProvider, account_id: str) -> dict[str, Any]:
    """Give a provider as JSON."""
    headers = {header.name: header.value.decode("latin-1") for header in provider.headers}
    return {
        "id": provider.id,
        "account_id": account_id,
        "account_tag": account_id,
        "name": provider.name,
        "slug": provider.slug,
        "base_url": provider.base_url,
        "description": provider.description,
        "link": provider.link,
        "enable": provider.enabled,
        "beta": provider.beta,
        "headers": orjson.dumps(headers).decode(),
        "curl_example": provider.curl_example,
        "js_example": provider.js_example,
        "logo": _logo(provider.name or provider.slug),
        "position": provider.position,
        "created_at": iso(provider.create_time),
        "modified_at": iso(provider.update_time),
    }


def _headers(text: str | None) -> list[http_pb2.Header]:
    if not text:
        return []
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise GatewayError(
            Reason.INVALID_REQUEST, "headers must be a JSON object of text, written as text.", param="headers"
        )
    return [http_pb2.Header(name=name.lower(), value=value.encode("utf-8")) for name, value in found.items()]


def _logo(name: str) -> str:
    letter = html.escape(name[:1].upper())
    return base64.b64encode(_LOGO.format(letter=letter).encode()).decode()
