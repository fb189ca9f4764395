"""
Media on the web, fetched for providers that take bytes only.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from kit.errors import GatewayError, Reason
from services.providers.config import ProvidersConfig
from services.providers.dialects.neutral.conversation import (
    Conversation,
    MediaPart,
    Message,
    TextPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.remote import on_the_web, remote_media
from services.providers.fetch import Fetched, MediaFetcher, fetch_remote
from services.providers.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PNG = b"\x89PNG\r\n\x1a\n"
LOOPBACK = ("127.0.0.0/8",)


class Shelf:
    """Gives what it was given, and keeps count."""

    def __init__(self, **found: Fetched) -> None:
        self._found = found
        self.asked: list[str] = []

    async def fetch(self, url: str, *, param: str, max_bytes: int) -> Fetched:
        """Return what lies under the last word of the address."""
        self.asked.append(url)
        found = self._found.get(url.rpartition("/")[2])
        if found is None:
            raise GatewayError(Reason.INVALID_REQUEST, "none", param=param)
        return found


def _image(url: str) -> MediaPart:
    return MediaPart(kind="image", url=url)


def _conversation(*parts: MediaPart, path: str = "messages.0") -> Conversation:
    return Conversation(messages=[Message(role="user", parts=list(parts), path=path)])


@asynccontextmanager
async def _site(
    handler: object, *, allowed: tuple[str, ...] = LOOPBACK, max_s: float = 2.0
) -> AsyncIterator[tuple[MediaFetcher, str]]:
    """Serve a handler on every path, with a fetcher that may reach it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]  # any handler of aiohttp's
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream = Upstream(ProvidersConfig(allowed_networks=allowed))
    try:
        yield MediaFetcher(upstream, max_s=max_s), f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await upstream.close()
        await runner.cleanup()


async def _refusal(fetcher: MediaFetcher, url: str, *, max_bytes: int = 1000) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await fetcher.fetch(url, param="messages.4", max_bytes=max_bytes)
    assert (Reason.INVALID_REQUEST, "messages.4") == (caught.value.reason, caught.value.metadata["param"])
    return caught.value


def test_remote_media_are_those_on_the_web() -> None:
    """Parts on the web are listed in order, those in results of tools too; other places are left alone."""
    inner = MediaPart(kind="document", url="HTTP://h/b.pdf")
    outer = _image("https://h/a")
    conversation = Conversation(
        messages=[
            Message(
                role="user",
                parts=[
                    outer,
                    TextPart(text="x"),
                    _image("gs://bucket/a"),
                    MediaPart(kind="image", data="eA=="),
                ],
                path="messages.0",
            ),
            Message(role="tool", parts=[ToolResultPart(call_id="c", content=[TextPart(text="y"), inner])]),
        ]
    )

    found = remote_media(conversation)

    assert [(outer, "messages.0"), (inner, "messages")] == [(item.part, item.path) for item in found]


async def test_a_part_is_filled_in_place() -> None:
    """What lies at the address takes its place, with the type that it came with."""
    part = MediaPart(kind="image", url="https://h/report", detail="low")
    shelf = Shelf(report=Fetched("application/pdf", b"%PDF"))

    await fetch_remote(_conversation(part), shelf, on_the_web)

    expected = MediaPart(
        kind="document", media_type="application/pdf", data=b64encode(b"%PDF").decode(), detail="low"
    )
    assert expected == part


async def test_an_address_is_fetched_once() -> None:
    """Twice the same address in a request is one fetch."""
    parts = [_image("https://h/a"), _image("https://h/a")]
    shelf = Shelf(a=Fetched("image/png", PNG))

    await fetch_remote(_conversation(*parts), shelf, on_the_web)

    assert (["https://h/a"], ["image/png"] * 2) == (shelf.asked, [part.media_type for part in parts])


async def test_only_what_is_wanted_is_fetched() -> None:
    """A part that the target fetches itself keeps its address."""
    part = _image("https://h/a")
    shelf = Shelf()

    await fetch_remote(_conversation(part), shelf, lambda _: False)

    assert ([], "https://h/a") == (shelf.asked, part.url)


async def test_too_many_parts_are_refused_before_any_fetch() -> None:
    """The twenty-first address is one too many."""
    shelf = Shelf(a=Fetched("image/png", PNG))
    parts = [_image("https://h/a") for _ in range(21)]

    with pytest.raises(GatewayError) as caught:
        await fetch_remote(_conversation(*parts, path="messages.7"), shelf, on_the_web)

    assert ([], "messages.7") == (shelf.asked, caught.value.metadata["param"])


