"""The edge between a client and fakes of its services."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from headrace.common.v1 import http_pb2
from headrace.inference.v1 import inference_service_pb2 as inf
from headrace.inference.v1 import inference_service_pb2_grpc
from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2
from headrace.router.v1 import router_service_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT, failure, post
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

EVENTS = [b'data: {"a":1}\n\n', b'data: {"a":2}\n\n', b"data: [DONE]\n\n"]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop", served_model="gpt-x-1")]
        yield found


async def test_whole_answer(peers: Peers) -> None:
    """The provider's bytes reach the client with the gateway's headers, and one entry says so."""
    async with peers.client.post(CHAT, json=BODY, headers=AUTH) as answer:
        body = await answer.read()
    entry = await peers.entry()

    assert (200, ANSWER, str(len(ANSWER))) == (answer.status, body, answer.headers["content-length"])
    assert entry.id == answer.headers["cf-aig-log-id"]
    assert ("openai", "gpt-x", "0", "MISS") == tuple(
        answer.headers[f"cf-aig-{name}"] for name in ("provider", "model", "step", "cache-status")
    )
    assert (log_entry_pb2.OUTCOME_SUCCESS, 5, "stop", "gpt-x-1", ANSWER) == (
        entry.outcome,
        entry.usage.output_tokens,
        entry.finish_reason,
        entry.response_model,
        entry.payload.response,
    )


async def test_request_as_the_provider_service_gets_it(peers: Peers) -> None:
    """Body to the byte, model of the plan, no header or token of the gateway's."""
    body = b'{ "model" : "openai/gpt-x","messages":[{"role":"user"}], "z":1.50 }'
    headers = {**AUTH, "cf-aig-metadata": '{"a":1}', "x-forwarded-for": "1.2.3.4", "openai-beta": "y"}
    async with peers.client.post(CHAT, data=body, headers=headers) as answer:
        await answer.read()
    request = peers.provider.requests[0]
    names = {header.name for header in request.headers}

    assert (body, "gpt-x", "openai", False) == (request.body, request.model, request.provider, request.stream)
    assert "openai-beta" in names
    assert not {name for name in names if name.startswith(("cf-", "x-forwarded", "authorization"))}


async def test_key_beside_a_gateway_token_is_forwarded(peers: Peers) -> None:
    """With the token in `cf-aig-authorization`, `Authorization` is the provider's."""
    headers = {"cf-aig-authorization": f"Bearer {TOKEN}", "authorization": "Bearer sk-theirs"}
    async with peers.client.post(CHAT, json=BODY, headers=headers) as answer:
        assert answer.status == 200
    sent = {header.name: header.value for header in peers.provider.requests[0].headers}

    assert sent["authorization"] == b"Bearer sk-theirs"


async def test_stream_passes_as_it_comes(peers: Peers) -> None:
    """A piece reaches the client while the provider is still at work on the next."""
    gate = asyncio.Event()
    peers.provider.script = [
        head(200, "text/event-stream"),
        chunk(EVENTS[0]),
        gate.wait,
        *map(chunk, EVENTS[1:]),
        tail(),
    ]
    async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
        first = await asyncio.wait_for(answer.content.readany(), 5)
        gate.set()
        rest = await answer.content.read()
    entry = await peers.entry()

    assert (EVENTS[0], b"".join(EVENTS[1:])) == (first, rest)
    assert (True, b"".join(EVENTS)) == (entry.streamed, entry.payload.response)


async def test_cut_stream_is_told(peers: Peers) -> None:
    """A stream that broke off ends with an error event and never with the normal end."""
    cut = failure(provider_service_pb2.FAILURE_CLASS_CUT, message="The provider's answer broke off.")
    peers.provider.script = [head(200, "text/event-stream"), chunk(EVENTS[0]), tail(failure=cut)]
    async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
        body = await answer.read()
    entry = await peers.entry()
    last = orjson.loads(body.split(b"data: ")[-1])

    assert (last["error"]["code"], b"[DONE]" in body) == ("upstream_cut", False)
    assert (log_entry_pb2.OUTCOME_TRUNCATED, "UPSTREAM_CUT") == (entry.outcome, entry.error_reason)


