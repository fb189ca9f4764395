"""
A steerable stand-in for providers that speak like OpenAI, Anthropic, Gemini, Bedrock, Cohere or Workers AI.

    async with FakeUpstream() as upstream:
        ...                                # point a provider at upstream.url (or f"{upstream.url}/v1")
        upstream.journal[-1].json          # what arrived: method, path, query, headers, body

Each request chooses its own answer, so tests run in parallel and one test shows its whole case. Directives
come, later ones winning, from

    `upstream.defaults`             a dict, for every request of this server
    `upstream.script`               a deque of dicts, one popped per request (fail twice, then answer)
    the model                       `"gpt-4o+stream-words=3+cut=2"`: what follows the first `+`
    the header `x-fake`             `x-fake: status=429; retry-after=7`

A directive is `key` or `key=value`; `%20`-style escapes are decoded in values.

    text=…          the answer's text; default "Hello from the fake upstream."
    words=N         a text of N words: `w0 w1 w2 …`
    echo            the text is the last user message
    served=…        the model named in the answer; default: the one asked for, without directives
    finish=…        OpenAI finish reason, or Anthropic stop reason; default stop / end_turn
    tools=N         the answer is N calls of the tool `get_weather` (or the request's first tool)
    tools-mixed     text before the tool calls
    no-usage        counts are left out
    quiet           a path without a shape of its own says nothing of what arrived
    usage-always    OpenAI: counts beside the finish reason of a stream, asked for or not
    cached=N        N of the input tokens are reported as read from a prompt cache
    structured      the answer is JSON: a call of the tool that the request forces, else the text
    think           thoughts before the text, where the API has any

    status=N        an error of that status in the provider's shape; with
    error=…           its type (`context_length_exceeded`, `content_policy_violation`, `overloaded_error` …)
    message=…         its message
    echo-key          its message and its headers tell the key that arrived, as careless providers do
    retry-after=…   `retry-after-ms=…`   headers of the error
    html            the error body is an HTML page
    redirect=URL    307 to URL

    first=N         only the first N requests with this body meet what goes wrong
    down=MS         likewise for those that come in every other stretch of so many milliseconds, the first one
    flap=N          likewise every other N requests, the first N failing
    prefill=refuse  400 when the last message is the assistant's; `prefill=go-on`: the answer goes on there
    otherwise=…     with `prefill=go-on`: the text for those who do not ask for that

    slow=MS         wait before the response headers
    slow-body=MS    headers at once, then wait before the first byte of the body
    silent          never answer; `silent=body`: headers, then nothing
    keep-alive-only=MS  a stream of nothing but keep-alives, one each MS
    reset           abort the connection before any header
    pace=MS         wait between two events of a stream
    split=N         write a stream in pieces of N bytes (events cut anywhere)
    comments        an SSE comment (OpenAI) or ping event (Anthropic) before every event

    cut=N           abort the connection after N content deltas; on a plain answer after half of the body
    end=N           end the body regularly after N content deltas: no finish, no [DONE]
    stall=N         after N content deltas send nothing more, connection open
    no-done         everything but the final `[DONE]` / `message_stop`
    malformed=N     after N content deltas an event that is not JSON; on a plain answer a body that is not
    first-error=…   HTTP 200, and the first event is an error of that type
    error-after=N   after N content deltas an error event

    binary=N        an answer of N bytes that are no text (`binary`), of the type audio/mpeg
    gzip  deflate   compress the body, and say so
    big=N           pad a plain answer to N bytes

Paths that end in chat/completions, completions, embeddings, models, messages, messages/count_tokens; those of
Gemini's `models/{model}:{method}`, Bedrock's `model/{model}/{method}`, Cohere's v2/chat, v2/embed, v2/rerank,
and Workers AI's `run/{model}`; see `wires.py`. Any other path answers 200 with a JSON description of what
arrived: `method`, `path`, `query`, `headers` (pairs), `body_base64`.

Every answer carries `x-request-id`, `openai-organization`, `anthropic-organization-id`, `set-cookie`,
`x-ratelimit-remaining-requests` and `x-multi` twice, so that header handling can be asserted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import orjson
from aiohttp import web

from tests.fakes import upstream_shapes as shapes
from tests.fakes.wires import wire_of

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from tests.fakes.wires import Wire

Directives = dict[str, str]

_ERROR_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error"} | {
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
# What goes wrong, as opposed to what is answered.
_FAULTS = frozenset(
    {
        "cut", "end", "error", "error-after", "first-error", "html", "keep-alive-only", "malformed",
        "no-done", "redirect", "reset", "retry-after", "retry-after-ms", "silent", "slow", "slow-body",
        "stall", "status",
    }
)  # fmt: skip
_IN_MODEL = re.compile(rb'"model": ?"[^"]*\+')
_OVERLOADED = b"Overloaded."
_KEYS = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "xi-api-key", "x-amz-security-token")


@dataclass(slots=True, kw_only=True)
class Received:
    """One request as it arrived, and what became of its connection."""

    method: str
    path: str  # percent-encoding as received
    query: str
    headers: list[tuple[str, str]]  # order, repetition and case as received
    body: bytes
    directives: Directives
    at: float  # loop time
    finished: bool = False  # the answer was written to its end
    closed_at: float | None = None  # loop time when the peer closed before that
    closed: asyncio.Event = field(default_factory=asyncio.Event)  # finished, or closed by the peer

    @property
    def json(self) -> Any:
        """Return the body, parsed."""
        return orjson.loads(self.body)

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def header_names(self) -> set[str]:
        """Return the names of all headers, in lower case."""
        return {key.lower() for key, _ in self.headers}


class FakeUpstream:
    """Serves the fake provider on a free loopback port, or on the one asked for."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None, **defaults: str) -> None:
        self._tls = tls
        self.defaults: Directives = {key.replace("_", "-"): value for key, value in defaults.items()}
        self.script: deque[Directives] = deque()
        self.journal: list[Received] = []
        self._met: Counter[bytes] = Counter()
        self._began_ms = 0.0
        self._port = port
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application(client_max_size=256 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, auto_decompress=False, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024, ssl_context=self._tls)
        await site.start()
        self._began_ms = asyncio.get_running_loop().time() * 1000
        host, port = self._runner.addresses[0][:2]
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and drop every connection."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def wait_for_requests(self, count: int, *, timeout_s: float = 5.0) -> list[Received]:
        """Return the journal once it holds `count` requests."""
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.journal) >= count)
        return self.journal

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = await self._record(request)
        try:
            response = await _answer(request, received)
        except (asyncio.CancelledError, ConnectionError):
            received.closed_at = asyncio.get_running_loop().time()
            raise
        else:
            received.finished = True
            return response
        finally:
            received.closed.set()

    async def _record(self, request: web.Request) -> Received:
        body = await request.read()
        raw_path, _, query = request.raw_path.partition("?")
        directives = dict(self.defaults)
        if self.script:
            directives |= self.script.popleft()
        directives |= _from_model(body) | _parse(request.headers.get("x-fake", ""), separator=";")
        directives = self._faults_in_turn(directives, body)
        received = Received(
            method=request.method,
            path=raw_path,
            query=query,
            headers=[(key.decode(), value.decode("latin-1")) for key, value in request.raw_headers],
            body=body,
            directives=directives,
            at=asyncio.get_running_loop().time(),
        )
        async with self._arrived:
            self.journal.append(received)
            self._arrived.notify_all()
        return received

    def _faults_in_turn(self, directives: Directives, body: bytes) -> Directives:
        """Leave out what goes wrong where it is not this request's turn."""
        if "down" in directives:
            stretch = int(asyncio.get_running_loop().time() * 1000 - self._began_ms) // int(
                directives["down"]
            )
            meets = stretch % 2 == 0
            return directives if meets else {k: v for k, v in directives.items() if k not in _FAULTS}
        if not ("first" in directives or "flap" in directives):
            return directives
        before = self._met[body]
        self._met[body] += 1
        if "first" in directives:
            meets = before < int(directives["first"])
        else:
            meets = before // int(directives["flap"]) % 2 == 0
        return directives if meets else {k: v for k, v in directives.items() if k not in _FAULTS}


