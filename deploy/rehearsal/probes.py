"""
Asks a container how it is, as the kubelet does: from the node, a new connection each time.

The gRPC health check is spoken directly, in HTTP/2 without compression: one request, one answer, one
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from deploy.rehearsal.pod_spec import Handler

__all__ = ["ask"]

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM: Final = 1
_END_HEADERS: Final = 4
_SERVING: Final = 1
_STATUS: Final = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


async def ask(handler: Handler, address: str, port: int, timeout_s: float) -> str | None:
    """
    Ask once.

    Returns:
        None when all is well, else what is wrong.
    """
    try:
        async with asyncio.timeout(timeout_s):
            if handler.kind == "tcp":
                return await _tcp(address, port)
            if handler.kind == "http":
                return await _http(handler, address, port)
            return await _grpc(handler, address, port)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except (OSError, EOFError, ValueError) as error:
        return str(error) or type(error).__name__


async def _tcp(address: str, port: int) -> str | None:
    _, writer = await asyncio.open_connection(address, port)
    writer.close()
    return None


async def _http(handler: Handler, address: str, port: int) -> str | None:
    context = ssl._create_unverified_context() if handler.https else None  # noqa: S323, SLF001 - as the kubelet does
    reader, writer = await asyncio.open_connection(address, port, ssl=context)
    try:
        headers = {"host": f"{address}:{port}", "user-agent": "kube-probe", "connection": "close"}
        headers |= {name.lower(): value for name, value in handler.headers}
        lines = [f"GET {handler.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        status_line = (await reader.readline()).decode("latin-1").split()
        status = int(status_line[1]) if len(status_line) > 1 else 0
        return None if 200 <= status < 400 else f"status {status}"
    finally:
        writer.close()


def _literal(name: str, value: str) -> bytes:
    """Return a header field in HPACK's plainest form: a literal, never indexed."""
    return b"\x10" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack("!I", len(body))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + body


def _check_request(service: str, authority: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "kube-probe",
    }
    name = service.encode()
    message = b"\x0a" + bytes([len(name)]) + name if name else b""
    return b"".join(
        (
            _PREFACE,
            _frame(_SETTINGS, 0, 0),
            _frame(_HEADERS, _END_HEADERS, 1, b"".join(_literal(*field) for field in fields.items())),
            _frame(_DATA, _END_STREAM, 1, struct.pack("!BI", 0, len(message)) + message),
        )
    )


async def _grpc(handler: Handler, address: str, port: int) -> str | None:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(_check_request(handler.service, f"{address}:{port}"))
        message = b""
        while True:
            head = await reader.readexactly(9)
            body = await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags = head[3], head[4]
            if kind == _DATA:
                message += body
            if kind == _SETTINGS and not flags & 1:
                writer.write(_frame(_SETTINGS, 1, 0))
            if kind in (_RESET, _GOAWAY):
                return "the server gave the connection up"
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                return _verdict(message, handler.service)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _verdict(message: bytes, service: str) -> str | None:
    """Return what a `HealthCheckResponse` says: field 1 is the status, absent for 0."""
    if len(message) < 5:
        return f"no answer for service {service!r}"
    status = message[6] if len(message) > 6 else 0
    return None if status == _SERVING else _STATUS.get(status, str(status))
