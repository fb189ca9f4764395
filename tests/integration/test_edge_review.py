"""What must not go wrong where requests meet: money paid once, no answer cut short, nobody else's refusal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.common.v1 import http_pb2, usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.router.v1 import gateway_pb2, router_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.pipeline.relay import Attempt
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT, failure, post
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CACHED = {"cf-aig-cache-ttl": "60"}
STREAMED = {**BODY, "stream": True}
CHAT_DIALECT = http_pb2.DIALECT_OPENAI_CHAT
DRAIN = gateway_pb2.DISCONNECT_POLICY_DRAIN
UNIVERSAL = "/v1/local/default"
LIMITED = GatewayError(Reason.RATE_LIMITED, "Rate limited", retry_after_s=7.0)
UNREACHABLE = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]
DONE = b"data: [DONE]\n\n"


def _stream(*steps: Any) -> list[Any]:
    return [head(200, "text/event-stream", body_dialect=CHAT_DIALECT), *steps]


def _delta(reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    document = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + orjson.dumps(document) + b"\n\n"


def _used(given: int, made: int) -> usage_pb2.Usage:
    return usage_pb2.Usage(input_tokens=given, output_tokens=made)


def _cut(usage: usage_pb2.Usage | None = None) -> Any:
    return tail(usage=usage, failure=failure(pb.FAILURE_CLASS_CUT, message="cut"))


def _told(text: bytes, usage: usage_pb2.Usage) -> pb.InvokeResponse:
    return pb.InvokeResponse(chunk=pb.Chunk(data=text, usage=usage))


def _said(*words: str, usage: usage_pb2.Usage) -> list[Any]:
    pieces = [chunk(_delta(content=word)) for word in words]
    return _stream(*pieces, chunk(_delta("stop") + DONE), tail(usage=usage, finish_reason="stop"))


def _refused(status: int, klass: int) -> list[Any]:
    return [head(status, failure=failure(klass, upstream_status=status)), chunk(b"{}"), tail()]


def _step(provider: str, model: str = "m") -> router_service_pb2.Step:
    return router_service_pb2.Step(provider=provider, model=model)


def _universal(*models: str) -> list[Any]:
    return [
        {"provider": "compat", "endpoint": "chat/completions", "query": {**STREAMED, "model": model}}
        for model in models
    ]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop")]
        yield found


async def _read(peers: Peers, json: Any = STREAMED, path: str = CHAT, **headers: str) -> tuple[int, bytes]:
    token = {"cf-aig-authorization": TOKEN} if path == UNIVERSAL else AUTH
    async with peers.client.post(path, json=json, headers={**token, **headers}) as answer:
        return answer.status, await answer.read()


async def _until(reached: Any) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - the fakes have nothing to wait for
            await asyncio.sleep(0.01)


class TestMoney:
    """What router and the log are told that a request used."""

    async def test_a_refused_step_did_not_count_the_request(self, peers: Peers) -> None:
        """So the next one does: else whoever has two steps has no limit of requests."""
        peers.router.limited = True
        peers.router.steps = [_step("openai"), _step("groq"), _step("mistral")]
        peers.router.refusals = [LIMITED, None, None]
        peers.provider.earlier = [UNREACHABLE]
        await post(peers)

        assert [False, False, True] == [reserved.counted for reserved in peers.router.reserved]

    async def test_each_step_pays_for_itself(self, peers: Peers) -> None:
        """What broke off and what went on are told apart to router, and added up in the log."""
        peers.router.limited = True
        peers.router.settings["stream_failover"] = True
        peers.router.steps = [_step("openai"), _step("groq")]
        peers.provider.earlier = [_stream(chunk(_delta(content="one ")), _cut(_used(3, 5)))]
        peers.provider.script = _said("one ", "two", usage=_used(4, 6))
        _, body = await _read(peers)
        entry = await peers.entry()

        assert body.endswith(DONE)
        assert [8, 10] == [settled.tokens for settled in await peers.settlements(2)]
        assert (7, 11) == (entry.usage.input_tokens, entry.usage.output_tokens)

    async def test_a_fallback_that_uses_nothing_costs_nothing(self, peers: Peers) -> None:
        """What broke off is in the log once."""
        peers.router.limited = True
        peers.router.settings["stream_failover"] = True
        peers.router.steps = [_step("openai"), _step("groq")]
        peers.provider.earlier = [_stream(chunk(_delta(content="one ")), _cut(_used(3, 5)))]
        peers.provider.script = _refused(401, pb.FAILURE_CLASS_AUTHENTICATION)
        _, body = await _read(peers)
        entry = await peers.entry()

        assert b'"error"' in body
        assert [8, 0] == [settled.tokens for settled in await peers.settlements(2)]
        assert (3, 5) == (entry.usage.input_tokens, entry.usage.output_tokens)
        assert [5, 0] == [attempt.usage.output_tokens for attempt in entry.attempts]

    async def test_a_fallback_that_said_something_else_is_paid_for(self, peers: Peers) -> None:
        """Nothing of it was sent; its provider counts it all the same, and so do limits."""
        peers.router.limited = True
        peers.router.settings["stream_failover"] = True
        peers.router.steps = [_step("openai"), _step("groq")]
        other = _stream(_told(_delta(content="never mind"), _used(4, 6)), tail(usage=_used(4, 6)))
        peers.provider.earlier = [_stream(chunk(_delta(content="one ")), _cut(_used(3, 5))), other]
        peers.provider.script = _refused(400, pb.FAILURE_CLASS_INVALID_REQUEST)
        await _read(peers)
        entry = await peers.entry()

        assert [8, 10] == [settled.tokens for settled in await peers.settlements(2)]
        assert (7, 11) == (entry.usage.input_tokens, entry.usage.output_tokens)

    async def test_one_price_for_the_request_is_paid_once(self, peers: Peers) -> None:
        """`total_cost` is for all attempts together."""
        peers.router.limited = True
        peers.router.settings["stream_failover"] = True
        peers.router.steps = [_step("openai"), _step("groq")]
        peers.provider.earlier = [_stream(chunk(_delta(content="one ")), _cut(_used(3, 5)))]
        peers.provider.script = _said("one ", "two", usage=_used(4, 6))
        await _read(peers, **{"cf-aig-custom-cost": '{"total_cost":0.5}'})
        entry = await peers.entry()

        assert 500_000_000 == entry.cost.nano_usd
        assert 500_000_000 == sum(settled.nano_usd for settled in await peers.settlements(2))

    async def test_who_leaves_between_two_tries_has_used_nothing(self, peers: Peers) -> None:
        """The try before failed, and no other is under way."""
        peers.router.limited = True
        peers.provider.script = UNREACHABLE
        headers = {**AUTH, "cf-aig-max-attempts": "2", "cf-aig-retry-delay": "60000"}
        asking = asyncio.create_task(peers.client.post(CHAT, json=BODY, headers=headers))
        await _until(peers.provider.closed.is_set)
        asking.cancel()
        (settled,) = await peers.settlements(1)

        assert (True, 0) == (settled.HasField("tokens"), settled.tokens)

    async def test_what_a_failed_try_told_is_not_the_next_ones(self, peers: Peers) -> None:
        """An answer without usage has none, whatever the one before it told."""
        peers.router.limited = True
        peers.provider.earlier = [
            [head(), _told(b'{"a":', _used(3, 5)), GatewayError(Reason.UPSTREAM_CUT, "cut")]
        ]
        peers.provider.script = [head(), chunk(ANSWER), tail(usage=None)]
        await post(peers, **{"cf-aig-max-attempts": "2", "cf-aig-retry-delay": "0"})
        entry = await peers.entry()

        assert [5, 0] == [attempt.usage.output_tokens for attempt in entry.attempts]
        assert 5 == entry.usage.output_tokens


class TestWholeOrTold:
    """A client has all of an answer, or is told that it has not."""

    async def test_a_defect_of_ours_ends_no_shared_stream_well(
        self, peers: Peers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever goes wrong in the middle, those who follow are told, and nothing is kept."""
        send = Attempt._send

        async def fails(attempt: Attempt, data: bytes) -> None:
            if b"boom" in data:
                raise RuntimeError("a defect")
            await send(attempt, data)

        monkeypatch.setattr(Attempt, "_send", fails)
        peers.provider.script = _stream(chunk(_delta(content="one")), chunk(_delta(content="boom")), tail())
        _, body = await _read(peers, **CACHED)
        entry = await peers.entry()

        assert b'"error"' in body
        assert (log_entry_pb2.OUTCOME_TRUNCATED, Reason.INTERNAL) == (entry.outcome, entry.error_reason)
        assert ({}, set()) == (peers.cache.entries, peers.cache.claims)

    async def test_what_cannot_be_gone_on_with_is_not(self, peers: Peers) -> None:
        """A call of a tool that broke off is no text: the next step of the array is not asked."""
        peers.router.settings["stream_failover"] = True
        called = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
        peers.provider.earlier = [_stream(chunk(_delta(tool_calls=[called])), _cut(_used(3, 5)))]
        peers.provider.script = _said("one", usage=_used(4, 6))
        _, body = await _read(peers, _universal("openai/a", "groq/b"), UNIVERSAL)

        assert (1, 1) == (len(peers.provider.requests), body.count(b'"error"'))
        assert b"[DONE]" not in body

    async def test_what_was_withheld_is_sent_when_the_provider_is_content(self, peers: Peers) -> None:
        """What looks like an error, and was none to who reads the provider, is the client's."""
        peers.router.settings["stream_failover"] = True
        odd = b'data: {"error":{"message":"odd"}}\n\n'
        peers.provider.script = _stream(chunk(_delta(content="one")), chunk(odd), chunk(DONE), tail())
        _, body = await _read(peers)

        assert body.endswith(odd + DONE)

    async def test_a_provider_service_that_says_nothing_is_tried_again(self, peers: Peers) -> None:
        """An answer without a beginning is one that broke off."""
        peers.provider.earlier = [[]]
        status, _, _ = await post(peers, **{"cf-aig-max-attempts": "2", "cf-aig-retry-delay": "0"})

        assert (200, 2) == (status, len(peers.provider.requests))

    async def test_a_route_that_ends_badly_gives_way_to_the_next_step(self, peers: Peers) -> None:
        """An error of the route's own is a failure of that step of the array, like any other."""
        peers.router.further = [GatewayError(Reason.RATE_LIMITED, "The route ends here.")]
        peers.provider.earlier = [UNREACHABLE]
        status, body = await _read(peers, _universal("openai/a", "groq/b"), UNIVERSAL)

        assert (200, ANSWER) == (status, body)


