"""
A provider's stand-in for rehearsals: a process at an address, which keeps account of all that it served.

    python -m tests.rehearsal.upstream --host 203.0.113.20 --port 8000

It speaks OpenAI's chat, whole and streamed, and answers what `asking.Question` says, one word after the
other. `GET /journal` tells of every request what was asked and how much was sent, as JSON; `GET /healthz`
that it is there. Further stand-ins, which can do much more and go wrong in every way, are in
`tests/fakes/upstream.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import orjson
from aiohttp import web

from tests.rehearsal.asking import INPUT_TOKENS, MODEL, Question

__all__ = ["Served", "UpstreamServer", "read_journal"]


# What is answered to whoever asks something else.
_ANY: Final = Question(marker="any", words=3, pace_ms=0)


@dataclass(slots=True, kw_only=True)
class Served:
    """
    One request and what became of it.

    Attributes:
        marker: The question's.
        streamed: Whether a stream was asked for.
        words_asked: Words of the whole answer.
        words_sent: Words that were written to the connection.
        finished: Whether the answer was written to its end.
        begin_s: When it came, in seconds since the epoch.
        end_s: When it was over.
        peer: Address that it came from.
    """

    marker: str
    streamed: bool
    words_asked: int
    words_sent: int = 0
    finished: bool = False
    begin_s: float = 0.0
    end_s: float | None = None
    peer: str = ""


class UpstreamServer:
    """
    The stand-in, within a loop; a context manager.

    Args:
        host: Address to listen at.
        port: Port; 0 takes a free one.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self.journal: list[Served] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", _models)
        app.router.add_get("/journal", self._journal)
        app.router.add_get("/healthz", _healthz)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        question = Question.parse(_last_text(body)) or _ANY
        served = Served(
            marker=question.marker,
            streamed=bool(body.get("stream")),
            words_asked=question.words,
            begin_s=time.time(),
            peer=request.remote or "",
        )
        self.journal.append(served)
        try:
            if served.streamed:
                return await _stream(request, body, question, served)
            served.words_sent = question.words
            response = web.json_response(_whole(body, question))
            served.finished = True
            return response
        finally:
            served.end_s = time.time()

    async def _journal(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=orjson.dumps([asdict(served) for served in self.journal]), content_type="application/json"
        )


def read_journal(body: bytes) -> list[Served]:
    """Return what `GET /journal` told."""
    return [Served(**row) for row in orjson.loads(body)]


def _last_text(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _usage(question: Question) -> dict[str, int]:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": question.words,
        "total_tokens": INPUT_TOKENS + question.words,
    }


def _head(body: dict[str, Any], question: Question, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{question.marker}", "object": kind, "created": 1, "model": body["model"]}


def _whole(body: dict[str, Any], question: Question) -> dict[str, Any]:
    message = {"role": "assistant", "content": question.answer(), "refusal": None}
    return {
        **_head(body, question, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": _usage(question),
    }


async def _stream(
    request: web.Request, body: dict[str, Any], question: Question, served: Served
) -> web.StreamResponse:
    head = _head(body, question, "chat.completion.chunk")
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    response.enable_chunked_encoding()
    await response.prepare(request)

    async def send(**members: Any) -> None:
        await response.write(b"data: " + orjson.dumps(head | members) + b"\n\n")

    for number, piece in enumerate(question.pieces()):
        delta = {"content": piece} if number else {"role": "assistant", "content": piece}
        await send(choices=[{"index": 0, "delta": delta, "finish_reason": None}])
        served.words_sent += 1
        await asyncio.sleep(question.pace_ms / 1000)
    await send(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if (body.get("stream_options") or {}).get("include_usage"):
        await send(choices=[], usage=_usage(question))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    served.finished = True
    return response


async def _models(_request: web.Request) -> web.Response:
    row = {"id": MODEL.partition("/")[2], "object": "model", "created": 1, "owned_by": "rehearsal"}
    return web.json_response({"object": "list", "data": [row]})


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A provider's stand-in that keeps account.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with UpstreamServer(options.host, options.port) as server:
        print(server.url, flush=True)  # noqa: T201
        await stop.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
