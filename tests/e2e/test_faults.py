"""
Upstreams that misbehave, one after the other, with all that a gateway does about it switched on.

Each case tells what the client got, what the providers saw (how often they were asked, and how long after
each other), and what the log says. Every case in which a complete answer was to be had ends in it.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.calls import Answer, call
from tests.e2e.log_view import LogView
from tests.e2e.topologies import one_topology

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

# How services are reached makes no difference to what an edge tries.
topology = one_topology

ANSWER = "one two three four"
OTHER = "five six seven eight"
RETRY = {"maxAttempts": 3, "retryDelay": 20, "backoff": "exponential"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    A fault, and what is to come of it.

    Attributes:
        fault: What the first provider does wrong.
        asked: How often it is asked.
        falls_back: Whether the second provider answers.
        gaps_s: Least time between two of the first provider's requests.
        reasons: What the log says of the attempts that failed.
        config: Of the first step.
        streamed_only: There is no such thing without a stream.
    """

    fault: str
    asked: int
    falls_back: bool = False
    gaps_s: tuple[float, ...] = ()
    reasons: tuple[str, ...]
    config: tuple[tuple[str, Any], ...] = ()
    streamed_only: bool = False


CASES = {
    "429 without a word": Case(fault="status=429+first=2", asked=3, reasons=("RATE_LIMIT",) * 2),
    "429 with a time in seconds": Case(
        fault="status=429+retry-after=1+first=1", asked=2, gaps_s=(1.0,), reasons=("RATE_LIMIT",)
    ),
    "429 with a time in milliseconds": Case(
        fault="status=429+retry-after-ms=300+first=1", asked=2, gaps_s=(0.3,), reasons=("RATE_LIMIT",)
    ),
    "429 with a time that is too long": Case(
        fault="status=429+retry-after=3600", asked=1, falls_back=True, reasons=("RATE_LIMIT",)
    ),
    "500 once": Case(fault="status=500+first=1", asked=2, gaps_s=(0.018,), reasons=("SERVER",)),
    "503 for ever": Case(
        fault="status=503", asked=3, falls_back=True, gaps_s=(0.018, 0.036), reasons=("SERVER",) * 3
    ),
    "503 with a page": Case(fault="status=503+html+first=1", asked=2, reasons=("SERVER",)),
    "408": Case(fault="status=408+first=1", asked=2, reasons=("SERVER",)),
    "reset before headers": Case(fault="reset+first=2", asked=3, reasons=("UNREACHABLE",) * 2),
    "reset for ever": Case(
        fault="reset", asked=3, falls_back=True, reasons=("UNREACHABLE",) * 3
    ),
    "silence": Case(
        fault="silent", asked=1, falls_back=True, reasons=("TIMEOUT",),
        config=(("requestTimeout", 300), ("maxAttempts", 1)),
    ),
    "silence once": Case(
        fault="silent+first=1", asked=2, reasons=("TIMEOUT",), config=(("requestTimeout", 300),)
    ),
    "a slow first token": Case(
        fault="slow-body=5000", asked=1, falls_back=True, reasons=("TIMEOUT",),
        config=(("requestTimeout", 300), ("maxAttempts", 1)), streamed_only=True,
    ),
    "nothing but signs of life": Case(
        fault="keep-alive-only=50", asked=1, falls_back=True, reasons=("TIMEOUT",),
        config=(("requestTimeout", 300), ("maxAttempts", 1)), streamed_only=True,
    ),
    "cut before the first word": Case(fault="cut=0+first=1", asked=2, reasons=("CUT",)),
    "an error in place of the first word": Case(
        fault="first-error=overloaded_error+first=1", asked=2, reasons=("SERVER",), streamed_only=True
    ),
    "nonsense": Case(fault="malformed=0+first=1", asked=2, reasons=("MALFORMED",)),
    "too long for the model": Case(
        fault="status=400+error=context_length_exceeded", asked=1, falls_back=True,
        reasons=("CONTEXT_LENGTH",),
    ),
    "against the content policy": Case(
        fault="status=400+error=content_policy_violation", asked=1, falls_back=True,
        reasons=("CONTENT_POLICY",),
    ),
    "a bad request": Case(fault="status=400", asked=1, falls_back=True, reasons=("INVALID_REQUEST",)),
    "a refused key": Case(fault="status=401", asked=1, falls_back=True, reasons=("AUTHENTICATION",)),
    "an unknown model": Case(fault="status=404", asked=1, falls_back=True, reasons=("NOT_FOUND",)),
    "overloaded": Case(fault="status=529+first=1", asked=2, reasons=("SERVER",)),
}  # fmt: skip


def _step(model: str, marker: str, *, stream: bool, config: dict[str, Any]) -> dict[str, Any]:
    query: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": marker}],
        "max_tokens": 50,
        **({"stream": True} if stream else {}),
    }
    return {"provider": "compat", "endpoint": "chat/completions", "config": config, "query": query}


