"""Strict mode, the translation's report, uploads and errors through all processes."""

from __future__ import annotations

import io
import uuid
from typing import TYPE_CHECKING

import orjson

from tests.e2e.calls import call
from tests.e2e.upstreams import CLIENT_KEY

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

CLAUDE = "anthropic/claude-haiku-4-5"
CHAT = {"model": CLAUDE, "messages": [{"role": "user", "content": "hello"}], "seed": 7}


async def test_what_a_translation_drops_is_told(stack: Stack, session: aiohttp.ClientSession) -> None:
    """The header names it, beside usage as JSON; the log entry keeps it."""
    answer = await call(
        session, f"{stack.openai_base_url}/chat/completions", orjson.dumps(CHAT), token=stack.token
    )

    assert (200, "anthropic") == (answer.status, answer.headers["cf-aig-provider"])
    assert "dropped=seed" in answer.headers["cf-aig-translation"].split("; ")
    assert orjson.loads(answer.headers["cf-aig-usage"])["output_tokens"] > 0


async def test_strict_mode_refuses_it(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """With `cf-aig-strict` the same request is a 400 that names the parameter, and nothing is asked."""
    marker = f"strict-{uuid.uuid4().hex}"
    body = {**CHAT, "messages": [{"role": "user", "content": marker}]}
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        orjson.dumps(body),
        token=stack.token,
        headers={"cf-aig-strict": "true"},
    )

    assert (400, "unsupported", "seed") == (
        answer.status,
        answer.json["error"]["code"],
        answer.json["error"]["param"],
    )
    assert upstreams.received(marker) == []


async def test_a_long_native_body_is_sent_on(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """Above a megabyte it arrives whole and with its length, through every process."""
    marker = f"upload-{uuid.uuid4().hex}"
    message = {"role": "user", "content": marker + "x" * 3_000_000}
    body = orjson.dumps({"model": "gpt-4o-mini+words=2", "messages": [message]})
    headers = {
        "cf-aig-authorization": stack.token,
        "authorization": f"Bearer {CLIENT_KEY}",
        "content-type": "application/json",
    }
    url = f"{stack.gateway_url()}/openai/chat/completions"
    async with session.post(url, data=io.BytesIO(body), headers=headers) as answer:
        assert answer.status == 200
    (received,) = upstreams.received(marker, count=1)
    lengths = [value for name, value in received.headers if name.lower() == "content-length"]

    assert (body, [str(len(body))]) == (received.body, lengths)


async def test_errors_in_each_dialect(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A model without a provider is refused in the words of whoever asks."""
    root = stack.openai_base_url.removesuffix("/v1")
    anthropic = await call(
        session,
        f"{root}/v1/messages/count_tokens",
        b'{"model":"claude","messages":[{"role":"user","content":"hi"}]}',
        headers={"x-api-key": stack.token},
    )
    google = await call(
        session, f"{root}/v1beta/models/gemini:generateContent?key={stack.token}", b'{"contents":[]}'
    )

    assert (400, "error", "invalid_request_error") == (
        anthropic.status,
        anthropic.json["type"],
        anthropic.json["error"]["type"],
    )
    assert (400, 400, "INVALID_ARGUMENT") == (
        google.status,
        google.json["error"]["code"],
        google.json["error"]["status"],
    )
