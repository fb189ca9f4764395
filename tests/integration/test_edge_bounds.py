"""What the edge refuses before or beside its services: shapes, lengths, slowness, and its own stop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from yarl import URL

from headrace.router.v1 import router_service_pb2
from services.edge.http_sink import HttpSink
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHAT = "/v1/chat/completions"
BODY = {"model": "openai/gpt-x", "messages": [{"role": "user", "content": "hi"}]}
AUTH = {"authorization": f"Bearer {TOKEN}"}
GATEWAY_AUTH = {"cf-aig-authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(b'{"id":"x","choices":[]}'), tail(finish_reason="stop")]
        yield found


async def ask(peers: Peers, path: str, **options: Any) -> tuple[int, Any]:
    url = URL(peers.base + path, encoded=True)
    async with peers.client.request("POST", url, **options) as answer:
        return answer.status, orjson.loads(await answer.read())


async def raw(peers: Peers, request: bytes) -> tuple[int, bytes, Any]:
    """Send bytes as they are; give the status, the head and the JSON body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(peers.base.rpartition(":")[2]))
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
    finally:
        writer.close()
    return int(answer.split()[1]), answer, orjson.loads(body)


async def test_model_too_long(peers: Peers) -> None:
    """A model's name is bounded before any service hears of it."""
    longest = "openai/" + "x" * 249
    taken, _ = await ask(peers, CHAT, json={**BODY, "model": longest}, headers=AUTH)
    asked = peers.router.asked
    status, told = await ask(peers, CHAT, json={**BODY, "model": longest + "x"}, headers=AUTH)

    assert (200, 400, 2019, "model") == (taken, status, told["internalCode"], told["error"]["param"])
    assert asked == peers.router.asked


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/{'a' * 65}/default/openai/v1/x",
        f"/v1/local/{'a' * 65}/openai/v1/x",
        f"/v1/local/default/{'a' * 65}/v1/x",
        f"/v1/{'a' * 65}/default/compat/chat/completions",
        f"/client/v4/accounts/{'a' * 65}/ai-gateway/gateways/default/logs",
        f"/client/v4/accounts/local/ai-gateway/gateways/{'a' * 65}/logs",
    ],
)
async def test_names_in_the_path_too_long(peers: Peers, path: str) -> None:
    """No account, gateway or provider has a name as long as that, and nobody is asked about it."""
    status, told = await ask(peers, path, json=BODY, headers=GATEWAY_AUTH)

    assert (404, False, 0, 0) == (status, told["success"], peers.router.asked, peers.auth.asked)


async def test_values_like_a_token_let_a_good_token_in(peers: Peers) -> None:
    """A header whose value merely begins like a token reaches the provider and does not count as one."""
    status, _ = await ask(peers, CHAT, json=BODY, headers={**AUTH, "x-team": "hr_payroll_eu"})
    sent = {header.name: header.value for header in peers.provider.requests[0].headers}

    assert (200, b"hr_payroll_eu") == (status, sent["x-team"])


async def test_a_malformed_token_never_reaches_the_provider(peers: Peers) -> None:
    """Beside a gateway token, a credential that begins like a token of ours is dropped."""
    headers = {**GATEWAY_AUTH, "authorization": "Bearer hr_wrong_token"}
    status, _ = await ask(peers, CHAT, json=BODY, headers=headers)
    names = {header.name for header in peers.provider.requests[0].headers}

    assert (200, False) == (status, "authorization" in names)


@pytest.mark.parametrize(
    "query",
    [
        f"key={TOKEN}",
        f"a=b&x={TOKEN}",
        "key=" + TOKEN.replace("hr_", "%68r_"),
        "key=hr_wrong",
        f"alt=sse&api-key=%20{TOKEN}",
    ],
)
async def test_token_of_ours_in_a_query(peers: Peers, query: str) -> None:
    """A token of ours in a native query is refused, not handed to the provider, and not repeated."""
    status, told = await ask(
        peers, f"/v1/local/default/openai/v1/x?{query}", data=b"{}", headers=GATEWAY_AUTH
    )

    assert (400, 7001, []) == (status, told["internalCode"], peers.provider.requests)
    assert "hr_" not in told["message"]


@pytest.mark.parametrize("token", [TOKEN, TOKEN.replace("_", "%5f"), TOKEN.replace("hr_", "%68r_")])
async def test_token_of_ours_in_a_path(peers: Peers, token: str) -> None:
    """Nor is one in a native path, which would be in the log as well."""
    path = f"/v1/local/default/openai/{token}/v1/x"
    status, told = await ask(peers, path, data=b"{}", headers=GATEWAY_AUTH)

    assert (400, 7001, []) == (status, told["internalCode"], peers.provider.requests)
    assert "hr_" not in told["message"]


@pytest.mark.parametrize("path", ["fal", "fal/", "bedrock", "custom-mine"])
async def test_a_provider_at_its_root(peers: Peers, path: str) -> None:
    """Fal's clients name the address in a header, and nothing in the path."""
    status, _ = await ask(peers, f"/v1/local/default/{path}", data=b"{}", headers=GATEWAY_AUTH)
    request = peers.provider.requests[0]

    assert (200, path.rstrip("/"), "") == (status, request.provider, request.native.path)


@pytest.mark.parametrize("key", ["a%0d%0aevil:%20b", "a%00", "%C3%A9", "a%0a"])
async def test_key_in_a_query_that_no_header_can_hold(peers: Peers, key: str) -> None:
    """It would become a header on its way, and is refused before."""
    path = f"/v1beta/models/openai/m:generateContent?key={key}"
    status, told = await ask(peers, path, data=b'{"contents":[]}', headers=GATEWAY_AUTH)

    assert (400, "INVALID_ARGUMENT", []) == (status, told["error"]["status"], peers.provider.requests)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/v1/chat/completions", "/nope"])
