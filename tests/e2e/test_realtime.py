"""Realtime APIs through Envoy, by the clients that people have for them, and what a killed edge leaves."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import aiohttp
import orjson
import pytest
import websockets
from google import genai
from google.genai import live, types
from openai import AsyncOpenAI

from tests.e2e.calls import call
from tests.e2e.log_view import LogView
from tests.e2e.topologies import each_topology_of_its_own
from tests.fakes.realtime import FakeRealtime, gemini_turn, openai_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.e2e.conftest import Launch
    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack, Topology

OPENAI_KEY, GOOGLE_KEY, CLIENT_KEY = (
    "sk-canary-realtime-71c2",
    "AIza-canary-realtime-5d1e",
    "sk-canary-own-3f08",
)
VOICE = types.LiveConnectConfig(response_modalities=[types.Modality.AUDIO])


@pytest.fixture
async def upstream() -> AsyncIterator[FakeRealtime]:
    async with FakeRealtime() as server:
        yield server


async def with_openai(stack: Stack) -> Any:
    """Have a conversation by OpenAI's own client."""
    client = AsyncOpenAI(
        base_url=f"{stack.gateway_url()}/openai",
        api_key=CLIENT_KEY,
        default_headers={"cf-aig-authorization": stack.token},
    )
    async with client, client.realtime.connect(model="gpt-realtime") as connection:
        await connection.send_raw(_json({"do": "usage", "with": openai_response(5, 6, 7, 8)}))
        return await connection.recv()


async def with_google(stack: Stack) -> Any:
    """Have a conversation by Google's own client, which knows only `wss`."""
    client = genai.Client(
        api_key="not-a-key",
        http_options={
            "base_url": f"{stack.gateway_url()}/google-ai-studio",
            "headers": {"cf-aig-authorization": f"Bearer {stack.token}", "x-goog-api-key": CLIENT_KEY},
        },
    )

    def plain(uri: str, **options: Any) -> Any:
        del options["ssl"]
        return websockets.connect(uri.replace("wss:", "ws:"), proxy=None, **options)

    with patch.object(live, "ws_connect", plain):
        async with client.aio.live.connect(model="gemini-live-2.5-flash-preview", config=VOICE) as session:
            await session._ws.send(_json({"do": "usage", "binary": True, "with": gemini_turn(11, 12)}))
            return [message async for message in session.receive()][-1]


def _json(what: Any) -> str:
    return orjson.dumps(what).decode()


@pytest.mark.timeout(300)
@each_topology_of_its_own
async def test_real_clients(
    launch: Launch,
    topology: Topology,
    session: aiohttp.ClientSession,
    upstream: FakeRealtime,
    upstreams: Upstreams,
) -> None:
    """Real clients work, a browser's way too, entries are there, and keys and tokens are nowhere else."""
    stack = await asyncio.to_thread(
        launch,
        topology,
        HEADRACE_LOG_LEVEL="debug",
        HEADRACE_PROVIDER_OPENAI_BASE_URL=upstream.url,
        HEADRACE_PROVIDER_OPENAI_API_KEY=OPENAI_KEY,
        HEADRACE_PROVIDER_GOOGLE_AI_STUDIO_BASE_URL=upstream.url,
        HEADRACE_PROVIDER_GOOGLE_AI_STUDIO_API_KEY=GOOGLE_KEY,
    )
    said = await with_openai(stack)
    heard = await with_google(stack)
    by_browser = f"{stack.gateway_url()}/google?api_key={CLIENT_KEY}"
    offers = [f"cf-aig-authorization.{stack.token}"]
    async with session.ws_connect(by_browser, protocols=offers) as socket:
        chosen = socket.protocol
        await socket.send_str(_json({"setup": {"model": "models/m"}}))
        await socket.receive(timeout=5)
    entries = await _entries(stack, session, 3)
    first, *others = upstream.handshakes[:3]
    kill = await _killed(stack, session) if topology == "split" else "interrupted"
    token = stack.token
    last = await _stopped(stack, session)
    everywhere = stack.log() + str(entries) + str(upstreams.collector.spans())

    assert ("response.done", 23) == (said.type, heard.usage_metadata.total_token_count)
    assert offers == [chosen]
    assert ("/v1/realtime", f"Bearer {CLIENT_KEY}") == (first.path, first.headers["authorization"])
    assert [CLIENT_KEY] * 2 == [each.headers["x-goog-api-key"] for each in others]
    assert [101] * 3 == [entry["status_code"] for entry in entries]
    assert {("openai", "gpt-realtime"), ("google-ai-studio", "gemini-live-2.5-flash-preview")} <= {
        (entry["provider"], entry["model"]) for entry in entries
    }
    assert "interrupted" == kill
    assert 1012 == last
    assert not [each for each in (CLIENT_KEY, OPENAI_KEY, GOOGLE_KEY, token) if each in everywhere]


async def _stopped(stack: Stack, session: aiohttp.ClientSession) -> int | None:
    """Stop it while a session is open, and give the code that the session is closed with."""
    by_browser = f"{stack.gateway_url()}/google?api_key={CLIENT_KEY}"
    headers = {"cf-aig-authorization": stack.token}
    async with session.ws_connect(by_browser, headers=headers) as socket:
        stopping = asyncio.create_task(asyncio.to_thread(stack.stop))
        last = await socket.receive(timeout=30)
        stopped = await stopping
    stopped.assert_clean()
    return last.data if last.type is aiohttp.WSMsgType.CLOSE else None


async def _entries(stack: Stack, session: aiohttp.ClientSession, count: int) -> list[Any]:
    deadline = time.monotonic() + 10
    while len(found := await LogView(session, stack).newest(50)) < count:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)
    return found


async def _killed(stack: Stack, session: aiohttp.ClientSession) -> str:
    """Kill the edge in the middle of a session, and say what its entry says."""
    headers = {"cf-aig-authorization": stack.token}
    async with session.ws_connect(f"{stack.gateway_url()}/openai?model=m", headers=headers) as socket:
        await socket.send_str("Hello?")
        await socket.receive(timeout=5)
        await asyncio.to_thread(stack.kill, "edge-0")
        ended = await socket.receive(timeout=5)
        assert ended.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR)
    await asyncio.to_thread(stack.wait_ready)
    newest = (await _entries(stack, session, 4))[0]
    found = await call(session, f"{stack.logs_url}/{newest['id']}", method="GET", token=stack.token)
    return str(found.json["result"].get("outcome", found.json["result"]))
