"""
A stand-in for providers' realtime APIs: a WebSocket server that remembers handshakes and frames.

What it does with a frame is said by the frame itself, which is JSON with `do`: `usage` gives `with` back,
`close` closes, `cut` drops the connection, `key` tells the key, `count` sends so many numbered frames. A
`setup` is answered as Google does. Every other frame comes back as it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson
from aiohttp import WSMsgType, web

from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FakeRealtime", "Handshake", "gemini_turn", "openai_response"]


def openai_response(text_in: int, audio_in: int, text_out: int, audio_out: int, cached: int = 0) -> Any:
    """Give OpenAI's event at the end of a response, with what it used."""
    return {
        "type": "response.done",
        "event_id": "event_1",
        "response": {
            "object": "realtime.response",
            "id": "resp_1",
            "status": "completed",
            "output": [],
            "usage": {
                "total_tokens": text_in + audio_in + text_out + audio_out,
                "input_tokens": text_in + audio_in,
                "output_tokens": text_out + audio_out,
                "input_token_details": {
                    "text_tokens": text_in, "audio_tokens": audio_in, "cached_tokens": cached,
                },
                "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
            },
        },
    }  # fmt: skip


def gemini_turn(prompt: int, response: int, *, complete: bool = True) -> Any:
    """Give a message of Google's Live API that tells what a turn used so far."""
    content = {"turnComplete": True} if complete else {"modelTurn": {"parts": [{"text": "Hello."}]}}
    return {
        "serverContent": content,
        "usageMetadata": {
            "promptTokenCount": prompt,
            "responseTokenCount": response,
            "totalTokenCount": prompt + response,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": prompt - 1}],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": response}],
        },
    }


@dataclass(slots=True)
class Handshake:
    """What came with one handshake."""

    path: str
    query: str
    headers: dict[str, str]
    offers: list[str]


@dataclass(slots=True)
class FakeRealtime:
    """
    The server.

    Attributes:
        chooses: The subprotocol that it chooses when it is offered.
        refuses: Keys that are answered with 401, which repeats them.
        status: When set, every handshake is answered with it.
        handshakes: What came.
        frames: The frames that came, in order: data, and whether it was binary.
        closed: The codes that clients closed with.
        ended: Told of each session that has ended.
    """

    chooses: str = "realtime"
    refuses: set[str] = field(default_factory=set)
    status: int = 0
    handshakes: list[Handshake] = field(default_factory=list)
    frames: list[tuple[bytes, bool]] = field(default_factory=list)
    closed: list[int | None] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        port = free_port()
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        offers = [each.strip() for each in request.headers.get("sec-websocket-protocol", "").split(",")]
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.handshakes.append(Handshake(path, query, headers, [each for each in offers if each]))
        if self.status in (301, 307):
            return web.Response(status=self.status, headers={"location": f"{self.url}/elsewhere"})
        if self.status:
            return web.json_response({"error": {"message": "No."}}, status=self.status)
        key = headers.get("authorization", "").rpartition(" ")[2]
        if key in self.refuses:
            told = {"error": {"message": f"Incorrect API key provided: {key}.", "code": "invalid_api_key"}}
            return web.json_response(told, status=401, headers={"x-request-id": "req_1"})
        socket: Any = web.WebSocketResponse(protocols=(self.chooses,), max_msg_size=0, decode_text=False)
        socket.headers["x-request-id"] = "req_1"
        response: web.StreamResponse = socket
        await socket.prepare(request)
        try:
            await self._talk(request, socket)
        finally:
            self.closed.append(socket.close_code)
            self.ended.set()
        return response

    async def _talk(self, request: web.BaseRequest, socket: Any) -> None:
        async for message in socket:
            binary = message.type is WSMsgType.BINARY
            self.frames.append((message.data, binary))
            asked = _asked(message.data)
            if "setup" in asked:
                await socket.send_bytes(b'{"setupComplete": {}}')
                continue
            match asked.get("do"):
                case "usage":
                    data = orjson.dumps(asked["with"])
                    # Google's frames are binary, and hold JSON.
                    await (socket.send_bytes(data) if asked.get("binary") else socket.send_str(data.decode()))
                case "close":
                    await socket.close(code=asked["code"], message=asked.get("reason", "").encode())
                case "cut":
                    assert request.transport is not None
                    request.transport.abort()
                case "key":
                    await socket.send_str(f"Your key is {request.headers['authorization']}.")
                case "count":
                    for number in range(asked["to"]):
                        await socket.send_bytes(number.to_bytes(4, "big") * asked.get("times", 1))
                case _:
                    await socket.send_frame(
                        message.data, aiohttp.WSMsgType.BINARY if binary else aiohttp.WSMsgType.TEXT
                    )


def _asked(data: bytes) -> Any:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
