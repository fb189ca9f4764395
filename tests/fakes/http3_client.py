"""One request over HTTP/3."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

if TYPE_CHECKING:
    from pathlib import Path

    from aioquic.quic.events import QuicEvent

__all__ = ["get"]


class _Client(QuicConnectionProtocol):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._http = H3Connection(self._quic)
        self._headers: dict[str, str] = {}
        self._body = b""
        self._done = asyncio.Event()

    async def get(self, authority: str, path: str) -> tuple[dict[str, str], bytes]:
        stream = self._quic.get_next_available_stream_id()
        headers = {":method": "GET", ":scheme": "https", ":authority": authority, ":path": path}
        encoded = [(key.encode(), value.encode()) for key, value in headers.items()]
        self._http.send_headers(stream, encoded, end_stream=True)
        self.transmit()
        await asyncio.wait_for(self._done.wait(), 10)
        return self._headers, self._body

    def quic_event_received(self, event: QuicEvent) -> None:
        for answer in self._http.handle_event(event):
            self._take(answer)

    def _take(self, answer: H3Event) -> None:
        if isinstance(answer, HeadersReceived):
            self._headers |= {key.decode(): value.decode() for key, value in answer.headers}
        elif isinstance(answer, DataReceived):
            self._body += answer.data
        if isinstance(answer, HeadersReceived | DataReceived) and answer.stream_ended:
            self._done.set()


async def get(port: int, path: str, ca_file: Path) -> tuple[dict[str, str], bytes]:
    """Ask `localhost` on this machine for a path, and give the headers and the body of the answer."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations(str(ca_file))
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=_Client) as client:
        return await cast("_Client", client).get(f"localhost:{port}", path)