def _text(words: str) -> str:
    return words.replace(" ", "%20")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CASES)
async def test_a_fault_before_the_answer_begins(
    stack: Stack,
    session: aiohttp.ClientSession,
    upstreams: Upstreams,
    logs: LogView,
    record_property: Callable[[str, object], None],
    name: str,
    *,
    streamed: bool,
) -> None:
    """The client gets a whole answer of the first provider that gives one."""
    case = CASES[name]
    if case.streamed_only and not streamed:
        pytest.skip("only streams do this")
    marker = f"fault-{uuid.uuid4()}"
    steps = [
        _step(
            f"openai/gpt-4o+text={_text(ANSWER)}+{case.fault}",
            marker,
            stream=streamed,
            config={**RETRY, **dict(case.config)},
        ),
        _step(f"anthropic/claude-haiku-4-5+text={_text(OTHER)}", marker, stream=streamed, config={}),
    ]
    began_s = time.monotonic()
    answer = await call(
        session, stack.gateway_url(), steps, headers={"cf-aig-authorization": f"Bearer {stack.token}"}
    )
    record_property("took_ms", round((time.monotonic() - began_s) * 1000))

    assert (200, OTHER if case.falls_back else ANSWER) == (answer.status, answer.text)
    assert str(int(case.falls_back)) == answer.headers["cf-aig-step"]
    if streamed:
        assert "[DONE]" == answer.events[-1].data
    received = upstreams.received(marker, count=case.asked + case.falls_back)
    first = [one for one in received if b"gpt-4o" in one.body]
    assert (case.asked, int(case.falls_back)) == (len(first), len(received) - len(first))
    gaps_s = [later.at - earlier.at for earlier, later in pairwise(first)]
    for gap_s, least_s in zip(gaps_s, case.gaps_s, strict=False):
        assert gap_s >= least_s
    entry = await logs.entry(answer.log_id)
    # A connection that breaks and a body that ends early are the same to a client.
    told = [attempt["error_reason"] or "" for attempt in entry["attempts"]]
    failed = [reason.removeprefix("UPSTREAM_") for reason in told if reason]
    assert list(case.reasons) == failed
    assert (len(received), "success") == (len(entry["attempts"]), entry["outcome"])


