"""
A request over a connection that is open already, which most requests are.

aiohttp makes connections, keeps them and takes them back. Its own way through one that it has kept costs
several times what is done here, for what no provider's API needs: cookies, redirects, a task that writes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientConnectionError
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.helpers import TimerNoop
from aiohttp.http_writer import _serialize_headers
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import BaseConnector, StreamReader
    from aiohttp.connector import Connection
    from yarl import URL

__all__ = ["MOST_BYTES", "KeptAnswer", "KeptConnections"]

# What a connection takes without making whoever writes wait.
MOST_BYTES: Final = 1 << 16
_NO_TIMER: Final = TimerNoop()
# Accounts may have providers of their own, at as many addresses as they like.
_MOST_KEYS: Final = 1024


class KeptAnswer:
    """
    An answer that came over a kept connection; as much of aiohttp's own as is used here.

    Attributes:
        connection: Until it has been given back.
    """

    __slots__ = ("_timer", "connection", "content", "headers", "raw_headers", "status")

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, total_s: float) -> None:
        """Begin to count the time of a request."""
        self.connection: Connection | None = connection
        self.content: StreamReader = EMPTY_PAYLOAD
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = ()
        self._timer = loop.call_later(total_s, self._expire)

    def began(self, message: Any, content: StreamReader) -> None:
        """Take the head of the answer; the connection is given back at the end of its body."""
        self.status = message.code
        self.headers, self.raw_headers = message.headers, message.raw_headers
        self.content = content
        content.on_eof(self._ended)

    def close(self) -> None:
        """End the connection, unless it has been given back."""
        self._timer.cancel()
        if (connection := self.connection) is not None:
            self.connection = None
            connection.close()
            # The connection says nothing more; whoever still waits for the rest would do so for ever.
            if self.content is not EMPTY_PAYLOAD and not self.content.is_eof():
                self.content.set_exception(ClientConnectionError("Connection closed"))

    def _ended(self) -> None:
        connection = self.connection
        if connection is None or (protocol := connection.protocol) is None or protocol.upgraded:
            return
        self._timer.cancel()
        self.connection = None
        connection.release()

    def _expire(self) -> None:
        if self.connection is None or (protocol := self.connection.protocol) is None:
            return
        error = TimeoutError()
        protocol.set_exception(error)
        if self.content is not EMPTY_PAYLOAD:
            self.content.set_exception(error)


class KeptConnections:
    """
    The connections that a connector keeps.

    Args:
        connector: Keeps them.
        parsing: What its session has answers read with.
    """

    def __init__(self, connector: BaseConnector, **parsing: Any) -> None:
        self._connector = connector
        self._parsing = parsing
        self._loop = asyncio.get_running_loop()
        self._keys: dict[tuple[str, str], ConnectionKey] = {}

    async def post(
        self, url: URL, headers: list[tuple[str, str]], body: bytes, *, first_byte_s: float, total_s: float
    ) -> KeptAnswer | None:
        """
        Send a POST, and return its answer as soon as the answer's headers are there.

        Args:
            url: Without credentials.
            headers: The host and the length are added.
            body: At most `MOST_BYTES`.
            first_byte_s: Longest silence after the request; whoever reads the body sets that timer anew.
            total_s: Longest time of all.

        Returns:
            None when no connection is kept, or the address or a header is one that aiohttp has to look at.

        Raises:
            aiohttp.ClientError, OSError, HttpProcessingError, ValueError: As aiohttp does.
        """
        if (key := self._key(url)) is None:
            return None
        lines = CIMultiDict((("Host", url.host_port_subcomponent or ""), *headers))
        if len(lines.getall("Host")) > 1 or "Content-Length" in lines or "Expect" in lines:
            return None
        lines.add("Content-Length", str(len(body)))
        head = _serialize_headers(f"POST {url.raw_path_qs} HTTP/1.1", lines)
        if (connection := await self._take(key)) is None:
            return None
        answer = KeptAnswer(connection, self._loop, total_s)
        try:
            protocol = connection.protocol
            assert protocol is not None
            assert protocol.transport is not None
            protocol.set_response_params(timer=_NO_TIMER, read_timeout=first_byte_s, **self._parsing)
            protocol.transport.write(head + body)
            protocol.start_timeout()
            while True:
                message, content = await protocol.read()
                if not 100 <= message.code < 200 or message.code == 101:
                    break
            answer.began(message, content)
        except BaseException:
            answer.close()
            raise
        return answer

    async def _take(self, key: ConnectionKey) -> Connection | None:
        while True:
            # What aiohttp itself does first; nobody else runs before it returns.
            connection = await self._connector._get(key, [])  # noqa: SLF001 - see above
            if connection is None or (protocol := connection.protocol) is None or not protocol.should_close:
                return connection
            # Something came that nobody asked for. It would be taken for the answer.
            connection.close()

    def _key(self, url: URL) -> ConnectionKey | None:
        """Name the connections to an address as aiohttp does, for requests that say nothing special."""
        origin = (url.scheme, url.raw_authority)
        found = self._keys.get(origin)
        if found is not None:
            return found
        if url.raw_user or url.raw_password or not url.raw_host or url.scheme not in {"http", "https"}:
            return None
        if len(self._keys) >= _MOST_KEYS:
            self._keys.clear()
        found = ConnectionKey(
            host=url.raw_host,
            port=url.port,
            is_ssl=url.scheme == "https",
            ssl=True,
            proxy=None,
            proxy_auth=None,
            proxy_headers_hash=None,
            server_hostname=None,
        )
        self._keys[origin] = found
        return found