async def test_cut_that_the_bytes_tell_is_not_told_twice(peers: Peers) -> None:
    """When the provider's own event already tells the error, nothing is added."""
    cut = failure(provider_service_pb2.FAILURE_CLASS_SERVER, reported=True)
    peers.provider.script = [head(200, "text/event-stream"), chunk(EVENTS[0]), tail(failure=cut)]
    async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
        assert await answer.read() == EVENTS[0]


async def test_provider_service_dying_mid_stream_is_told(peers: Peers) -> None:
    """The death of the provider service looks to the client like any other cut."""
    away = GatewayError(Reason.SERVICE_UNAVAILABLE, "The providers service cannot be reached.")
    peers.provider.script = [head(200, "text/event-stream"), chunk(EVENTS[0]), away]
    async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
        body = await answer.read()

    assert b"service_unavailable" in body
    assert (await peers.entry()).outcome == log_entry_pb2.OUTCOME_TRUNCATED


@pytest.mark.parametrize(
    ("dialect", "told"),
    [
        (
            http_pb2.DIALECT_ANTHROPIC_MESSAGES,
            b'event: error\ndata: {"type":"error","error":{"type":"api_error"',
        ),
        (http_pb2.DIALECT_OPENAI_RESPONSES, b'event: error\ndata: {"type":"error"'),
    ],
)
async def test_cut_native_stream_is_told_in_its_own_dialect(peers: Peers, dialect: Any, told: bytes) -> None:
    """On a native path the event is the provider's, so that its own SDK raises."""
    cut = failure(provider_service_pb2.FAILURE_CLASS_CUT)
    peers.provider.script = [
        head(200, "text/event-stream", body_dialect=dialect),
        chunk(EVENTS[0]),
        tail(failure=cut),
    ]
    headers = {"cf-aig-authorization": TOKEN}
    async with peers.client.post(
        "/v1/local/default/anthropic/v1/messages", data=b"{}", headers=headers
    ) as answer:
        assert told in await answer.read()


async def test_cut_native_stream_of_unknown_format_cuts_the_connection(peers: Peers) -> None:
    """Where nobody knows the events' format, the connection tells."""
    cut = failure(provider_service_pb2.FAILURE_CLASS_CUT)
    peers.provider.script = [
        head(200, "text/event-stream", body_dialect=0),
        chunk(EVENTS[0]),
        tail(failure=cut),
    ]
    headers = {"cf-aig-authorization": TOKEN}
    async with peers.client.post("/v1/local/default/openai/v1/runs", data=b"{}", headers=headers) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_stop_ends_running_streams_with_an_error(tmp_path: Path) -> None:
    """A stop that cannot wait for a stream ends it inside the grace, so that its client knows."""
    async with edge_between(tmp_path, grace_s="0.5") as peers:
        peers.provider.script = [head(200, "text/event-stream"), chunk(EVENTS[0]), asyncio.Event().wait]
        async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
            await answer.content.readany()
            stopping = asyncio.ensure_future(peers.drain(0.5))
            rest = await answer.content.read()
            await stopping

        assert b"service_unavailable" in rest
        assert (await peers.entry()).outcome == log_entry_pb2.OUTCOME_TRUNCATED


async def test_long_answer_that_breaks_off_cuts_the_connection(peers: Peers) -> None:
    """Outside event streams the only honest sign is a connection that ends early."""
    cut = failure(provider_service_pb2.FAILURE_CLASS_CUT)
    peers.provider.script = [head(200, "audio/mpeg"), chunk(b"x" * 9), chunk(b"y" * 9), tail(failure=cut)]
    async with peers.client.post(CHAT, json=BODY, headers=AUTH) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()

    assert (await peers.entry()).outcome == log_entry_pb2.OUTCOME_TRUNCATED