def is_steered(body: bytes) -> bool:
    """Tell whether a body has directives."""
    return _IN_MODEL.search(body) is not None


def binary(size: int) -> bytes:
    """Return bytes that are no text."""
    return (bytes(range(255, -1, -1)) * (size // 256 + 1))[:size]


def _parse(text: str, *, separator: str) -> Directives:
    pairs = (item.strip().partition("=") for item in text.split(separator) if item.strip())
    return {key: unquote(value) for key, _, value in pairs}


def _from_model(body: bytes) -> Directives:
    with contextlib.suppress(orjson.JSONDecodeError):
        parsed = orjson.loads(body)
        if isinstance(parsed, dict) and isinstance(parsed.get("model"), str):
            return _parse(parsed["model"].partition("+")[2], separator="+")
    return {}


def _keys_of(received: Received) -> str:
    """Give the credentials of a request, as they arrived."""
    return " ".join([*filter(None, map(received.header, _KEYS)), received.query])


async def _answer(request: web.Request, received: Received) -> web.StreamResponse:
    steer = received.directives
    if "echo-key" in steer:
        steer = {**steer, "message": f"Incorrect key: {_keys_of(received)}."}
    if "reset" in steer:
        return await _reset(request)
    if "slow" in steer:
        await asyncio.sleep(int(steer["slow"]) / 1000)
    if steer.get("silent") == "":
        await asyncio.Event().wait()
    if "redirect" in steer:
        return web.Response(status=307, headers={"location": steer["redirect"]})
    if "binary" in steer:
        return web.Response(body=binary(int(steer["binary"])), content_type="audio/mpeg")
    names = frozenset(received.header_names())
    wire = wire_of(received.path, names, _json_object(received.body), steer)
    if steer.get("prefill") == "refuse" and shapes.begun(_json_object(received.body)):
        steer = {**steer, "status": "400", "message": "The last message must be the user's."}
    if "status" in steer:
        return _error(steer, wire)
    if wire.events is not None:
        return await _stream(request, steer, wire.events(), wire.stream_type)
    payload = wire.plain()
    if payload is None:
        payload = {} if "quiet" in steer else _description(received)
    return await _plain(request, steer, orjson.dumps(payload))


def _json_object(body: bytes) -> dict[str, Any]:
    with contextlib.suppress(orjson.JSONDecodeError):
        parsed = orjson.loads(body)
        if isinstance(parsed, dict):
            return parsed
    return {}


def _description(received: Received) -> dict[str, Any]:
    return {
        "method": received.method,
        "path": received.path,
        "query": received.query,
        "headers": received.headers,
        "body_base64": base64.b64encode(received.body).decode(),
    }


def _headers(content_type: str) -> list[tuple[str, str]]:
    return [
        ("content-type", content_type),
        ("x-request-id", "req_fake"),
        ("openai-organization", "org-secret"),
        ("anthropic-organization-id", "org-secret"),
        ("set-cookie", "session=secret; Path=/"),
        ("x-ratelimit-remaining-requests", "41"),
        ("x-multi", "one"),
        ("x-multi", "two"),
    ]


def _error(steer: Directives, wire: Wire) -> web.Response:
    status = int(steer["status"])
    if "html" in steer:
        response = web.Response(
            status=status, text="<html><body>Bad gateway</body></html>", content_type="text/html"
        )
    else:
        kind = steer.get("error") or _ERROR_TYPES.get(status, "api_error")
        body = orjson.dumps(wire.error(status, kind, steer.get("message", f"Fake error {status}.")))
        response = web.Response(status=status, body=body, headers=wire.error_headers(status))
        for name, value in _headers("application/json"):
            response.headers.add(name, value)
    for name in ("retry-after", "retry-after-ms"):
        if name in steer:
            response.headers[name] = steer[name]
    if "echo-key" in steer:
        response.headers["www-authenticate"] = f'Bearer error_description="{steer["message"]}"'
        response.headers["x-rejected-key"] = steer["message"]
    return response


async def _reset(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    await asyncio.sleep(0)
    raise ConnectionResetError


def _start(steer: Directives, content_type: str) -> tuple[web.StreamResponse, Any]:
    response = web.StreamResponse()
    for name, value in _headers(content_type):
        response.headers.add(name, value)
    for coding, wbits in (("gzip", 31), ("deflate", 15)):
        if coding in steer:
            response.headers["content-encoding"] = coding
            return response, zlib.compressobj(wbits=wbits)
    return response, None


async def _plain(request: web.Request, steer: Directives, body: bytes) -> web.StreamResponse:
    if "malformed" in steer:
        body = body[: len(body) // 2]
    if "big" in steer:
        body += b" " * max(0, int(steer["big"]) - len(body))
    response, compressor = _start(steer, "application/json")
    if compressor is not None:
        body = compressor.compress(body) + compressor.flush()
    response.content_length = len(body)
    await response.prepare(request)
    await _before_body(response, steer)
    if request.method == "HEAD":
        return response
    if "cut" in steer:
        await response.write(body[: len(body) // 2])
        return await _reset(request)
    await response.write(body)
    await response.write_eof()
    return response


async def _before_body(response: web.StreamResponse, steer: Directives) -> None:
    if "slow-body" in steer:
        await asyncio.sleep(int(steer["slow-body"]) / 1000)
    if steer.get("silent") == "body":
        await asyncio.Event().wait()
    while "keep-alive-only" in steer:
        await response.write(shapes.KEEP_ALIVE)
        await asyncio.sleep(int(steer["keep-alive-only"]) / 1000)


async def _stream(
    request: web.Request, steer: Directives, events: list[shapes.Event], content_type: str
) -> web.StreamResponse:
    response, compressor = _start(steer, content_type)
    response.enable_chunked_encoding()
    await response.prepare(request)
    await _before_body(response, steer)
    pace_s = int(steer.get("pace", 0)) / 1000
    for event in events:
        if event == shapes.ABORT:
            await asyncio.sleep(0.01)  # what was written goes out first
            return await _reset(request)
        if event == shapes.STALL:
            await asyncio.Event().wait()
        data = event
        if "echo-key" in steer and content_type.startswith("text/"):
            data = event.replace(_OVERLOADED, steer["message"].encode())
        if compressor is not None:
            data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        await _write(response, data, int(steer.get("split", 0)))
        if pace_s:
            await asyncio.sleep(pace_s)
    if compressor is not None:
        await response.write(compressor.flush())
    await response.write_eof()
    return response


async def _write(response: web.StreamResponse, data: bytes, split: int) -> None:
    if not split:
        await response.write(data)
        return
    for start in range(0, len(data), split):
        await response.write(data[start : start + split])
        await asyncio.sleep(0)  # each piece is its own segment


async def _main(port: int) -> None:
    async with FakeUpstream(port=port) as upstream:
        print(upstream.url, flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    import sys

    asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
