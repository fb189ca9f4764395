"""Secrets and prompts stay where they belong."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import TYPE_CHECKING

import aiohttp
import orjson
import pytest

from services.providers.registry import PROVIDERS
from tests.e2e.calls import call, chat_body
from tests.e2e.every_provider import call_every_provider
from tests.e2e.keys import CLIENT_KEY, secrets
from tests.e2e.log_view import LogView
from tests.e2e.topologies import each_topology_of_its_own
from tests.fakes.provider_sides import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.e2e.calls import Answer
    from tests.e2e.conftest import Launch
    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack, Topology

BAD_TOKEN = "hr_canarycanary_" + "C4naryC4nary" * 3 + "C4naryX"
QUERY_KEY = "sk-canary-in-query-9d2b"
STORED_KEY, NEXT_STORED_KEY = "sk-canary-stored-openai-1c44d7", "sk-canary-stored-openai-b0e9f2"
PROMPT = f"canary-prompt-{uuid.uuid4().hex}"


async def exercise(stack: Stack, session: aiohttp.ClientSession, slugs: Collection[str]) -> list[bytes]:
    """Use the gateway in every way that has a secret in it, and give all answers."""
    short, native = f"{stack.openai_base_url}/chat/completions", f"{stack.gateway_url()}/openai"
    ours = {"cf-aig-authorization": f"Bearer {stack.token}"}
    theirs = {"authorization": f"Bearer {CLIENT_KEY}"}
    models = [
        "openai/gpt-4o-mini",
        "anthropic/claude-haiku-4-5",
        "openai/gpt-4o-mini+status=401+message=Wrong%20key",
        "openai/gpt-4o-mini+words=4+cut=2",
        "openai/gpt-4o-mini+reset",
        "nonesuch/model",
    ]
    answers = [
        await call(session, short, chat_body(model, PROMPT, stream=streamed), token=stack.token)
        for model in models
        for streamed in (False, True)
    ]
    answers += [
        await call(session, short, chat_body(models[0], PROMPT), token=BAD_TOKEN),
        await call(session, short, chat_body(models[0], PROMPT), headers={**ours, **theirs}),
        await call(
            session,
            f"{native}/chat/completions?key={QUERY_KEY}",
            chat_body("gpt-4o-mini", PROMPT),
            headers={**ours, **theirs},
        ),
        await call(session, f"{native}/models", method="GET", headers={**ours, "x-api-key": CLIENT_KEY}),
        await call(session, short, b"{" + PROMPT.encode(), token=stack.token),
    ]
    gemini = f"{stack.openai_base_url}beta/models/openai/gpt-4o-mini"
    contents = orjson.dumps({"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]})
    answers += [
        await call(session, f"{gemini}:{method}{query}key={key}", contents)
        for method, query in (("generateContent", "?"), ("streamGenerateContent", "?alt=sse&"))
        for key in (stack.token, BAD_TOKEN)
    ]
    answers.append(await call(session, f"{stack.openai_base_url}/models", method="GET", token=stack.token))
    answers += await with_stored_keys(stack, session)
    seen = shown(answers) + await call_every_provider(stack, session, PROMPT, slugs=slugs)
    return seen + await logged(stack, session)


async def with_stored_keys(stack: Stack, session: aiohttp.ClientSession) -> list[Answer]:
    """Keep a key, use it, change it, use it again, see what is shown of it, and rotate the master key."""
    configs = f"{stack.logs_url.removesuffix('/logs')}/provider_configs"
    chat = f"{stack.gateway_url()}/openai/chat/completions"
    headers = {"cf-aig-authorization": f"Bearer {stack.token}", "cf-aig-byok-alias": "canary"}
    key = {"provider_slug": "openai", "alias": "canary", "default_config": False, "secret": STORED_KEY}
    made = await call(session, configs, orjson.dumps(key), token=stack.token)
    one = f"{configs}/{made.json['result']['id']}"
    change = orjson.dumps({"secret": NEXT_STORED_KEY})
    answers = [
        made,
        await call(session, chat, chat_body("gpt-4o-mini", PROMPT), headers=headers),
        await call(session, one, change, method="PUT", token=stack.token),
        await call(session, chat, chat_body("gpt-4o-mini", PROMPT, stream=True), headers=headers),
        await call(session, configs, method="GET", token=stack.token),
    ]
    # The stand-in takes the operator's key and the client's alone: that it refuses shows which was sent.
    assert [200, 401, 200, 401, 200] == [answer.status for answer in answers]
    await asyncio.to_thread(stack.cli, "vault", "rotate")
    return [*answers, await call(session, chat, chat_body("gpt-4o-mini", PROMPT), headers=headers)]


def shown(answers: list[Answer]) -> list[bytes]:
    """Give all that a client sees of answers."""
    return [answer.body for answer in answers] + [
        f"{answer.status} {name}: {value}".encode()
        for answer in answers
        for name, value in answer.headers.items()
    ]


async def logged(stack: Stack, session: aiohttp.ClientSession) -> list[bytes]:
    """Give what the log shows of requests; what it has of all others is looked for in its files."""
    entries = await LogView(session, stack).newest(300)
    turns = asyncio.Semaphore(8)

    async def read(path: str) -> bytes:
        async with turns:
            return (await call(session, stack.logs_url + path, method="GET", token=stack.token)).body

    paths = [f"/{entry['id']}{part}" for entry in entries for part in ("", "/response")]
    return await asyncio.gather(*map(read, paths))


async def metrics_of(stack: Stack) -> dict[str, bytes]:
    """Give the metrics of every process."""
    metrics = {}
    for path in stack.run_dir.glob("*-admin.sock"):
        connector = aiohttp.UnixConnector(path=str(path))
        async with aiohttp.ClientSession(connector=connector) as session:
            metrics[path.name] = (await call(session, "http://admin/metrics", method="GET")).body
    return metrics


def files_of(stack: Stack) -> dict[str, bytes]:
    """Give everything that is on disk, but for the file that holds the token."""
    return {
        str(path): path.read_bytes()
        for directory in (stack.data_dir, stack.run_dir)
        for path in directory.rglob("*")
        if path.is_file() and path != stack.data_dir / "token"
    }


@pytest.mark.timeout(300)
@each_topology_of_its_own
async def test_no_secret_and_no_prompt_where_it_should_not_be(
    launch: Launch, topology: Topology, session: aiohttp.ClientSession, upstreams: Upstreams, *, whole: bool
) -> None:
    """
    Keys and tokens are nowhere but where they belong; prompts are in no telemetry.

    The same code speaks to every provider in both topologies: without --whole, one provider of each adapter
    is enough in one of them.
    """
    slugs = PROVIDERS if whole or topology == "inline" else ADAPTERS
    stack = await asyncio.to_thread(launch, topology, HEADRACE_LOG_LEVEL="debug")
    answers = await exercise(stack, session, slugs)
    commands = {name: str(process.cmdline()).encode() for name, process in stack.processes().items()}
    metrics = await metrics_of(stack)
    checked = await asyncio.to_thread(stack.cli, "doctor")
    token = stack.token
    await envoys_spans(upstreams, stack)
    # Stopping flushes spans and the last log lines.
    (await asyncio.to_thread(stack.stop)).assert_clean()
    telemetry = {
        "log": stack.log().encode(),
        "spans": str(upstreams.collector.spans()).encode(),
        **{f"metrics of {name}": text for name, text in metrics.items()},
    }
    everywhere = {
        **telemetry,
        **files_of(stack),
        "doctor": checked.encode(),
        **{f"command of {name}": command for name, command in commands.items()},
        **{f"answer {number}": answer for number, answer in enumerate(answers)},
    }
    hidden = [*secrets(), STORED_KEY, NEXT_STORED_KEY, token, token.split("_", 2)[2], BAD_TOKEN, QUERY_KEY]

    assert metrics
    assert len(answers) > (2_500 if slugs is PROVIDERS else 1_200)
    assert leaks(everywhere, hidden) == []
    assert leaks(telemetry, [PROMPT]) == []


async def envoys_spans(upstreams: Upstreams, stack: Stack) -> None:
    """Wait for Envoy's spans, which it does not send when it is stopped before their time."""
    url = f"{stack.gateway_url()}/openai/models"
    deadline = time.monotonic() + 10
    while not any(span.attributes.get("http.url") == url for span in upstreams.collector.spans()):
        assert time.monotonic() < deadline, "no span of Envoy for the last request"
        await asyncio.sleep(0.1)


def leaks(places: dict[str, bytes], words: list[str]) -> list[tuple[str, str]]:
    """Name the places that have one of the words, with the word."""
    anywhere = re.compile("|".join(re.escape(word) for word in words).encode())
    return [(place, found[0].decode()) for place, text in places.items() if (found := anywhere.search(text))]