async def test_all_parts_together_have_one_limit() -> None:
    """Parts that would each do are refused when they are too large together."""
    half = Fetched("image/png", b"x" * (11 << 20))
    shelf = Shelf(a=half, b=half)

    with pytest.raises(GatewayError) as caught:
        await fetch_remote(_conversation(_image("https://h/a"), _image("https://h/b")), shelf, on_the_web)

    assert "too large" in caught.value.message


async def test_a_failed_fetch_names_its_message() -> None:
    """One address that is not to be had is the request's error, by itself and not in a group."""
    with pytest.raises(GatewayError) as caught:
        await fetch_remote(_conversation(_image("https://h/x"), path="messages.2"), Shelf(), on_the_web)

    assert "messages.2" == caught.value.metadata["param"]


async def test_fetched_over_the_wire() -> None:
    """Type and bytes are the server's; no header of a client's or ours goes along but what a fetch needs."""
    seen: list[set[str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append({name.lower() for name in request.headers})
        return web.Response(body=PNG, headers={"content-type": "image/png; charset=binary"})

    async with _site(handler) as (fetcher, url):
        fetched = await fetcher.fetch(f"{url}/a.png?x=1#part", param="messages", max_bytes=100)

    assert Fetched("image/png", PNG) == fetched
    assert {"host", "accept", "accept-encoding", "user-agent"} == seen[0]


async def test_redirects_are_followed_to_guarded_hosts() -> None:
    """A redirect is followed, and the place that it leads to is looked at like the first."""

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/moved":
            return web.Response(status=302, headers={"location": "/a.png"})
        if request.path == "/inside":
            return web.Response(status=302, headers={"location": "http://169.254.169.254/latest/meta-data"})
        if request.path == "/round":
            return web.Response(status=302, headers={"location": "/round"})
        if request.path == "/nowhere":
            return web.Response(status=302)
        if request.path == "/file":
            return web.Response(status=302, headers={"location": "file:///etc/passwd"})
        return web.Response(body=PNG, content_type="image/png")

    async with _site(handler) as (fetcher, url):
        fetched = await fetcher.fetch(f"{url}/moved", param="messages", max_bytes=100)
        messages = [
            (await _refusal(fetcher, f"{url}/{way}")).message
            for way in ("inside", "round", "nowhere", "file")
        ]

    assert PNG == fetched.data
    assert [
        "The URL in 'messages.4' could not be fetched.",
        "The URL in 'messages.4' leads through more than 3 redirects.",
        "The URL in 'messages.4' leads to a redirect that is not followed.",
        "The URL in 'messages.4' is no http or https address.",
    ] == messages


async def test_private_addresses_are_not_called() -> None:
    """Without a network that the operator allows, loopback is refused before anything is sent."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=PNG, content_type="image/png")

    async with _site(handler, allowed=()) as (fetcher, url):
        await _refusal(fetcher, f"{url}/a.png")
        await _refusal(fetcher, f"{url.replace('127.0.0.1', 'localhost')}/a.png")

    assert [] == asked


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": 404}, "answered with status 404"),
        ({"body": b"<html>", "content_type": "text/html"}, "is no image, PDF, sound or film"),
        ({"body": b"{}", "content_type": "application/json"}, "is no image, PDF, sound or film"),
        ({"body": b"", "content_type": "image/png"}, "is empty"),
        ({"body": b"x" * 1001, "content_type": "image/png"}, "is too large"),
    ],
)
async def test_answers_that_are_not_taken(answer: dict[str, object], expected: str) -> None:
    """Only a success of a fitting type and length is taken."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(**answer)  # type: ignore[arg-type]  # members of the table

    async with _site(handler) as (fetcher, url):
        error = await _refusal(fetcher, f"{url}/a")

    assert expected in error.message


async def test_a_body_without_a_length_is_bounded_too() -> None:
    """A server that never ends its answer is left when the limit is reached."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "image/png"})
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 512)
        return response

    async with _site(handler) as (fetcher, url):
        error = await _refusal(fetcher, f"{url}/a")

    assert "too large" in error.message


async def test_a_slow_server_is_given_up() -> None:
    """One address has one limit in time."""
    released = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with _site(handler, max_s=0.05) as (fetcher, url):
        error = await _refusal(fetcher, f"{url}/a")
        released.set()

    assert "took too long" in error.message or "could not be fetched" in error.message


@pytest.mark.parametrize("url", ["ftp://h/a", "https://", "https://user:secret@h/a", "http://[::1", "x"])
async def test_addresses_that_are_none(url: str) -> None:
    """What is no plain web address is refused, without repeating it."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=PNG, content_type="image/png")

    async with _site(handler) as (fetcher, _):
        error = await _refusal(fetcher, url)

    assert "The URL in 'messages.4' is no http or https address." == error.message
