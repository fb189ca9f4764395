"""
One look from some network: whether a port answers, what a URL says, whether a server takes a certificate.

    python -m tests.rehearsal.probe tcp 10.0.0.7:9000 10.0.0.8:9000
    python -m tests.rehearsal.probe http https://ai.example.com/readyz --ca ca.crt
    python -m tests.rehearsal.probe call auth:9000 /headrace.auth.v1.VaultService/GetVault --ca ca.crt
    --certificate d

Each prints one line of JSON and ends with 0, whatever was found.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import grpc


async def tcp(options: argparse.Namespace) -> dict[str, Any]:
    """Tell which addresses take connections: `open`, `refused`, or `silent` where packets vanish."""
    found = await asyncio.gather(*(_connect(target, options.timeout_s) for target in options.targets))
    return dict(zip(options.targets, found, strict=True))


async def _connect(target: str, timeout_s: float) -> str:
    host, _, port = target.rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), timeout_s)
    except TimeoutError:
        return "silent"
    except OSError as error:
        return f"refused: {error}"
    writer.close()
    return "open"


async def http(options: argparse.Namespace) -> dict[str, Any]:
    """Make one call, and tell status, headers and body, or how it broke."""
    import aiohttp

    context = ssl.create_default_context(cafile=str(options.ca)) if options.ca else None
    if context is not None and options.certificate is not None:
        context.load_cert_chain(options.certificate / "tls.crt", options.certificate / "tls.key")
    headers = dict(line.split(": ", 1) for line in options.header)
    timeout = aiohttp.ClientTimeout(total=options.timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(
                options.method, options.url, data=options.body.encode(), headers=headers,
                ssl=context or True, server_hostname=options.server_name,
            ) as answer,
        ):  # fmt: skip
            return {
                "status": answer.status,
                "headers": {name.lower(): value for name, value in answer.headers.items()},
                "body": await answer.text(),
            }
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return {"status": None, "broke": f"{type(error).__name__}: {error}"}


async def call(options: argparse.Namespace) -> dict[str, Any]:
    """Make one empty gRPC call, and tell its status and reason; `UNAVAILABLE` also where TLS is refused."""
    import grpc

    options_of = [("grpc.ssl_target_name_override", options.server_name)] if options.server_name else []
    if options.ca is None:
        channel = grpc.aio.insecure_channel(options.target, options_of)
    else:
        shown = [None, None]
        if options.certificate is not None:
            shown = [(options.certificate / name).read_bytes() for name in ("tls.key", "tls.crt")]
        credentials = grpc.ssl_channel_credentials(options.ca.read_bytes(), *shown)
        channel = grpc.aio.secure_channel(options.target, credentials, options_of)
    metadata = tuple(line.split(": ", 1) for line in options.header)
    try:
        method: Any = channel.unary_unary(options.method)
        await method(b"", timeout=options.timeout_s, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return {"status": error.code().name, "reason": _reason(error), "message": error.details()}
    finally:
        await channel.close()
    return {"status": "OK", "reason": None, "message": ""}


def _reason(error: grpc.aio.AioRpcError) -> str | None:
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    with contextlib.suppress(ValueError):
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return str(info.reason)
    return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One look from this network.")
    kinds = parser.add_subparsers(required=True)
    ports = kinds.add_parser("tcp")
    ports.set_defaults(run=tcp)
    ports.add_argument("targets", nargs="+", metavar="HOST:PORT")
    urls = kinds.add_parser("http")
    urls.set_defaults(run=http)
    urls.add_argument("url")
    urls.add_argument("--method", default="GET")
    urls.add_argument("--body", default="")
    calls = kinds.add_parser("call")
    calls.set_defaults(run=call)
    calls.add_argument("target")
    calls.add_argument("method")
    for one in (ports, urls, calls):
        one.add_argument("--timeout-s", type=float, default=5.0)
    for one in (urls, calls):
        one.add_argument("--ca", type=Path)
        one.add_argument("--certificate", type=Path, help="a directory with tls.crt and tls.key")
        one.add_argument("--server-name")
        one.add_argument("--header", action="append", default=[], metavar="NAME: VALUE")
    return parser.parse_args()


async def _main() -> None:
    options = _options()
    print(orjson.dumps(await options.run(options)).decode(), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_main())
