"""
A provider's HTTP answer while it is being read.

Owns the first-byte, idle and length limits of the body, its content coding, and that it tells no secret.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal, Protocol

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from kit.errors import Reason
from services.providers.conceal import Concealer
from services.providers.decode import BodyDecoder, BodyTooLongError, UndecodableError, decodable
from services.providers.dialects.failures import FailureClass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.connector import Connection

__all__ = ["REASONS", "BrokenAnswerError", "Received", "Trouble", "UpstreamAnswer"]

Trouble = Literal["cut", "first_byte", "idle", "total", "malformed", "too_long"]

_CLASSES: dict[Trouble, FailureClass] = {
    "cut": FailureClass.CUT,
    "first_byte": FailureClass.TIMEOUT,
    "idle": FailureClass.TIMEOUT,
    "total": FailureClass.TIMEOUT,
    "malformed": FailureClass.MALFORMED,
    "too_long": FailureClass.MALFORMED,
}
REASONS = {
    FailureClass.CUT: Reason.UPSTREAM_CUT,
    FailureClass.TIMEOUT: Reason.UPSTREAM_TIMEOUT,
    FailureClass.MALFORMED: Reason.UPSTREAM_MALFORMED,
}
_SAY: dict[Trouble, str] = {
    "cut": "The provider closed the connection in the middle of its answer.",
    "first_byte": "The provider sent no content in time.",
    "idle": "The provider went silent in the middle of its answer.",
    "total": "The provider's answer took too long.",
    "malformed": "The provider's answer cannot be decoded.",
    "too_long": "The provider's answer is longer than allowed.",
}

# After an answer's last event the provider still has to end the body, for the connection to be of use again.
_TRAILER_S = 0.25


class BrokenAnswerError(Exception):
    """
    The body of an answer cannot be read to its end.

    Attributes:
        trouble: What happened.
        message: The same, for the client.
        failure_class: The same, for whoever picks the next step.
        reason: The same, where there is no answer at all.
    """

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self.message = _SAY[trouble]
        self.failure_class = _CLASSES[trouble]
        self.reason = REASONS[self.failure_class]
        super().__init__(self.message)


class Received(Protocol):
    """An answer whose headers are there: aiohttp's own, or that of a kept connection."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, looked up in any case."""
        ...

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers as they came."""
        ...

    @property
    def content(self) -> aiohttp.StreamReader:
        """Body."""
        ...

    @property
    def connection(self) -> Connection | None:
        """Connection, until it has been given back at the end of the body."""
        ...

    def close(self) -> None:
        """Let go of the connection."""


class UpstreamAnswer:
    """
    Status, headers and body of an answer.

    Attributes:
        status: HTTP status.
        started: Monotonic time at which the attempt began.
        connect_s: Time that a new connection took, zero for a reused one.
        coding: Content coding of the body that `read` returns: empty, or one that cannot be decoded here.
    """

    __slots__ = (
        "_concealer",
        "_content",
        "_deadline",
        "_decoder",
        "_idle_s",
        "_left",
        "_response",
        "_timer",
        "coding",
        "connect_s",
        "first_byte_at",
        "started",
        "status",
    )

    def __init__(
        self,
        response: Received,
        *,
        started: float,
        connect_s: float,
        first_byte_s: float,
        idle_s: float,
        max_bytes: int,
        sent_at: float = 0.0,
        secrets: tuple[bytes, ...] = (),
    ) -> None:
        self._response = response
        self._concealer = Concealer(secrets) if secrets else None
        self._content = response.content
        self._deadline = max(started + connect_s, sent_at) + first_byte_s
        self._timer: Trouble = "first_byte"
        self._idle_s = idle_s
        self._left = max_bytes
        self.status = response.status
        self.started = started
        self.connect_s = connect_s
        self.first_byte_at = time.monotonic()
        coding = response.headers.get("content-encoding", "").strip().lower()
        self._decoder = BodyDecoder(max_bytes=max_bytes) if decodable(coding) else None
        self.coding = "" if self._decoder is not None or coding == "identity" else coding

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """All headers as they came, but for secrets."""
        received = self._response.raw_headers
        if (concealer := self._concealer) is None:
            return received
        return tuple((name, concealer.whole(value)) for name, value in received)

    @property
    def decoded(self) -> bool:
        """True when `read` returns something else than what was on the wire."""
        return self._decoder is not None

    @property
    def content_type(self) -> str:
        """Media type of the body, in lower case, without parameters."""
        return self._response.headers.get("content-type", "").partition(";")[0].strip().lower()

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        return self._response.headers.get(name)

    def headers(self) -> dict[str, str]:
        """Return the last value of each header, names in lower case."""
        return {
            name.decode("latin-1").lower(): value.decode("utf-8", "surrogateescape")
            for name, value in self.raw_headers
        }

    async def read(self) -> bytes:
        """
        Return what has arrived since the last read, waiting when that is nothing; empty at the end.

        Raises:
            BrokenAnswerError: the end will not come.
        """
        while True:
            if self._deadline:
                # The timer of the connection starts anew with each read; the first content has one deadline
                # however many keep-alives come before it.
                self._set_timer(max(0.001, self._deadline - time.monotonic()))
            try:
                data = await self._content.readany()
            except (aiohttp.ClientError, OSError, HttpProcessingError) as error:
                raise BrokenAnswerError(self._name(error)) from error
            self._left -= len(data)
            if self._left < 0:
                raise BrokenAnswerError("too_long")
            given = data if self._decoder is None else self._decode(data)
            if (concealer := self._concealer) is not None:
                given = concealer.feed(given) if data else concealer.feed(given) + concealer.finish()
            if given or not data:
                return given

    def content_began(self) -> None:
        """Say that the first content is there: from now on the idle time-out counts."""
        self._deadline = 0.0
        self._timer = "idle"
        self._set_timer(self._idle_s)

    async def read_all(self) -> bytes:
        """
        Return the whole body.

        Raises:
            BrokenAnswerError: it is not to be had.
        """
        parts: list[bytes] = []
        while data := await self.read():
            if not parts:
                self.content_began()
            parts.append(data)
            if self._decoder is None and self._content.at_eof():
                # Another read would only say so.
                if self._concealer is not None and (held := self._concealer.finish()):
                    parts.append(held)
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def rest(self) -> bytes:
        """
        Return what still comes once the content is whole.

        The provider gets a moment to end the body, so that the connection can be used again.
        """
        parts: list[bytes] = []
        self._deadline = 0.0
        self._set_timer(_TRAILER_S)
        try:
            while data := await self.read():
                parts.append(data)
        except BrokenAnswerError:
            pass  # nothing that matters is missing; `close` drops the connection
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the connection: at once when the body is not at its end."""
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            # Closing it in good order would wait until the provider has taken the rest of a long request.
            connection.protocol.abort()
        self._response.close()

    def _set_timer(self, timeout_s: float) -> None:
        # Once the body is whole, the connection has been given back and may serve another request.
        connection = self._response.connection
        if connection is not None and (protocol := connection.protocol) is not None:
            protocol.read_timeout = timeout_s
            protocol.start_timeout()

    def _decode(self, data: bytes) -> bytes:
        assert self._decoder is not None
        try:
            decoded = self._decoder.feed(data)
        except UndecodableError as error:
            raise BrokenAnswerError("malformed") from error
        except BodyTooLongError as error:
            raise BrokenAnswerError("too_long") from error
        if not data and not self._decoder.complete:
            raise BrokenAnswerError("cut")
        return decoded

    def _name(self, error: Exception) -> Trouble:
        if isinstance(error, aiohttp.SocketTimeoutError):
            return self._timer
        if isinstance(error, asyncio.TimeoutError):
            return "total"
        return "malformed" if isinstance(error, HttpProcessingError) else "cut"
