"""Cloudflare's own provider for Vercel's AI SDK, with only the host changed; and WebSockets through Envoy."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from scripts.node_setup import NODE, NODE_DIR, ensure_installed
from tests.e2e.calls import DONE
from tests.e2e.sdks.node import NodeSdk
from tests.e2e.upstreams import ANTHROPIC_KEY, CLIENT_KEY, OPENAI_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

    Ask = Callable[..., Awaitable[Any]]

WORKS = ("openai", "gpt-4o-mini")
REFUSES = ("openai", "gpt-4o-mini+status=500")
CLAUDE = ("anthropic", "claude-haiku-4-5")
ANSWER = "The stand-in answers."
OTHER_ANSWER = "The other stand-in answers."


@pytest.fixture
async def ask(stack: Stack) -> AsyncIterator[Ask]:
    """Give a function that asks through the library, and tells what it gave or raised."""
    await asyncio.to_thread(ensure_installed)
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(NODE_DIR / "gateway_provider.mjs"),
        cwd=NODE_DIR,
        env={"HEADRACE_URL": stack.base_url, "HEADRACE_ACCOUNT": stack.account},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def put(*models: tuple[str, str], prompt: str = "hello", **case: Any) -> Any:
        asked = {"gateway": "default", "token": stack.token, "models": models, "prompt": prompt, **case}
        stdin.write(json.dumps(asked).encode() + b"\n")
        return json.loads(await asyncio.wait_for(stdout.readline(), 30))

    yield put
    stdin.close()
    await process.wait()


async def test_fallback_arrays(ask: Ask, upstreams: Upstreams, stack: Stack) -> None:
    """The first model that answers does, as an answer or as a stream, by that model's own parser."""
    marker = f"hello {uuid.uuid4()}"
    first = await ask(WORKS, CLAUDE)
    second = await ask(REFUSES, CLAUDE, prompt=marker)
    streamed = await ask(REFUSES, CLAUDE, prompt="Tell me a long story.", stream=True)
    responses = await ask(CLAUDE, ("responses", "gpt-4o-mini"))
    to_openai, to_anthropic = upstreams.received(marker)

    assert (ANSWER, [{"step": "0", "status": 200}]) == (first["text"], first["calls"])
    assert (OTHER_ANSWER, [{"step": "1", "status": 200}]) == (second["text"], second["calls"])
    assert streamed["text"].endswith("went hungry that winter.")
    assert streamed["pieces"] > 3
    assert OTHER_ANSWER == responses["text"]
    assert (f"Bearer {OPENAI_KEY}", ANTHROPIC_KEY) == (
        to_openai.header("authorization"), to_anthropic.header("x-api-key"),
    )  # fmt: skip
    assert not any(name.startswith("cf-") for name in to_anthropic.header_names())


async def test_each_step_has_its_own_key(ask: Ask, upstreams: Upstreams) -> None:
    """A key that the client has for its models goes to them; none goes to another's provider."""
    marker = f"hello {uuid.uuid4()}"
    answered = await ask(WORKS, prompt=marker, key=CLIENT_KEY)
    (received,) = upstreams.received(marker)

    assert (ANSWER, f"Bearer {CLIENT_KEY}") == (answered["text"], received.header("authorization"))


async def test_error_classes(ask: Ask) -> None:
    """The library knows our refusals by its own classes, and a provider's error by the SDK's."""
    nowhere = await ask(WORKS, gateway="nonesuch")
    nobody = await ask(WORKS, token=None)
    refused = await ask(REFUSES, ("anthropic", "claude-haiku-4-5+status=429"))
    refused_stream = await ask(("openai", "gpt-4o-mini+status=401"), stream=True)

    assert "AiGatewayDoesNotExist" == nowhere["raised"]
    assert "AiGatewayUnauthorizedError" == nobody["raised"]
    assert ("AI_APICallError", 429, True) == (refused["raised"], refused["status"], refused["retryable"])
    assert "1" == refused["calls"][-1]["step"]
    assert ("AI_APICallError", 401) == (refused_stream["raised"], refused_stream["status"])