class TestTogether:
    """Requests that share a call, and one of them is another case."""

    async def test_a_call_that_is_being_given_up_is_not_joined(self, peers: Peers) -> None:
        """Who asks again at once, after having left, has a call of its own."""
        closing = asyncio.Event()

        async def slowly() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await closing.wait()

        peers.provider.earlier = [_stream(chunk(b"data: 1\n\n"), slowly)]
        peers.provider.script = _stream(chunk(b"data: 2\n\n"), tail())
        first = await peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED})
        await first.content.readany()
        first.close()
        await asyncio.sleep(0.1)  # the edge notices that a client has gone when it does
        asking = asyncio.create_task(_read(peers, **CACHED))
        await _until(lambda: len(peers.cache.looked_up) >= 2)
        await asyncio.sleep(0.05)
        closing.set()

        assert (200, b"data: 2\n\n") == await asking

    async def test_who_comes_while_a_call_is_read_on_keeps_it(self, peers: Peers) -> None:
        """The cap on reading on for nobody is none for somebody."""
        peers.router.settings |= {"on_disconnect": DRAIN, "drain_timeout": Duration(nanos=300_000_000)}
        gate = asyncio.Event()
        peers.provider.script = _stream(chunk(b"data: 1\n\n"), gate.wait, chunk(b"data: 2\n\n"), tail())
        first = await peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED})
        await first.content.readany()
        first.close()
        await asyncio.sleep(0.1)  # the edge notices that a client has gone when it does
        async with peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED}) as second:
            assert b"data: 1\n\n" == await second.content.readany()
            await asyncio.sleep(0.4)  # past the cap
            gate.set()
            assert b"data: 2\n\n" == await second.read()
        assert 1 == len(peers.provider.requests)

    async def test_a_limit_is_whose_it_is(self, peers: Peers) -> None:
        """One whose budget is used up makes nobody else's request fail; its like share the refusal."""
        peers.router.limited = True
        peers.router.refusals = [LIMITED, None]
        peers.router.reserving.clear()
        asking = []
        for who in ("a", "a", "b", "b"):
            headers = {**CACHED, "cf-aig-metadata": orjson.dumps({"who": who}).decode()}
            asking.append(asyncio.create_task(_read(peers, BODY, **headers)))
            await _until(lambda: len(peers.cache.looked_up) == len(asking))
        peers.router.reserving.set()
        answers = await asyncio.gather(*asking)

        assert [429, 429, 200, 200] == [status for status, _ in answers]
        assert (2, 1) == (len(peers.router.reserved), len(peers.provider.requests))

    async def test_an_answer_that_is_not_taken_ends_the_claim(self, peers: Peers) -> None:
        """Others do not wait for what will never be there."""
        peers.cache.refuses = GatewayError(Reason.TOO_LARGE, "too large")
        await _read(peers, BODY, **CACHED)
        await _until(lambda: not peers.cache.claims)

        assert {} == peers.cache.entries

    async def test_who_has_no_claim_gives_none_back(self, peers: Peers) -> None:
        """A request that passes the cache over does not end another's claim."""
        gate = asyncio.Event()
        peers.provider.earlier = [[gate.wait, head(), chunk(ANSWER), tail()], UNREACHABLE]
        first = asyncio.create_task(_read(peers, BODY, **CACHED))
        await _until(lambda: peers.provider.requests)
        status, _ = await _read(peers, BODY, **CACHED, **{"cf-aig-skip-cache": "true"})
        await asyncio.sleep(0.05)

        assert (502, 1) == (status, len(peers.cache.claims))
        gate.set()
        assert (200, ANSWER) == await first

    async def test_who_leaves_while_the_cache_is_asked_holds_no_claim(self, peers: Peers) -> None:
        """Its answer comes all the same, and what it claims is given back."""
        peers.cache.answering.clear()
        asking = asyncio.create_task(peers.client.post(CHAT, json=BODY, headers={**AUTH, **CACHED}))
        await _until(lambda: peers.cache.claims)
        asking.cancel()
        await asyncio.sleep(0.1)  # the edge notices that a client has gone when it does
        peers.cache.answering.set()

        await _until(lambda: not peers.cache.claims)

    async def test_a_key_for_an_array_stands_for_each_step(self, peers: Peers) -> None:
        """The same array again is the same request, also when its second step answered."""
        peers.router.settings["idempotency_ttl"] = Duration(seconds=3600)
        steps = _universal("openai/a", "groq/b")
        for step in steps:
            step["headers"] = {"idempotency-key": "k"}
        peers.provider.earlier = [UNREACHABLE]
        first = await _read(peers, steps, UNIVERSAL)
        await _until(lambda: peers.cache.entries)
        peers.provider.earlier = [UNREACHABLE]
        keys = {request.idempotency_key for request in peers.cache.looked_up}

        assert first == await _read(peers, steps, UNIVERSAL)
        assert (3, 2) == (len(peers.provider.requests), len(keys))

    async def test_who_shares_an_answer_is_told_its_step(self, peers: Peers) -> None:
        """The headers are those of the step that answered."""
        peers.router.steps = [_step("openai"), _step("groq")]
        gate = asyncio.Event()
        peers.provider.earlier = [[gate.wait, *UNREACHABLE]]
        asking = [
            asyncio.create_task(peers.client.post(CHAT, json=BODY, headers={**AUTH, **CACHED}))
            for _ in range(2)
        ]
        await _until(lambda: len(peers.cache.looked_up) == 2)
        gate.set()
        answers = await asyncio.gather(*asking)

        assert [("groq", "1")] * 2 == [
            (answer.headers["cf-aig-provider"], answer.headers["cf-aig-step"]) for answer in answers
        ]

    async def test_a_stream_that_nobody_waits_for_is_kept(self, peers: Peers) -> None:
        """What is fetched while the client has an older one takes its place, also when it is a stream."""
        peers.router.settings["cache_stale_while_revalidate"] = Duration(seconds=600)
        peers.provider.script = _stream(chunk(b"data: 1\n\n"), chunk(b"data: 2\n\n"), tail())
        await _read(peers, **CACHED)
        await peers.cache.age(seconds=100)
        peers.provider.script = _stream(chunk(b"data: 3\n\n"), chunk(b"data: 4\n\n"), tail())
        await _read(peers, **CACHED)
        await peers.entries(3)
        await _until(lambda: not peers.cache.claims)
        peers.cache.stale = False

        assert (200, b"data: 3\n\ndata: 4\n\n") == await _read(peers, **CACHED)
        assert 2 == len(peers.provider.requests)

    async def test_a_stream_is_kept_though_the_first_left(self, peers: Peers) -> None:
        """It was read to its end, for another or by the gateway's wish."""
        peers.router.settings["on_disconnect"] = DRAIN
        gate = asyncio.Event()
        peers.provider.script = _stream(chunk(b"data: 1\n\n"), gate.wait, chunk(b"data: 2\n\n"), tail())
        first = await peers.client.post(CHAT, json=STREAMED, headers={**AUTH, **CACHED})
        await first.content.readany()
        first.close()
        await asyncio.sleep(0.1)  # the edge notices that a client has gone when it does
        gate.set()
        await _until(lambda: not peers.cache.claims)

        assert [b"data: 1\n\ndata: 2\n\n"] == [entry.body for entry in peers.cache.entries.values()]


