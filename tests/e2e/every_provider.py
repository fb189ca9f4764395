"""
Calls at every provider of the registry, or at some, in every way that could show a key: on its own path and
on compat paths, whole and streamed, with answers of every bad kind, among them those that tell the key back.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from yarl import URL

from services.providers.registry import PROVIDERS
from tests.e2e.keys import CLIENT_KEY
from tests.fakes.provider_sides import SIDES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from services.providers.registry import Provider
    from tests.fakes.stack import Stack

__all__ = ["call_every_provider"]

# What a provider does, in the words of `tests/fakes/upstream.py`, and whether it is asked for a stream.
_TROUBLES: Final = (
    ("quiet", False),
    ("quiet", True),
    ("status=401;echo-key", False),
    ("status=400;echo-key", True),
    ("status=429;echo-key;retry-after=1", False),
    ("status=503;html", True),
    ("words=4;cut=2", False),
    ("words=4;cut=2", True),
    ("words=4;malformed=2", True),
    ("first-error=authentication_error;echo-key", True),
    ("words=4;error-after=2;echo-key", True),
)
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A call that is to be made."""

    path: str
    body: Any
    headers: dict[str, str]


async def call_every_provider(
    stack: Stack, session: aiohttp.ClientSession, prompt: str, *, slugs: Collection[str] = PROVIDERS
) -> list[bytes]:
    """Make all calls, and give what is seen of each answer: status, headers, and what came of a body."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def make(asked: _Asked) -> bytes:
        async with turns:
            return await _seen(session, stack.base_url, asked)

    return await asyncio.gather(*(make(asked) for asked in _calls(stack, prompt, slugs)))


async def _seen(session: aiohttp.ClientSession, base_url: str, asked: _Asked) -> bytes:
    headers = {"content-type": "application/json", **asked.headers}
    body = asked.body if isinstance(asked.body, bytes) else orjson.dumps(asked.body)
    url = URL(base_url + asked.path, encoded=True)
    async with session.post(url, data=body, headers=headers) as answer:
        seen = [f"{answer.status} {url.path} {dict(answer.headers)}\n".encode()]
        # A stream that the provider breaks off is broken off here too.
        with contextlib.suppress(aiohttp.ClientError):
            async for piece in answer.content.iter_any():
                seen.append(piece)  # noqa: PERF401 - what came is kept when the next piece does not come
    return b"".join(seen)


def _calls(stack: Stack, prompt: str, slugs: Collection[str]) -> Iterator[_Asked]:
    for slug, provider in PROVIDERS.items():
        if slug == "local" or slug not in slugs:
            continue
        for trouble, stream in _TROUBLES:
            yield from _native(stack, provider, prompt, {"x-fake": trouble}, stream=stream)
            if provider.api != "native":
                yield from _compat(stack, slug, prompt, {"x-fake": trouble}, stream=stream)
        yield from _bad(stack, slug)


def _native(
    stack: Stack, provider: Provider, prompt: str, headers: dict[str, str], *, stream: bool
) -> Iterator[_Asked]:
    """Call a provider's own path with the operator's key, and with one of the client's."""
    side = SIDES[provider.slug]
    chat = (stream and side.native_stream) or side.native_chat
    path = f"{_native_base(stack, provider.slug)}/{side.native_path if provider.api == 'native' else chat}"
    body = {
        "model": "m-1",
        "stream": stream,
        "messages": [{"role": "user", "content": prompt}],
        "contents": [{"parts": [{"text": prompt}]}],
        "max_tokens": 20,
    }
    ours = {**headers, "cf-aig-authorization": f"Bearer {stack.token}"}
    theirs = {provider.auth.header: provider.auth.prefix + CLIENT_KEY}
    yield _Asked(path=path, body=body, headers=ours)
    yield _Asked(path=path, body=body, headers={**ours, **theirs})
    if provider.auth.query:
        parameter = f"{'&' if '?' in path else '?'}{provider.auth.query}={CLIENT_KEY}"
        yield _Asked(path=path + parameter, body=body, headers=ours)


def _compat(
    stack: Stack, slug: str, prompt: str, headers: dict[str, str], *, stream: bool
) -> Iterator[_Asked]:
    """Call a provider in every dialect of clients."""
    model = f"{slug}/{SIDES[slug].model.format('m-1')}"
    messages = [{"role": "user", "content": prompt}]
    chat = {"model": model, "stream": stream, "messages": messages, "max_tokens": 20}
    call_of = "streamGenerateContent?alt=sse" if stream else "generateContent"
    bodies = {
        "/v1/chat/completions": chat,
        "/v1/messages": chat,
        "/v1/responses": {"model": model, "stream": stream, "input": prompt},
        f"/v1beta/models/{model}:{call_of}": {"contents": [{"role": "user", "parts": [{"text": prompt}]}]},
    }
    ours = {**headers, "authorization": f"Bearer {stack.token}"}
    for path, body in bodies.items():
        yield _Asked(path=path, body=body, headers=ours)
    theirs = {
        "cf-aig-authorization": f"Bearer {stack.token}",
        "authorization": f"Bearer {CLIENT_KEY}",
    }
    yield _Asked(path="/v1/chat/completions", body=chat, headers={**headers, **theirs})
    if not stream:
        embedded = {"model": model, "input": prompt}
        yield _Asked(path="/v1/embeddings", body=embedded, headers=ours)


def _bad(stack: Stack, slug: str) -> Iterator[_Asked]:
    """Call with what cannot be understood."""
    ours = {"authorization": f"Bearer {stack.token}"}
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
        yield _Asked(path=path, body={"model": f"{slug}/m", "messages": 7, "input": 7}, headers=ours)
    ours = {"cf-aig-authorization": f"Bearer {stack.token}"}
    for path in ("a/../b", "", "%zz"):
        yield _Asked(path=f"{_native_base(stack, slug)}/{path}", body=b"{", headers=ours)


def _native_base(stack: Stack, slug: str) -> str:
    return f"/v1/{stack.account}/default/{slug}"
