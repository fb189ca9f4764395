"""WebSockets through Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from tests.fakes.front_door import running_front_door

if TYPE_CHECKING:
    from pathlib import Path

_IDLE_S = 0.6


async def test_a_quiet_websocket_stays_open(tmp_path: Path) -> None:
    """Frames go both ways, and the edge's pings keep a connection that is quiet for longer than allowed."""

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=_IDLE_S / 3, protocols=("mine",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async with (
        running_front_door(tmp_path, handler=echo, stream_idle_timeout_s=_IDLE_S) as door,
        door.http.ws_connect(f"{door.url}/v1/a/b?x=1", protocols=("mine",), autoping=False) as socket,
    ):
        for _ in range(5):
            ping = await socket.receive(timeout=5)
            assert aiohttp.WSMsgType.PING == ping.type
            await socket.pong(ping.data)
        await socket.send_str("still here")
        echoed = await socket.receive_str(timeout=5)

    assert ("mine", "still here") == (socket.protocol, echoed)
    assert ["/v1/a/b?x=1"] == [request.raw_path for request in door.edge.requests]
