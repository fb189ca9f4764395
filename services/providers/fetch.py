"""
Gets media that a request names by address, for providers that take bytes only.

The address is the client's choice, so every fetch is guarded, each step of a redirect anew; it carries no
credential, and what it brings is bounded in number, length, time and type.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from yarl import URL

from kit.errors import GatewayError, Reason
from services.providers.answer import BrokenAnswerError
from services.providers.dialects.neutral.notes import invalid
from services.providers.dialects.neutral.remote import fill, remote_media
from services.providers.upstream import Timeouts, UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.answer import UpstreamAnswer
    from services.providers.dialects.neutral.conversation import Conversation, MediaPart
    from services.providers.headers import HeaderList
    from services.providers.upstream import Upstream

__all__ = ["Fetched", "Fetcher", "MediaFetcher", "fetch_remote"]

# Providers take about this much in one request, whatever it is made of.
_MOST_BYTES: Final = 20 << 20
_MOST_PARTS: Final = 20
_MOST_S: Final = 10.0
_MOST_REDIRECTS: Final = 3
# A few at a time: a request must not open a connection for each of its parts at once.
_AT_ONCE: Final = 4
_TYPES: Final = re.compile(r"(?:image|audio|video)/[a-z0-9.+-]{1,60}|application/pdf")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200
_HEADERS: Final = (
    ("accept", "image/*, application/pdf, audio/*, video/*"),
    # Some hosts of pictures refuse a client that does not say what it is.
    ("user-agent", "headrace"),
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What lay at an address."""

    media_type: str
    data: bytes


class Fetcher(Protocol):
    """Gets what lies at an address."""

    async def fetch(self, url: str, *, param: str, max_bytes: int) -> Fetched:
        """
        Return what lies there.

        Args:
            url: Of http or https.
            param: The client's name of the parameter that holds it, for errors.
            max_bytes: Longest content that is taken.

        Raises:
            GatewayError: INVALID_REQUEST, naming the parameter.
        """


async def fetch_remote(
    conversation: Conversation, fetcher: Fetcher, wants: Callable[[MediaPart], bool]
) -> None:
    """
    Get the media on the web that a target wants as bytes, and put each in the place of its address.

    Call it between `read_conversation` and `ClientRequest.write`, or have `translate_fetching` do all three.
    A request with nothing to fetch costs a walk over its messages.

    Args:
        conversation: The request; its parts are filled in place: `url` becomes `data`, and `media_type` and
            `kind` are those of what came.
        fetcher: Gets them.
        wants: Says of a part with an http or https address whether it is to be got.

    Raises:
        GatewayError: INVALID_REQUEST, naming the message: too many parts, or one that is not to be had.
    """
    found = remote_media(conversation, wants)
    if not found:
        return
    if len(found) > _MOST_PARTS:
        invalid(
            found[_MOST_PARTS].path,
            f"holds more than the {_MOST_PARTS} URLs that can be fetched for a request",
        )
    paths = {remote.part.url: remote.path for remote in reversed(found)}
    budget = _Budget()
    slots = asyncio.Semaphore(_AT_ONCE)

    async def get(url: str) -> tuple[str, str]:
        async with slots:
            fetched = await fetcher.fetch(url, param=paths[url], max_bytes=budget.left)
        budget.spend(len(fetched.data), paths[url])
        return fetched.media_type, b64encode(fetched.data).decode("ascii")

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(get(url)) for url in paths}
    except ExceptionGroup as failed:
        # The first is as good as any: each names a part that the request cannot do without.
        raise failed.exceptions[0] from None
    for remote in found:
        media_type, data = tasks[remote.part.url].result()
        fill(remote.part, media_type=media_type, data=data)


class MediaFetcher:
    """
    Gets media over the client for providers, at public addresses only.

    Args:
        upstream: The client.
        max_s: Longest time for one address, redirects included.
    """

    def __init__(self, upstream: Upstream, *, max_s: float = _MOST_S) -> None:
        self._upstream = upstream
        self._max_s = max_s
        self._timeouts = Timeouts(connect_s=max_s, first_byte_s=max_s, idle_s=max_s, total_s=max_s)

    async def fetch(self, url: str, *, param: str, max_bytes: int = _MOST_BYTES) -> Fetched:
        """
        Return what lies at an address.

        Raises:
            GatewayError: INVALID_REQUEST, naming the parameter; it is not to be had.
        """
        try:
            async with asyncio.timeout(self._max_s):
                return await self._follow(_address(url, param), param, max_bytes)
        except TimeoutError:
            _fail(param, "took too long to fetch")

    async def _follow(self, address: URL, param: str, max_bytes: int) -> Fetched:
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._send(address, param)
            try:
                if answer.status not in _REDIRECTS:
                    return await _read(answer, param, max_bytes)
                address = _next(address, answer.header("location") or "", param)
            finally:
                answer.close()
        raise _failure(param, f"leads through more than {_MOST_REDIRECTS} redirects")

    async def _send(self, address: URL, param: str) -> UpstreamAnswer:
        headers: HeaderList = list(_HEADERS)
        request = UpstreamRequest(
            provider="",
            method="GET",
            url=address,
            headers=headers,
            body=b"",
            timeouts=self._timeouts,
            guarded=True,
        )
        try:
            return await self._upstream.send(request)
        except GatewayError as error:
            # The request's failure, and not the provider's, which another provider might mend. Whether a host
            # in a network of the operator's is there must not be told apart from whether it may be called.
            raise _failure(param, "could not be fetched") from error


class _Budget:
    """What may still be fetched for a request."""

    def __init__(self) -> None:
        self.left = _MOST_BYTES

    def spend(self, size: int, param: str) -> None:
        self.left -= size
        if self.left < 0:
            _fail(param, f"is too large: at most {_MOST_BYTES >> 20} MB are fetched for a request")


async def _read(answer: UpstreamAnswer, param: str, max_bytes: int) -> Fetched:
    if answer.status != _OK:
        _fail(param, f"answered with status {answer.status}")
    if not _TYPES.fullmatch(answer.content_type):
        _fail(param, "is no image, PDF, sound or film")
    if answer.coding:
        _fail(param, "has a content coding that was not asked for")
    length = answer.header("content-length") or ""
    if len(length) > 12 or (length.isdecimal() and int(length) > max_bytes):
        _fail(param, f"is too large: at most {_MOST_BYTES >> 20} MB are fetched for a request")
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := await answer.read():
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                _fail(param, f"is too large: at most {_MOST_BYTES >> 20} MB are fetched for a request")
    except BrokenAnswerError as error:
        raise _failure(param, "could not be fetched to its end") from error
    if not size:
        _fail(param, "is empty")
    return Fetched(answer.content_type, b"".join(pieces))


def _address(text: str, param: str) -> URL:
    try:
        address = URL(text)
    except ValueError:
        address = URL()
    if address.scheme not in {"http", "https"} or not address.host or address.user:
        _fail(param, "is no http or https address")
    return address.with_fragment(None)


def _next(address: URL, location: str, param: str) -> URL:
    try:
        target = address.join(URL(location))
    except ValueError:
        _fail(param, "leads to a redirect without an address")
    if not location or (address.scheme == "https" and target.scheme != "https"):
        _fail(param, "leads to a redirect that is not followed")
    return _address(str(target), param)


def _failure(param: str, why: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, f"The URL in '{param}' {why}.", param=param)


def _fail(param: str, why: str) -> NoReturn:
    raise _failure(param, why)
