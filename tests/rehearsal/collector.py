"""
A collector's stand-in for rehearsals: takes spans over OTLP/gRPC, and gives them as JSON.

    python -m tests.rehearsal.collector

Port 4317 takes spans; 13133 says that it is there, as the real one's health extension does; 9100 has its
metrics; and 4319, on the pod's own loopback only, gives `GET /spans`.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict

import orjson
from aiohttp import web

from tests.fakes.otlp_collector import CollectedSpan, OtlpCollector

__all__ = ["SPANS_URL", "read_spans"]

SPANS_URL = "http://127.0.0.1:4319/spans"


def read_spans(text: str) -> list[CollectedSpan]:
    """Return what `GET /spans` told."""
    return [
        CollectedSpan(**{**row, "events": tuple((name, values) for name, values in row["events"])})
        for row in orjson.loads(text)
    ]


async def _main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with OtlpCollector(listen="0.0.0.0:4317") as collector:

        async def spans(request: web.Request) -> web.Response:
            found = [asdict(span) for span in collector.spans(request.query.get("trace"))]
            return web.Response(body=orjson.dumps(found), content_type="application/json")

        async def well(_request: web.Request) -> web.Response:
            return web.json_response({"status": "Server available"})

        async def metrics(_request: web.Request) -> web.Response:
            count = len(collector.spans())
            return web.Response(text=f"# TYPE otelcol_spans_total counter\notelcol_spans_total {count}\n")

        app = web.Application()
        app.router.add_get("/spans", spans)
        app.router.add_get("/metrics", metrics)
        app.router.add_get("/{path:.*}", well)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        for host, port in (("127.0.0.1", 4319), ("0.0.0.0", 13133), ("0.0.0.0", 9100)):
            await web.TCPSite(runner, host, port).start()
        await stop.wait()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_main())