BROKEN = {
    "cut": "cut=2",
    "ended without a word": "end=2",
    "malformed": "malformed=2",
    "an error event": "error-after=2",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_fault_in_the_middle_without_failover(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams, logs: LogView, name: str
) -> None:
    """The client is told, and nothing that was sent is sent again; no other provider is asked."""
    marker = f"fault-{uuid.uuid4()}"
    steps = [
        _step(f"openai/gpt-4o+text={_text(ANSWER)}+{BROKEN[name]}", marker, stream=True, config=RETRY),
        _step(f"anthropic/claude-haiku-4-5+text={_text(OTHER)}", marker, stream=True, config={}),
    ]
    answer = await call(
        session, stack.gateway_url(), steps, headers={"cf-aig-authorization": f"Bearer {stack.token}"}
    )

    assert (200, "one two") == (answer.status, answer.text.strip())
    assert answer.events[-1].json["error"]["message"]
    assert b"[DONE]" not in answer.body
    assert 1 == len(upstreams.received(marker))
    entry = await logs.entry(answer.log_id)
    assert ("truncated", 1) == (entry["outcome"], len(entry["attempts"]))


GATEWAY = {
    "id": "failover",
    "authentication": True,
    "cache_invalidate_on_update": False,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
    "idle_timeout": 400,
    "stream_failover": True,
}
STREAMS = ("chat/completions", "messages", "responses")


@pytest.fixture
async def failover(stack: Stack, session: aiohttp.ClientSession) -> str:
    """Give the base of a gateway that continues streams, made when it is not there yet."""
    url = f"{stack.base_url}/client/v4/accounts/local/ai-gateway/gateways"
    made = await call(session, url, GATEWAY, token=stack.token)
    assert made.status in {200, 409}, made.body
    return stack.gateway_url("failover")


async def _broken(
    session: aiohttp.ClientSession,
    stack: Stack,
    base: str,
    models: list[str],
    endpoint: str = "chat/completions",
) -> tuple[str, Answer]:
    marker = f"failover-{uuid.uuid4()}"
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": marker}], "max_tokens": 99}
    if endpoint == "responses":
        asked = {"input": marker}
    steps = [
        {
            "provider": "compat",
            "endpoint": endpoint,
            "query": {"model": model, "stream": True, **asked},
        }
        for model in models
    ]
    headers = {"cf-aig-authorization": f"Bearer {stack.token}"}
    return marker, await call(session, base, steps, headers=headers)


def _words(endpoint: str, answer: Answer) -> str:
    """Give the text of a streamed answer, as the client of a dialect puts it together."""
    if endpoint == "chat/completions":
        return answer.text
    events = [event.json for event in answer.events if event.data != "[DONE]"]
    if endpoint == "messages":
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        return "".join(delta.get("text", "") for delta in deltas)
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


LAST = {"chat/completions": "[DONE]", "messages": "message_stop", "responses": "response.completed"}


def _last(answer: Answer) -> str:
    event = answer.events[-1]
    return event.name or event.data


@pytest.mark.parametrize("endpoint", STREAMS)
@pytest.mark.parametrize("fault", ["cut=2", "end=2", "stall=2", "malformed=2", "error-after=2"])
@pytest.mark.parametrize("fallback", ["the same words", "told to go on"])
async def test_a_fault_in_the_middle_with_failover(
    stack: Stack,
    session: aiohttp.ClientSession,
    upstreams: Upstreams,
    failover: str,
    endpoint: str,
    fault: str,
    fallback: str,
) -> None:
    """
    One answer, whole, without a word twice, with one beginning and one end.

    A fallback that says the same is spliced; one that would say something else goes on from what was sent.
    """
    # The fake speaks no responses; whom it plays here is spoken to in chat completions.
    model = "deepseek/deepseek-chat" if endpoint == "responses" else "openai/gpt-4o"
    first = f"{model}+text={_text(ANSWER)}+{fault}"
    second = f"anthropic/claude-haiku-4-5+text={_text(ANSWER)}"
    if fallback == "told to go on":
        second += "+prefill=go-on+otherwise=Never%20mind."
    marker, answer = await _broken(session, stack, failover, [first, second], endpoint)

    assert (200, ANSWER) == (answer.status, _words(endpoint, answer))
    assert LAST[endpoint] == _last(answer)
    assert 1 == sum(event.name == "message_start" for event in answer.events) or endpoint != "messages"
    assert "error" not in {event.name for event in answer.events}
    logs = LogView(session, stack, gateway="failover")
    entry = await logs.entry(answer.log_id)
    assert ("success", 2 if fallback == "the same words" else 3) == (
        entry["outcome"],
        len(entry["attempts"]),
    )
    costs = [attempt["cost"] for attempt in entry["attempts"] if attempt["cost"]]
    assert len(costs) >= 2
    assert sum(costs) == pytest.approx(entry["cost"])
    assert len(upstreams.received(marker)) == len(entry["attempts"])


async def test_a_fallback_that_breaks_off_too_is_gone_on_from(
    stack: Stack, session: aiohttp.ClientSession, failover: str
) -> None:
    """Three providers make one answer."""
    models = [
        f"openai/gpt-4o+text={_text(ANSWER)}+cut=1",
        f"anthropic/claude-haiku-4-5+text={_text(ANSWER)}+cut=3",
        f"groq/llama-3.3-70b-versatile+text={_text(ANSWER)}",
    ]
    _, answer = await _broken(session, stack, failover, models)

    assert (ANSWER, "[DONE]") == (answer.text, answer.events[-1].data)


@pytest.mark.parametrize(
    "second",
    [
        f"text={_text(OTHER)}+prefill=refuse",
        "status=503",
        "reset",
    ],
)
async def test_when_no_fallback_can_go_on_the_client_is_told(
    stack: Stack, session: aiohttp.ClientSession, failover: str, second: str
) -> None:
    """An error event, and what was sent is not sent again."""
    models = [f"openai/gpt-4o+text={_text(ANSWER)}+cut=2", f"anthropic/claude-haiku-4-5+{second}"]
    _, answer = await _broken(session, stack, failover, models)

    assert (200, "one two") == (answer.status, answer.text)
    assert answer.events[-1].json["error"]["message"]
    assert b"[DONE]" not in answer.body
    logs = LogView(session, stack, gateway="failover")
    assert "truncated" == (await logs.entry(answer.log_id))["outcome"]


async def test_a_stream_without_its_last_mark_is_whole(stack: Stack, session: aiohttp.ClientSession) -> None:
    """The finish reason came: only `[DONE]` is missing, which the client gets all the same."""
    body = {
        "model": f"openai/gpt-4o+text={_text(ANSWER)}+no-done",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }
    answer = await call(session, f"{stack.openai_base_url}/chat/completions", body, token=stack.token)

    assert (ANSWER, "[DONE]") == (answer.text, answer.events[-1].data)


async def test_when_nobody_answers_the_last_word_is_the_answer(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    """The client gets the last step's own error, in the dialect of that step, and its index."""
    marker = f"fault-{uuid.uuid4()}"
    steps = [
        _step("openai/gpt-4o+status=503", marker, stream=False, config={}),
        _step("anthropic/claude-haiku-4-5+status=529+message=busy", marker, stream=False, config={}),
    ]
    answer = await call(
        session, stack.gateway_url(), steps, headers={"cf-aig-authorization": f"Bearer {stack.token}"}
    )

    assert (529, "1") == (answer.status, answer.headers["cf-aig-step"])
    assert "busy" in answer.json["error"]["message"]
