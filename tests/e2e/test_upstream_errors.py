"""Upstreams that refuse, break off or talk nonsense, as an OpenAI client sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.calls import call, chat_body

if TYPE_CHECKING:
    import aiohttp

    from tests.fakes.stack import Stack

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"


@pytest.mark.parametrize("model", [GPT, CLAUDE])
@pytest.mark.parametrize(
    ("directives", "status"),
    [
        ("status=400", 400),
        ("status=401", 401),
        ("status=429+retry-after=7", 429),
        ("status=500", 500),
        ("status=503+html", 503),
    ],
)
async def test_a_providers_error_keeps_its_status(
    stack: Stack, session: aiohttp.ClientSession, model: str, directives: str, status: int
) -> None:
    """A provider's refusal reaches an OpenAI client with its status, as an OpenAI error object."""
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(f"{model}+{directives}", "hi"),
        token=stack.token,
    )

    assert answer.status == status
    assert answer.json["error"]["message"]
    assert b"Traceback" not in answer.body
    if "retry-after" in directives:
        assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("model", [GPT, CLAUDE])
@pytest.mark.parametrize("directive", ["cut=2", "end=2", "malformed=2", "error-after=2"])
async def test_a_stream_that_breaks_is_never_presented_as_whole(
    stack: Stack, session: aiohttp.ClientSession, model: str, directive: str
) -> None:
    """A stream that its provider cuts, ends early or garbles has an error event, and no `[DONE]`."""
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(f"{model}+words=8+{directive}", "hi", stream=True),
        token=stack.token,
    )

    assert answer.status == 200
    assert answer.text == "w0 w1"
    assert b"[DONE]" not in answer.body
    assert answer.events[-1].json["error"]["message"]


@pytest.mark.parametrize("model", [GPT, CLAUDE])
@pytest.mark.parametrize(
    ("directive", "streamed"),
    [
        ("reset", False),
        ("reset", True),
        ("malformed", False),
        ("cut=0", False),
        ("first-error=api_error", True),
    ],
)
async def test_an_upstream_that_fails_before_the_first_byte(
    stack: Stack,
    session: aiohttp.ClientSession,
    model: str,
    directive: str,
    streamed: bool,  # noqa: FBT001  # a test's parameter
) -> None:
    """What fails before anything was sent is an error with a status, not a broken stream."""
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(f"{model}+{directive}", "hi", stream=streamed),
        token=stack.token,
    )

    assert answer.status in {500, 502, 503, 529}
    assert answer.json["error"]["message"]
    assert b"Traceback" not in answer.body