async def test_no_answer_names_a_library(peers: Peers, path: str) -> None:
    """Who serves is us, and not which version of what."""
    async with peers.client.get(path, headers=GATEWAY_AUTH) as answer:
        assert "headrace" == answer.headers["server"]


async def test_silent_providers_do_not_hold_up_the_list(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the same time, at the same time; the others' models are listed."""
    monkeypatch.setattr("services.edge.pipeline.providers._LIST_TIMEOUT_S", 0.3)
    peers.provider.silent = {"groq", "mistral", "cohere"}
    began = time.monotonic()
    async with peers.client.get("/v1/models", headers=GATEWAY_AUTH) as answer:
        listed = {model["owned_by"] for model in (await answer.json())["data"]}

    assert {"openai", "openrouter"} <= listed
    assert not listed & peers.provider.silent
    assert 0.3 <= time.monotonic() - began < 0.8


async def test_models_through_a_gateway_that_a_token_may_not_use(peers: Peers) -> None:
    """A token for one gateway lists nothing through another."""
    peers.auth.restrictions.gateway_ids.append("other")
    statuses = {}
    for gateway in ("default", "other"):
        path = f"/v1/local/{gateway}/compat/models"
        async with peers.client.get(path, headers=GATEWAY_AUTH) as answer:
            statuses[gateway] = answer.status

    assert {"default": 403, "other": 200} == statuses


async def test_a_query_of_others_passes_and_is_not_logged(peers: Peers) -> None:
    """A provider's own key in the query goes to the provider, and no log entry holds it."""
    query = "key=AIza1234&team=hr_payroll"
    status, _ = await ask(peers, f"/v1/local/default/openai/v1/x?{query}", data=b"{}", headers=GATEWAY_AUTH)
    entry = await peers.entry()

    assert (200, query, "openai/v1/x") == (status, peers.provider.requests[0].native.query, entry.path)


async def test_long_native_paths_are_apart_in_the_cache(peers: Peers) -> None:
    """Paths that differ only far behind have different cache keys, while the log cuts them."""
    long = "v1/" + "x" * 600
    for end in ("a", "b?c=d"):
        await ask(
            peers,
            f"/v1/local/default/openai/{long}{end}",
            data=b"{}",
            headers={**GATEWAY_AUTH, "cf-aig-cache-ttl": "60"},
        )
    endpoints = [request.endpoint for request in peers.cache.looked_up]

    assert endpoints == [f"openai/{long}a", f"openai/{long}b?c=d"]
    await asyncio.sleep(0.2)
    assert [512, 512] == [len(entry.path) for entry in peers.ledger.entries.values()]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_stopping_is_told(peers: Peers, path: str) -> None:
    """From the moment the process stops, balancers hear so, while what comes is still answered."""
    async with peers.client.get(path) as answer:
        before = answer.status
    peers.runtime.stopping = lambda: True
    async with peers.client.get(path) as answer:
        after = answer.status
    status, _ = await ask(peers, CHAT, json=BODY, headers=AUTH)

    assert (200, 503, 200) == (before, after, status)


async def test_a_body_that_does_not_come(tmp_path: Path) -> None:
    """A client that does not send its body is told so, and does not hold its place for ever."""
    async with edge_between(tmp_path, edge_body_timeout_s="0.2") as peers:
        start = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n" + '{"model"'
        status, answer, told = await raw(peers, start.encode())

        assert (408, 408, "invalid_request") == (status, told["httpCode"], told["error"]["code"])
        assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"\x16\x03\x01 GARBAGE-echo\r\n\r\n", 400),
        (b"GET /secret-echo HTTP/9.9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad header-echo\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -echo\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nauthorization: " + b"echo" * 30_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"echo" * 30_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
    ],
    ids=["not HTTP", "version", "header", "length", "long header", "long line"],
)
async def test_requests_that_cannot_be_read(peers: Peers, request_: bytes, expected: int) -> None:
    """What is no request gets our envelope, without a byte of its own and without a library's name."""
    status, answer, told = await raw(peers, request_)

    assert (expected, expected, "AiGatewayError", False) == (
        status,
        told["httpCode"],
        told["name"],
        told["success"],
    )
    text = answer + orjson.dumps(told)
    assert not [word for word in (b"echo", b"aiohttp", b"Python") if word in text]


async def test_headers_that_the_front_door_lets_through(peers: Peers) -> None:
    """A single header may be as long as Envoy allows for all of them together."""
    status, _ = await ask(peers, CHAT, json=BODY, headers={**AUTH, "x-long": "x" * 59 * 1024})

    assert status == 200


async def test_failure_of_ours_in_a_begun_answer(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that has begun is cut when we fail: no second answer is written into it."""

    async def fail(_: HttpSink) -> None:
        raise RuntimeError("a defect")

    peers.provider.script = [head(200, "text/event-stream"), chunk(b'data: {"a":1}\n\n'), tail()]
    monkeypatch.setattr(HttpSink, "end", fail)
    async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_header_values_that_cannot_be_sent(peers: Peers) -> None:
    """A value with control characters or outside Latin-1 is made fit, and the answer goes out."""
    peers.router.steps = [router_service_pb2.Step(provider="openai", model="a\r\nx-evil: 1\x00 \u0431")]
    async with peers.client.post(CHAT, json=BODY, headers=AUTH) as answer:
        assert answer.status == 200

    assert ("ax-evil: 1 \\u0431", None) == (answer.headers["cf-aig-model"], answer.headers.get("x-evil"))