async def test_short_answer_that_breaks_off_is_an_error(peers: Peers) -> None:
    """What was not sent yet can still become an error status."""
    peers.provider.script = [
        head(),
        chunk(b'{"id":'),
        tail(failure=failure(provider_service_pb2.FAILURE_CLASS_CUT)),
    ]
    status, body, headers = await post(peers)

    assert (502, "upstream_cut") == (status, body["error"]["code"])
    assert headers["cf-aig-log-id"] == (await peers.entry()).id


async def test_providers_own_error_is_relayed(peers: Peers) -> None:
    """Status and body of a provider's error reach the client."""
    peers.provider.script = [
        head(429, failure=failure(provider_service_pb2.FAILURE_CLASS_RATE_LIMIT, upstream_status=429)),
        chunk(b'{"error":{"message":"slow"}}'),
        tail(),
    ]
    status, body, _ = await post(peers)
    entry = await peers.entry()

    assert (429, {"error": {"message": "slow"}}) == (status, body)
    assert (log_entry_pb2.OUTCOME_ERROR, "RATE_LIMIT", 429) == (
        entry.outcome,
        entry.error_reason,
        entry.status,
    )


async def test_next_step_after_a_failure(peers: Peers) -> None:
    """A step that cannot be reached is followed by the next, and both attempts are recorded."""
    peers.router.steps = [router_service_pb2.Step(provider="openai", model=name) for name in ("a", "b")]
    peers.provider.earlier = [[GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]]
    status, _, headers = await post(peers)
    entry = await peers.entry()

    assert (200, "1", "b") == (status, headers["cf-aig-step"], headers["cf-aig-model"])
    assert ["UPSTREAM_UNREACHABLE", ""] == [attempt.error_reason for attempt in entry.attempts]


async def test_client_that_goes_away(peers: Peers) -> None:
    """The provider call is closed, and the entry says what happened."""
    never = asyncio.Event()
    peers.provider.script = [head(200, "text/event-stream"), chunk(EVENTS[0]), never.wait]
    async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
        await answer.content.readany()
        answer.close()
    await asyncio.wait_for(peers.provider.closed.wait(), 5)

    assert (await peers.entry()).outcome == log_entry_pb2.OUTCOME_DISCONNECTED


async def test_client_that_leaves_with_the_whole_answer(peers: Peers) -> None:
    """A client that closes at the last event got everything, and the entry says so."""
    last = chunk(EVENTS[2])
    last.MergeFrom(tail(finish_reason="stop"))
    peers.provider.script = [
        head(200, "text/event-stream"),
        *map(chunk, EVENTS[:2]),
        last,
        asyncio.Event().wait,
    ]
    async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
        seen = b""
        while b"[DONE]" not in seen:
            seen += await answer.content.readany()
        answer.close()
    entry = await peers.entry()

    assert (log_entry_pb2.OUTCOME_SUCCESS, "stop", 5) == (
        entry.outcome,
        entry.finish_reason,
        entry.usage.output_tokens,
    )
    assert b"".join(EVENTS) == entry.payload.response


async def test_answer_of_known_length_is_recorded_before_its_last_piece(peers: Peers) -> None:
    """A client that knows the length may close with the last byte; by then the entry is written."""
    gate = asyncio.Event()
    begins = head()
    begins.head.headers.add(name="content-length", value=b"6")
    peers.provider.script = [begins, chunk(b"abc"), chunk(b"def"), gate.wait, tail()]
    async with peers.client.post(CHAT, json=BODY, headers=AUTH) as answer:
        first = await asyncio.wait_for(answer.content.readany(), 5)
        gate.set()
        rest = await answer.content.read()

    assert (b"abc", b"def") == (first, rest)
    assert (await peers.entry()).outcome == log_entry_pb2.OUTCOME_SUCCESS


async def test_bytes_after_the_end_of_a_native_stream(peers: Peers) -> None:
    """What a provider sends after its own end reaches the client too."""
    last = chunk(EVENTS[2])
    last.MergeFrom(tail())
    peers.provider.script = [head(200, "text/event-stream"), last, chunk(b": bye\n\n")]
    async with peers.client.post(CHAT, json={**BODY, "stream": True}, headers=AUTH) as answer:
        assert EVENTS[2] + b": bye\n\n" == await answer.read()