class TestHeaders:
    """What an answer says of limits: ours, or the provider's."""

    THEIRS = (
        ("x-ratelimit-limit-requests", "9000"),
        ("x-ratelimit-limit-tokens", "90"),
        ("retry-after", "3"),
    )

    def _script(self) -> list[Any]:
        begun = head()
        for name, value in self.THEIRS:
            begun.head.headers.add(name=name, value=value.encode())
        return [begun, chunk(ANSWER), tail()]

    async def test_ours_take_the_place_of_the_provider_s(self, peers: Peers) -> None:
        """A client reads one number, of the limit that it meets first with us."""
        peers.router.limited = True
        peers.router.limits = [
            router_service_pb2.LimitState(unit=router_service_pb2.LIMIT_UNIT_REQUESTS, limit=10, remaining=9)
        ]
        peers.provider.script = self._script()
        _, _, headers = await post(peers)

        assert ["10"] == headers.getall("x-ratelimit-limit-requests")
        assert ["90"] == headers.getall("x-ratelimit-limit-tokens")

    async def test_a_kept_answer_says_nothing_of_then(self, peers: Peers) -> None:
        """What was left at the provider when it was asked is long over."""
        peers.provider.script = self._script()
        _, _, first = await post(peers, **CACHED)
        await _until(lambda: peers.cache.entries)
        _, _, second = await post(peers, **CACHED)

        assert ("9000", "HIT") == (first["x-ratelimit-limit-requests"], second["cf-aig-cache-status"])
        assert not {name for name, _ in self.THEIRS} & {name.lower() for name in second}


async def test_no_model_is_asked_again_what_it_refused(peers: Peers) -> None:
    """However many others were asked in between."""
    peers.router.steps = [_step("openai", model) for model in ("small", "medium", "small", "large")]
    peers.provider.earlier = [_refused(400, pb.FAILURE_CLASS_CONTEXT_LENGTH)] * 2
    await post(peers)

    assert ["small", "medium", "large"] == [request.model for request in peers.provider.requests]


async def test_a_narrowed_token_is_narrowed_where_a_plan_goes_on(peers: Peers) -> None:
    """A further step is held to the restriction whatever it is part of."""
    peers.auth.restrictions.providers.append("openai")
    peers.router.further = [router_service_pb2.PlanResponse(steps=[_step("groq", "b")])]
    peers.provider.earlier = [UNREACHABLE]
    status, _, _ = await post(peers)

    assert (403, ["openai"]) == (status, [request.provider for request in peers.provider.requests])