async def test_unified_models(ask: Ask, stack: Stack, session: aiohttp.ClientSession) -> None:
    """A step may name provider and model in one, or a dynamic route; the AI SDK by itself as well."""
    name = f"route-{uuid.uuid4().hex[:8]}"
    base = f"{stack.base_url}/client/v4/accounts/{stack.account}/ai-gateway/gateways/default/routes"
    async with session.post(
        base, json={"name": name, "elements": _ELEMENTS}, headers={"authorization": f"Bearer {stack.token}"}
    ) as answer:
        assert 200 == answer.status, await answer.text()

    named = await ask(REFUSES, ("unified", "anthropic/claude-haiku-4-5"))
    routed = await ask(("unified", f"dynamic/{name}"))
    sdk = NodeSdk(stack.openai_base_url, stack.token, "sdk_vercel.mjs")
    direct = await sdk.stream(f"dynamic/{name}", "hello")
    await sdk.close()

    assert (OTHER_ANSWER, "1") == (named["text"], named["calls"][0]["step"])
    # Whatever the route tried, it is the client's first step, by which the library finds its parser.
    assert (OTHER_ANSWER, "0") == (routed["text"], routed["calls"][0]["step"])
    assert OTHER_ANSWER == direct.text


_ELEMENTS = [
    {"id": "s", "type": "start", "outputs": {"next": {"elementId": "m1"}}},
    {
        "id": "m1",
        "type": "model",
        "properties": {
            "provider": "openai",
            "model": "gpt-4o-mini+status=500",
            "timeout": 10000,
            "retries": 0,
        },
        "outputs": {"success": {"elementId": "e"}, "fallback": {"elementId": "m2"}},
    },
    {
        "id": "m2",
        "type": "model",
        "properties": {"provider": "anthropic", "model": "claude-haiku-4-5", "timeout": 10000, "retries": 0},
        "outputs": {"success": {"elementId": "e"}},
    },
    {"id": "e", "type": "end", "outputs": {}},
]


async def test_websocket(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Through Envoy, an answer and a refusal come on one connection."""
    query = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    step = {"provider": "openai", "endpoint": "chat/completions", "query": query}
    async with session.ws_connect(
        stack.gateway_url(), headers={"cf-aig-authorization": stack.token}
    ) as socket:
        await socket.send_json({"type": "universal.create", "request": {**step, "eventId": "a"}})
        answered = await socket.receive_json(timeout=20)
        await socket.send_json({"type": "universal.create", "request": {**step, "provider": "nonesuch"}})
        refused = await socket.receive_json(timeout=20)

    assert ("a", ANSWER) == (
        answered["metadata"]["eventId"], answered["response"]["choices"][0]["message"]["content"],
    )  # fmt: skip
    assert ("universal.error", 2008) == (refused["type"], refused["error"]["internalCode"])


@pytest.mark.parametrize("further", [(), ("mine",)])
async def test_websocket_of_a_browser(stack: Stack, further: tuple[str, ...]) -> None:
    """A client that sets no headers gets in by a subprotocol, and reads a stream event by event."""
    await asyncio.to_thread(ensure_installed)
    token = f"cf-aig-authorization.{stack.token}"
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), str(NODE_DIR / "websocket.mjs"), stack.gateway_url(), *further, token),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    told = json.loads(out)
    begun, *events, last, ended = told["messages"]
    text = "".join(
        choice["delta"].get("content") or "" for event in events for choice in event["response"]["choices"]
    )

    assert ((*further, token)[0], 1000, True) == (told["protocol"], told["code"], told["wasClean"])
    assert ("universal.created", "universal.done", ANSWER) == (begun["type"], ended["type"], text)
    assert DONE == last["response"]
    assert begun["metadata"] == ended["metadata"]


async def test_a_websocket_that_is_refused(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Without a token that may run there is none."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await session.ws_connect(stack.gateway_url(), protocols=("cf-aig-authorization.nope",))

    assert 401 == caught.value.status