async def test_decisions_are_reused(peers: Peers) -> None:
    """The second request asks neither auth nor router."""
    for _ in range(3):
        await post(peers)

    assert (1, 1) == (peers.auth.asked, peers.router.asked)


BAD = [
    ("no body", b"", {}, 400, 2019, None),
    ("not JSON", b"{oops", {}, 400, 2019, None),
    ("not an object", b"[1]", {}, 400, 2019, None),
    ("invalid UTF-8", b'{"model":"openai/x\xff","messages":[]}', {}, 400, 2019, None),
    ("no model", b'{"messages":[{"role":"user"}]}', {}, 400, 2019, "model"),
    ("model of the wrong type", b'{"model":3,"messages":[{"role":"user"}]}', {}, 400, 2019, "model"),
    ("no provider prefix", b'{"model":"gpt","messages":[{"role":"user"}]}', {}, 400, 2019, "model"),
    ("unknown provider", b'{"model":"nope/x","messages":[{"role":"user"}]}', {}, 400, 2008, None),
    ("messages of the wrong type", b'{"model":"openai/x","messages":"hi"}', {}, 400, 2019, "messages"),
    ("no messages", b'{"model":"openai/x","messages":[]}', {}, 400, 2019, "messages"),
    ("message of the wrong type", b'{"model":"openai/x","messages":[1]}', {}, 400, 2019, "messages.0"),
    (
        "stream of the wrong type",
        b'{"model":"openai/x","messages":[{"role":"u"}],"stream":1}',
        {},
        400,
        2019,
        "stream",
    ),
    ("bad cache lifetime", b"{}", {"cf-aig-cache-ttl": "soon"}, 400, 7001, "cf-aig-cache-ttl"),
    ("bad metadata", b"{}", {"cf-aig-metadata": '{"a":{"b":1}}'}, 400, 7001, "cf-aig-metadata"),
    ("bad token", orjson.dumps(BODY), {"authorization": "Bearer hr_wrong_token"}, 401, 2009, None),
    ("foreign token", orjson.dumps(BODY), {"authorization": "Bearer sk-x"}, 401, 2009, None),
]


@pytest.mark.parametrize(
    ("what", "body", "headers", "status", "code", "param"), BAD, ids=[row[0] for row in BAD]
)
async def test_bad_input(
    peers: Peers, what: str, body: bytes, headers: dict[str, str], status: int, code: int, param: str | None
) -> None:
    """Each kind of bad input has a clear error in OpenAI's shape with the gateway's members beside it."""
    async with peers.client.post(CHAT, data=body, headers={**AUTH, **headers}) as answer:
        told = orjson.loads(await answer.read())

    assert (status, code, param) == (answer.status, told["internalCode"], told["error"]["param"])
    assert told["error"]["message"]
    assert told["success"] is False
    assert peers.provider.requests == []


async def test_unauthenticated_is_not_logged_and_learns_nothing(peers: Peers) -> None:
    """A stranger gets 401 for what exists and for what does not."""
    statuses = []
    for model in ("openai/x", "nope/x"):
        async with peers.client.post(
            CHAT, json={**BODY, "model": model}, headers={"authorization": "Bearer hr_wrong_token"}
        ) as answer:
            statuses.append(answer.status)
    await asyncio.sleep(0.1)

    assert ([401, 401], {}) == (statuses, peers.ledger.entries)


async def test_body_too_long(tmp_path: Path) -> None:
    """A body over the limit is refused with 413, announced or not."""
    async with edge_between(tmp_path, edge_max_body_bytes="2048") as peers:

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b"x" * 1024

        for data in (b"x" * 10_000, pieces()):
            async with peers.client.post(CHAT, data=data, headers=AUTH) as answer:
                told = orjson.loads(await answer.read())

            assert (413, "request_too_large") == (answer.status, told["error"]["type"])


async def test_too_many_messages(tmp_path: Path) -> None:
    """More messages than allowed are refused with the numbers in the message."""
    async with edge_between(tmp_path, edge_max_messages="3") as peers:
        status, told, _ = await post(peers, json={**BODY, "messages": BODY["messages"] * 4})  # type: ignore[operator]

        assert (413, "messages") == (status, told["error"]["param"])
        assert "4" in told["error"]["message"]


