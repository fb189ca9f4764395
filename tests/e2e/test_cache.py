"""Exact-match caching, seen from outside."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.calls import Answer, call, chat_body
from tests.e2e.upstreams import CLIENT_KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

    from tests.e2e.log_view import LogView
    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

MODEL = "openai/gpt-4o-mini"
TTL = {"cf-aig-cache-ttl": "60"}


@pytest.fixture
def marker() -> str:
    """Give a text that no other test asks."""
    return f"cached {uuid.uuid4().hex}"


@pytest.fixture
def ask(stack: Stack, session: aiohttp.ClientSession, marker: str) -> Callable[..., Awaitable[Answer]]:
    """Give a call that asks the marker's question, with further headers and body members."""

    async def ask(headers: dict[str, str] | None = None, **members: Any) -> Answer:
        body = chat_body(members.pop("model", MODEL), members.pop("text", marker), **members)
        url = f"{stack.gateway_url()}/compat/chat/completions"
        return await call(session, url, body, token=stack.token, headers=headers)

    return ask


def statuses(*answers: Answer) -> list[str | None]:
    """Give what each answer says of the cache."""
    assert [answer.status for answer in answers] == [200] * len(answers)
    return [answer.headers.get("cf-aig-cache-status") for answer in answers]


async def test_the_same_request_twice_is_a_miss_then_a_hit(
    ask: Callable[..., Awaitable[Answer]], marker: str, upstreams: Upstreams, logs: LogView
) -> None:
    """The second answer has the first one's body, asks no upstream, and costs nothing."""
    first, second = await ask(TTL), await ask(TTL)
    missed, hit = await logs.entry(first.log_id), await logs.entry(second.log_id)

    assert statuses(first, second) == ["MISS", "HIT"]
    assert first.body == second.body
    assert len(upstreams.received(marker)) == 1
    assert (missed["cached"], hit["cached"]) == (False, True)
    assert missed["cost"] > 0
    assert hit["cost"] == 0


async def test_without_a_ttl_nothing_is_cached(
    ask: Callable[..., Awaitable[Answer]], marker: str, upstreams: Upstreams
) -> None:
    """Caching is off unless the request or the gateway asks for it."""
    first, second = await ask(), await ask()

    assert "HIT" not in statuses(first, second)
    assert len(upstreams.received(marker)) == 2


async def test_another_body_misses(ask: Callable[..., Awaitable[Answer]], marker: str) -> None:
    """A body that differs in anything is another request."""
    first = await ask(TTL)
    others = [await ask(TTL, temperature=0.5), await ask(TTL, text=f"{marker} more")]

    assert statuses(first, *others) == ["MISS", "MISS", "MISS"]


async def test_another_key_misses(ask: Callable[..., Awaitable[Answer]], stack: Stack, marker: str) -> None:
    """An answer that one provider key paid for is not given to another."""
    token = {"cf-aig-authorization": f"Bearer {stack.token}"}
    with_operators_key = await ask(TTL)
    with_clients_key = await ask({**TTL, **token, "authorization": f"Bearer {CLIENT_KEY}"})

    assert statuses(with_operators_key, with_clients_key) == ["MISS", "MISS"]


async def test_skip_cache_asks_anew(
    ask: Callable[..., Awaitable[Answer]], marker: str, upstreams: Upstreams
) -> None:
    """`cf-aig-skip-cache` asks the provider although there is an answer."""
    first, skipped = await ask(TTL), await ask({**TTL, "cf-aig-skip-cache": "true"})

    assert statuses(first)[0] == "MISS"
    assert skipped.status == 200
    assert skipped.headers.get("cf-aig-cache-status") != "HIT"
    assert len(upstreams.received(marker)) == 2


async def test_a_custom_key_takes_the_place_of_the_body(
    ask: Callable[..., Awaitable[Answer]], marker: str
) -> None:
    """Different bodies under one `cf-aig-cache-key` share an answer, without any TTL."""
    key = {"cf-aig-cache-key": uuid.uuid4().hex}
    first, second = await ask(key), await ask(key, text=f"{marker} in other words")
    elsewhere = await ask({"cf-aig-cache-key": uuid.uuid4().hex})

    assert statuses(first, second, elsewhere) == ["MISS", "HIT", "MISS"]
    assert first.body == second.body


async def test_a_stream_is_kept_and_replayed(
    ask: Callable[..., Awaitable[Answer]], marker: str, upstreams: Upstreams
) -> None:
    """A stream that came to its end is sent again as it was."""
    first, second = await ask(TTL, stream=True), await ask(TTL, stream=True)

    assert statuses(first, second) == ["MISS", "HIT"]
    assert first.body == second.body
    assert len(upstreams.received(marker)) == 1


@pytest.mark.parametrize("first", [True, False])
async def test_an_answer_serves_streams_and_whole_requests(
    ask: Callable[..., Awaitable[Answer]], marker: str, upstreams: Upstreams, *, first: bool
) -> None:
    """An answer that came in one form is given in the other."""
    answers = [await ask(TTL, stream=stream) for stream in (first, not first)]
    streamed, whole = answers if first else answers[::-1]

    assert statuses(*answers) == ["MISS", "HIT"]
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    assert whole.json["choices"][0]["finish_reason"] == "stop"
    assert len(upstreams.received(marker)) == 1


@pytest.mark.parametrize("what", ["gateways/default/cache", "cache", "cache?provider=openai"])
async def test_a_purge_forgets(
    ask: Callable[..., Awaitable[Answer]], stack: Stack, session: aiohttp.ClientSession, what: str
) -> None:
    """After a purge the same request is asked of the provider, and the audit log says who wanted it."""
    before = [await ask(TTL), await ask(TTL)]
    url = f"{stack.base_url}/client/v4/accounts/{stack.account}/ai-gateway/{what}"
    purged = await call(session, url, method="DELETE", token=stack.token)
    after = [await ask(TTL), await ask(TTL)]
    log = f"{stack.base_url}/client/v4/accounts/{stack.account}/audit_logs?action.type=purge&per_page=1"
    (entry,) = (await call(session, log, method="GET", token=stack.token)).json["result"]

    assert (purged.status, purged.json["result"]) == (200, {})
    assert ("cache", "API") == (entry["resource"]["type"], entry["interface"])
    assert entry["metadata"]["token_id"]
    assert ("gateways" in what, "openai" in what) == (
        entry["oldValueJson"]["gateway_id"] == "default",
        entry["oldValueJson"]["provider"] == "openai",
    )
    assert statuses(*before, *after) == ["MISS", "HIT"] * 2


async def test_an_error_is_not_cached(
    ask: Callable[..., Awaitable[Answer]], marker: str, upstreams: Upstreams
) -> None:
    """A provider's refusal is not kept."""
    answers = [await ask(TTL, model="openai/gpt-4o-mini+status=400") for _ in range(2)]

    assert [answer.status for answer in answers] == [400, 400]
    assert len(upstreams.received(marker)) == 2
