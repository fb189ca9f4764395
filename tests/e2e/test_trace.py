"""The trace of one request, from Envoy to the upstream, as data."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.calls import Answer, call, chat_body
from tests.e2e.test_auth import new_token

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.log_view import LogView
    from tests.e2e.upstreams import Upstreams
    from tests.fakes.otlp_collector import Node
    from tests.fakes.stack import Stack


@dataclass(frozen=True, slots=True)
class Expected:
    """A span that must be there, with what must be directly below it; more may be there."""

    name: str
    kind: str
    children: tuple[Expected, ...] = ()

    def missing(self, nodes: tuple[Node, ...], path: str = "") -> list[str]:
        """Name what is not among some nodes and below."""
        here = f"{path}/{self.name} [{self.kind}]"
        found = [node for node in nodes if (node.span.name, node.span.kind) == (self.name, self.kind)]
        if not found:
            return [here]
        return [gap for child in self.children for gap in child.missing(found[0].children, here)]


def rpc(method: str, *children: Expected) -> Expected:
    """Expect a call between services: the client's span, and the server's below it."""
    return Expected(method, "CLIENT", (Expected(method, "SERVER", children),))


def whole_request(upstream: str, *, streamed: bool = False) -> Expected:
    """
    Expect what the design says of a request that no decision is cached for.

    Envoy, then the edge, then auth, router, cache and provider, then the upstream. Nobody looks for a stream
    in the cache.
    """
    cache = () if streamed else (rpc("headrace.cache.v1.CacheService/Lookup"),)
    return Expected(
        "envoy.http",
        "SERVER",
        (
            Expected(
                "POST /v1/chat/completions",
                "SERVER",
                (
                    rpc("headrace.auth.v1.AuthService/Authenticate"),
                    rpc("headrace.router.v1.RouterService/Plan"),
                    *cache,
                    rpc("headrace.provider.v1.ProviderService/Invoke", Expected(upstream, "CLIENT")),
                ),
            ),
        ),
    )


async def traced(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams, model: str, text: str, **members: Any
) -> tuple[Answer, str, tuple[Node, ...]]:
    """Ask a question within a trace of the client's, and give the answer, the trace's id and its trees."""
    trace_id = secrets.token_hex(16)
    token = await asyncio.to_thread(new_token, stack)
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(model, text, **members),
        token=token,
        headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01", "cf-aig-cache-ttl": "60"},
    )
    expected = whole_request(f"chat {model.partition('/')[2]}", streamed=members.get("stream", False))
    trees = await asyncio.to_thread(
        upstreams.collector.wait_for, trace_id, lambda trees: not expected.missing(trees)
    )
    return answer, trace_id, trees


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_one_request_makes_one_trace(
    stack: Stack,
    session: aiohttp.ClientSession,
    upstreams: Upstreams,
    streamed: bool,  # noqa: FBT001  # a test's parameter
) -> None:
    """A request's spans make one tree in the client's trace; the upstream is told its place in it."""
    marker = uuid.uuid4().hex
    model = f"openai/gpt-4o-mini+text=hello+n={marker[:6]}"
    answer, trace_id, trees = await traced(stack, session, upstreams, model, marker, stream=streamed)
    drawn = "\n".join(tree.sketch() for tree in trees)
    [received] = upstreams.received(marker)

    assert answer.status == 200
    assert whole_request(f"chat {model.partition('/')[2]}", streamed=streamed).missing(trees) == [], drawn
    assert len(trees) == 1, drawn
    [to_upstream] = trees[0].find(name=f"chat {model.partition('/')[2]}")
    assert received.header("traceparent") == f"00-{trace_id}-{to_upstream.span.span_id}-01"


async def test_the_inference_span_speaks_the_genai_conventions(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """The span of the call to the provider has `gen_ai.*` attributes for model, finish reason and usage."""
    model = f"claude-haiku-4-5+text=hi%20there+n={uuid.uuid4().hex[:6]}"
    _, _, trees = await traced(stack, session, upstreams, f"anthropic/{model}", "hello")
    [node] = trees[0].find(name=f"chat {model}")
    attributes = node.span.attributes

    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.provider.name"] == "anthropic"
    assert attributes["gen_ai.request.model"] == model
    assert attributes["gen_ai.response.model"] == "claude-haiku-4-5"
    assert attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert attributes["gen_ai.usage.input_tokens"] > 0
    assert attributes["gen_ai.usage.output_tokens"] > 0


async def test_prompts_and_answers_are_absent(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """No span of the trace has any of the words of the question or of the answer."""
    question, answer_text = uuid.uuid4().hex, uuid.uuid4().hex
    model = "openai/gpt-4o-mini+echo"
    answer, _, trees = await traced(stack, session, upstreams, model, f"{question} {answer_text}")
    spans = [node.span for tree in trees for node in tree.walk()]

    assert answer_text in answer.text
    assert spans
    for span in spans:
        for word in (question, answer_text):
            assert word not in str(span.attributes)
            assert word not in str(span.events)


async def test_a_failure_marks_the_trace(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """The span of a call that the provider refused is marked as an error, with its kind."""
    model = f"gpt-4o-mini+status=429+n={uuid.uuid4().hex[:6]}"
    answer, _, trees = await traced(stack, session, upstreams, f"openai/{model}", "hello")
    [node] = trees[0].find(name=f"chat {model}")

    assert answer.status == 429
    assert node.span.status == "STATUS_CODE_ERROR"
    assert node.span.attributes["error.type"]
    assert node.span.attributes["http.response.status_code"] == 429


async def test_log_entry_and_access_log_name_the_trace(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams, logs: LogView
) -> None:
    """From a log entry, and from Envoy's access log, one finds the trace."""
    model = f"openai/gpt-4o-mini+n={uuid.uuid4().hex[:6]}"
    answer, trace_id, _ = await traced(stack, session, upstreams, model, "hello")
    entry = await logs.entry(answer.log_id)
    line = json.loads(await asyncio.to_thread(stack.wait_for_line, f'"log_id":"{answer.log_id}"'))

    assert entry["trace_id"] == trace_id
    assert line["service"] == "envoy"
    assert line["trace_id"] == trace_id
    assert line["status"] == 200