async def test_auth_away_without_an_earlier_decision(peers: Peers) -> None:
    """With auth away and nothing known, the answer is 503 and never access."""
    peers.auth.failure = GatewayError(
        Reason.SERVICE_UNAVAILABLE, "The auth service cannot be reached.", retry_after_s=1
    )
    status, told, headers = await post(peers)

    assert (503, "service_unavailable", "1") == (status, told["error"]["code"], headers["retry-after"])


async def test_token_restrictions(peers: Peers) -> None:
    """A narrowed token reaches what it is narrowed to and nothing else."""
    peers.auth.restrictions.models.append("openai/gpt-x")
    allowed, _, _ = await post(peers)
    refused, told, _ = await post(peers, json={**BODY, "model": "openai/other"})

    assert (200, 403, "permission_denied") == (allowed, refused, told["error"]["code"])


async def test_native_path_is_relayed_to_the_byte(peers: Peers) -> None:
    """Method, path, query and body of a native call arrive as they were sent."""
    from yarl import URL

    url = URL(f"{peers.base}/v1/local/default/openai/v1/files/a%2Fb//c?x=%20y&z", encoded=True)
    headers = {"cf-aig-authorization": TOKEN, "authorization": "Bearer sk-theirs"}
    async with (
        aiohttp.ClientSession() as client,
        client.put(url, data=b"\x00\xff", headers=headers) as answer,
    ):
        assert answer.status == 200
    request = peers.provider.requests[0]

    assert ("PUT", "v1/files/a%2Fb//c", "x=%20y&z", b"\x00\xff") == (
        request.native.method,
        request.native.path,
        request.native.query,
        request.body,
    )


async def test_native_errors_have_the_gateway_envelope(peers: Peers) -> None:
    """On native paths `error` is the gateway's list."""
    async with peers.client.post("/v1/local/default/openai/v1/x", data=b"{}") as answer:
        told = orjson.loads(await answer.read())

    assert (401, [{"code": 2009, "message": "Unauthorized"}], "AiGatewayError") == (
        answer.status,
        told["error"],
        told["name"],
    )


async def test_models(peers: Peers) -> None:
    """The list merges all providers and leaves out one that does not answer."""
    async with peers.client.get("/v1/models", headers=AUTH) as answer:
        told = orjson.loads(await answer.read())

    found = {model["id"] for model in told["data"]}

    assert {"local/m", "openai/m"} <= found
    assert "anthropic/m" not in found


async def test_collect_log_off(peers: Peers) -> None:
    """A request that is not to be logged leaves no entry."""
    _, _, headers = await post(peers, **{"cf-aig-collect-log": "false"})
    await asyncio.sleep(0.1)

    assert ({}, False) == (peers.ledger.entries, "cf-aig-log-id" in headers)


async def test_payload_off(peers: Peers) -> None:
    """Without payloads the entry has its numbers and no bodies."""
    await post(peers, **{"cf-aig-collect-log-payload": "false"})
    entry = await peers.entry()

    assert (5, False) == (entry.usage.output_tokens, entry.HasField("payload"))


async def test_log_endpoints(peers: Peers) -> None:
    """List, detail and bodies are there on the management path, for a token that may read."""
    await post(peers, **{"cf-aig-metadata": '{"team":"a"}'})
    entry = await peers.entry()
    base = "/client/v4/accounts/local/ai-gateway/gateways/default/logs"
    async with peers.client.get(f"{base}?per_page=5", headers=AUTH) as answer:
        listed = orjson.loads(await answer.read())
    async with peers.client.get(f"{base}/{entry.id}", headers=AUTH) as answer:
        detail = orjson.loads(await answer.read())["result"]
    async with peers.client.get(f"{base}/{entry.id}/response", headers=AUTH) as answer:
        raw = await answer.read()
    async with peers.client.get(f"{base}/nope", headers=AUTH) as answer:
        missing = answer.status, orjson.loads(await answer.read())["errors"][0]["code"]

    assert ([entry.id], {"count": 1, "page": 1, "per_page": 5, "total_count": 1, "total_pages": 1}) == (
        [row["id"] for row in listed["result"]],
        listed["result_info"],
    )
    assert ({"team": "a"}, 3, 5, True) == (
        detail["metadata"],
        detail["tokens_in"],
        detail["tokens_out"],
        detail["success"],
    )
    assert (ANSWER, (404, 7002)) == (raw, missing)


