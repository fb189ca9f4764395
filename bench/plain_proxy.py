"""
The least that a proxy in Python can be: `python -m bench.plain_proxy PORT UPSTREAM`.

aiohttp in, aiohttp out, no authentication, no plan, no log: what the gateway is compared with.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web


async def _main(port: int, upstream: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def relay(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.read()
            headers = {"content-type": "application/json"}
            async with session.post(f"{upstream}/chat/completions", data=body, headers=headers) as answer:
                if "event-stream" not in answer.headers["content-type"]:
                    return web.Response(body=await answer.read(), content_type="application/json")
                response = web.StreamResponse(headers={"content-type": "text/event-stream"})
                await response.prepare(request)
                while data := await answer.content.readany():
                    await response.write(data)
                await response.write_eof()
                return response

        runner = web.ServerRunner(web.Server(relay, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2]))
