"""
Where each provider's realtime API is, and where its clients put a key.

Clients of WebSockets put keys where those of HTTP do not: browsers can set no header, so that a key stands in
the query or among the subprotocols. Here it is moved into the provider's own header, so that whose key is
used is decided for a WebSocket as for any other call, and no address holds one.

Sources: the providers' references, and the public product's page of its realtime API for the short paths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote_plus

from services.providers.call import NativeTarget

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from yarl import URL

    from services.providers.call import Call
    from services.providers.registry import Provider

__all__ = ["Asked", "asked", "moved"]

# What stands before a key that goes into `Authorization` whatever the provider's usual header is.
_BEARER: Final = "Bearer "
_TOKEN: Final = "Token "  # noqa: S105 - a scheme, no secret
# Of the query: what names a model.
_MODELS: Final = ("model", "deployment", "model_id")
_LONGEST_MODEL: Final = 128
# A path that says no more than which version of the API is meant.
_ROOTS: Final = frozenset({"", "v1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeApi:
    """
    What is to be known of a provider's realtime API.

    Attributes:
        path: Where it is, for a call that names no path. Holds `{model}` where the query's model goes.
        keys: Parameters of the query that hold a key, with what stands before it in `Authorization`; empty:
            the key goes into the provider's usual header.
        key_prefixes: What a subprotocol that holds a key begins with.
        key_words: Subprotocols that say that the next one is a key, with what stands before it, as above.
        hosts: Patterns of paths that are at another host of the provider's, with that host.
    """

    path: str = ""
    keys: Mapping[str, str] | None = None
    key_prefixes: tuple[str, ...] = ()
    key_words: Mapping[str, str] | None = None
    hosts: tuple[tuple[re.Pattern[str], str], ...] = ()


_UNKNOWN: Final = RealtimeApi()
_APIS: Final[Mapping[str, RealtimeApi]] = {
    "openai": RealtimeApi(path="realtime", key_prefixes=("openai-insecure-api-key.",)),
    "azure-openai": RealtimeApi(keys={"api-key": ""}),
    "google-ai-studio": RealtimeApi(
        path="ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        keys={"api_key": "", "key": "", "access_token": _TOKEN},
    ),
    "cartesia": RealtimeApi(path="tts/websocket", keys={"api_key": "", "access_token": _BEARER}),
    "elevenlabs": RealtimeApi(path="v1/convai/conversation", key_prefixes=("xi-api-key.",)),
    "fal": RealtimeApi(
        key_prefixes=("fal-api-key.",),
        # Any model in frames of JSON; those with a realtime endpoint of their own are where HTTP is.
        hosts=((re.compile(r"(?!.*/realtime/?$).*"), "ws.fal.run"),),
    ),
    "deepgram": RealtimeApi(
        path="v1/listen",
        key_words={"token": "", "bearer": _BEARER},
        hosts=((re.compile(r"/v1/agent/converse/?"), "agent.deepgram.com"),),
    ),
    "workers-ai": RealtimeApi(path="run/{model}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    A call of a realtime API.

    Attributes:
        call: As a native call, with its key in a header.
        subprotocols: What is offered to the provider.
        model: What the address names; empty: nothing.
    """

    call: Call
    subprotocols: tuple[str, ...]
    model: str


def asked(call: Call, provider: Provider, subprotocols: Sequence[str]) -> Asked:
    """
    Say what a client's call means to a provider.

    Args:
        call: A native one, as the client sent it.
        provider: Whose API it is of.
        subprotocols: What the client offers.
    """
    assert call.native is not None
    api = _APIS.get(provider.slug, _UNKNOWN)
    query, found = _without_keys(call.native.query, api)
    kept, offered = _without_offered_keys(subprotocols, api)
    given = {name for name, _ in call.headers}
    headers = list(call.headers)
    for start, key in (*offered, *found)[:1]:
        own = [("authorization", start + key)] if start else provider.auth.headers(key)
        headers += [(name, value.encode()) for name, value in own if name not in given]
    model = _model(query)
    path, query = _place(call.native.path, query, api, model)
    native = NativeTarget(method="GET", path=path, query=query)
    return Asked(
        call=replace(call, headers=headers, native=native),
        subprotocols=tuple(kept),
        model=model or _model_of_path(provider.slug, path),
    )


def moved(url: URL, provider: Provider) -> URL:
    """Return an address as it is for a WebSocket: at another host where the provider has one for them."""
    usual = provider.base_url.removeprefix("https://").partition("/")[0]
    if url.raw_host != usual:
        return url  # the operator's, or one that the call names
    for pattern, host in _APIS.get(provider.slug, _UNKNOWN).hosts:
        if pattern.fullmatch(url.raw_path):
            return url.with_host(host)
    return url


def _without_keys(query: str, api: RealtimeApi) -> tuple[str, list[tuple[str, str]]]:
    """Take keys out of a query, every other byte of which stays."""
    if not api.keys or not query:
        return query, []
    kept: list[str] = []
    found: list[tuple[str, str]] = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in api.keys:
            kept.append(part)
        elif value:
            found.append((api.keys[name], unquote_plus(value)))
    return "&".join(kept), found


def _without_offered_keys(offers: Iterable[str], api: RealtimeApi) -> tuple[list[str], list[tuple[str, str]]]:
    """Take keys out of what a client offers."""
    kept: list[str] = []
    found: list[tuple[str, str]] = []
    words = api.key_words or {}
    start: str | None = None
    for offer in offers:
        prefix = next((each for each in api.key_prefixes if offer.startswith(each)), "")
        if start is not None:
            found.append((start, offer))
            start = None
        elif offer.lower() in words:
            start = words[offer.lower()]
        elif prefix:
            found.append(("", offer.removeprefix(prefix)))
        else:
            kept.append(offer)
    return kept, found


def _place(path: str, query: str, api: RealtimeApi, model: str) -> tuple[str, str]:
    """Return path and query, for a call of the provider's root those of its API."""
    if not api.path or path.strip("/") not in _ROOTS:
        return path, query
    if "{model}" not in api.path:
        return api.path, query
    rest = "&".join(part for part in query.split("&") if part.partition("=")[0] != "model")
    return api.path.format(model=quote(model, safe="/@:.-_")), rest


def _model(query: str) -> str:
    named = dict(parse_qsl(query))
    return next((named[name][:_LONGEST_MODEL] for name in _MODELS if named.get(name)), "")


def _model_of_path(slug: str, path: str) -> str:
    if slug == "workers-ai":
        return path.removeprefix("run/")[:_LONGEST_MODEL]
    return path.strip("/").removesuffix("/realtime")[:_LONGEST_MODEL] if slug == "fal" else ""