@pytest.mark.parametrize(
    "query",
    ["per_page=51", "page=0", "page=x", "filters={", "order_by_direction=up", "after_id=x&order_by=cost"],
)
async def test_bad_log_query(peers: Peers, query: str) -> None:
    """A parameter that makes no sense is named in a v4 error."""
    path = f"/client/v4/accounts/local/ai-gateway/gateways/default/logs?{query}"
    async with peers.client.get(path, headers=AUTH) as answer:
        told = orjson.loads(await answer.read())

    assert (400, 7001, False) == (answer.status, told["errors"][0]["code"], told["success"])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/x",
        "/v2/chat/completions",
        "/v1/a/b/compat",
        "/v1/files/x/content",
        "/v1/a/b/compat/nope",
        "/%00",
        "//",
    ],
)
async def test_unknown_paths(peers: Peers, path: str) -> None:
    """A path that leads nowhere is a 404 with a JSON body."""
    async with peers.client.get(path) as answer:
        assert (404, False) == (answer.status, orjson.loads(await answer.read())["success"])


async def test_wrong_method(peers: Peers) -> None:
    """A wrong method is a 405 that names the right one."""
    async with peers.client.get(CHAT, headers=AUTH) as answer:
        told = orjson.loads(await answer.read())

    assert answer.status == 405
    assert "POST" in told["error"]["message"]


def stub(peers: Peers) -> Any:
    channel = peers.runtime.channel("edge")
    return inference_service_pb2_grpc.InferenceServiceStub(channel)


TYPED = inf.ChatRequest(
    model="openai/gpt-x", messages=[inf.Message(role=inf.ROLE_USER, parts=[inf.Part(text="hi")])]
)
METADATA = (("authorization", f"Bearer {TOKEN}"),)


async def test_typed_chat(peers: Peers) -> None:
    """A typed request goes through the same pipeline and comes back typed."""
    answer = {
        "model": "gpt-x-1",
        "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    peers.provider.script = [head(), chunk(orjson.dumps(answer)), tail()]
    got = await stub(peers).Chat(TYPED, metadata=METADATA)

    assert ("Hello", "stop", 3) == (got.message.parts[0].text, got.finish_reason, got.usage.input_tokens)
    assert got.log_id == (await peers.entry()).id


async def test_typed_stream(peers: Peers) -> None:
    """A typed stream gives text piece by piece, and raises when it broke off."""
    events = [
        b'data: {"choices":[{"delta":{"content":"He"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"y"},"finish_reason":"stop"}]}\n\n',
    ]
    peers.provider.script = [head(200, "text/event-stream"), *map(chunk, events), tail()]
    pieces = [piece async for piece in stub(peers).ChatStream(TYPED, metadata=METADATA)]
    peers.provider.script = [
        head(200, "text/event-stream"),
        chunk(events[0]),
        tail(failure=failure(provider_service_pb2.FAILURE_CLASS_CUT)),
    ]
    with pytest.raises(GatewayError) as caught:
        [piece async for piece in stub(peers).ChatStream(TYPED, metadata=METADATA)]

    assert (["He", "y"], "stop") == ([piece.text for piece in pieces], pieces[-1].finish_reason)
    assert caught.value.reason == Reason.UPSTREAM_CUT


async def test_typed_refusal(peers: Peers) -> None:
    """Without a token a typed caller gets UNAUTHENTICATED, on both kinds of call."""
    for answer in (stub(peers).Chat(TYPED), anext(stub(peers).ChatStream(TYPED))):
        with pytest.raises(GatewayError) as caught:
            await answer

        assert caught.value.reason == Reason.UNAUTHENTICATED
