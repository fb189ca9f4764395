"""The first request: what `headrace up` prints works, answered by a real model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.calls import DONE, call, chat_body, events_of

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.log_view import LogView
    from tests.fakes.stack import Stack

LOCAL_MODEL = "local/smollm2-135m-instruct"
# A command over several lines, each but the last with a backslash at its end.
CURL = re.compile(r"^[^\n]*?(curl (?:[^\n]*\\\n)*[^\n]*)\n", re.MULTILINE)
QUESTION = "What is Cloudflare?"


def printed_curl(stack: Stack) -> str:
    """Give the command that the user is told to paste, as it stands on the screen."""
    deadline = time.monotonic() + 15
    while not (match := CURL.search(stack.log())):
        # The gateway answers a moment before `up` has noticed that it does.
        assert time.monotonic() < deadline, stack.log_end()
        time.sleep(0.05)
    return match[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl to paste the command for")
def test_the_printed_curl_works_as_pasted(stack: Stack) -> None:
    """The printed command, given to a shell as it is, is answered with text from the local model."""
    done = subprocess.run(
        ["sh", "-c", printed_curl(stack)], capture_output=True, text=True, timeout=60, check=True
    )
    answer = json.loads(done.stdout)

    assert LOCAL_MODEL.partition("/")[2] in answer["model"].lower()
    assert len(answer["choices"][0]["message"]["content"].split()) > 5


async def test_the_local_model_answers(stack: Stack, session: aiohttp.ClientSession, logs: LogView) -> None:
    """A question to the local model is answered in words, with usage, and costs nothing."""
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(LOCAL_MODEL, QUESTION, max_tokens=32),
        token=stack.token,
    )
    entry = await logs.entry(answer.log_id)

    assert answer.status == 200
    assert len(answer.text.split()) > 5
    assert answer.headers["cf-aig-provider"] == "local"
    assert answer.json["usage"]["completion_tokens"] > 5
    assert entry["cost"] == 0
    assert entry["tokens_out"] == answer.json["usage"]["completion_tokens"]


async def test_the_local_model_streams_token_by_token(stack: Stack, session: aiohttp.ClientSession) -> None:
    """With `stream` the words come one after the other, as the model makes them."""
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(LOCAL_MODEL, QUESTION, max_tokens=48, stream=True),
        token=stack.token,
    )
    deltas = [
        event.json["choices"][0]["delta"].get("content")
        for event in answer.events
        if event.data != DONE and event.json["choices"]
    ]
    spread_s = answer.read_at[-1] - answer.read_at[0]

    assert answer.status == 200
    assert answer.events[-1].data == DONE
    assert len([delta for delta in deltas if delta]) >= 10
    # All at once would be one read, or several within a blink.
    assert len(answer.read_at) >= 5
    assert spread_s > 0.02


async def test_a_paced_upstream_is_passed_on_as_it_comes(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    """Each piece that an upstream sends reaches the client before the upstream sends its last one."""
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body("openai/gpt-4o-mini+words=10+pace=30", "paced", stream=True),
        token=stack.token,
    )

    assert events_of(answer.body)[-1].data == DONE
    assert len(answer.read_at) >= 8
    assert answer.read_at[-1] - answer.read_at[0] > 0.2
