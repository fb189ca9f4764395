"""
A collector's stand-in, for rehearsals by hand: takes spans, metrics and logs over OTLP/gRPC, and keeps none.

It runs by its file. Port 4317 takes what comes, 13133 says that it is there, and 9100 has its one metric.
"""

from __future__ import annotations

import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]


class _Anything(grpc.GenericRpcHandler):
    """Answers every call with an empty message, which is what OTLP's answers are when all is well."""

    def __init__(self) -> None:
        self.calls = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(self._take)

    def told(self) -> Iterator[bytes]:
        """Yield its metrics, as they are when they are asked for."""
        while True:
            yield f"# TYPE taken_total counter\ntaken_total {self.calls}\n".encode()

    def _take(self, _request: bytes, _context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        return b""


def _serve(port: int, body: Iterator[bytes]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(next(body))

    threading.Thread(target=ThreadingHTTPServer(("", port), Handler).serve_forever, daemon=True).start()


def main() -> None:
    """Serve until SIGTERM."""
    anything = _Anything()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[anything])
    server.add_insecure_port("0.0.0.0:4317")
    server.start()
    well = b'{"status":"Server available"}'
    _serve(13133, itertools.repeat(well))
    _serve(9100, anything.told())
    signal.sigwait([signal.SIGTERM])


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
