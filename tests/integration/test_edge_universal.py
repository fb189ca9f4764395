"""The universal endpoint over HTTP: steps in order, and what a client is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, failure
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URL = "/v1/local/default"
AUTH = {"cf-aig-authorization": f"Bearer {TOKEN}"}
QUERY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STEP = {"provider": "openai", "endpoint": "v1/chat/completions", "query": QUERY}
OTHER = {**STEP, "provider": "groq"}
UNREACHABLE = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]


def _refused(status: int, klass: int) -> list[Any]:
    refusal = failure(klass, upstream_status=status)
    return [head(status, failure=refusal), chunk(b'{"error":{"message":"its own"}}'), tail()]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [
            head(body_dialect=http_pb2.DIALECT_NATIVE), chunk(ANSWER), tail(finish_reason="stop"),
        ]  # fmt: skip
        yield found


async def ask(peers: Peers, asked: Any, url: str = URL, **headers: str) -> tuple[int, Any, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with peers.client.post(url, json=asked, headers={**AUTH, **named}) as answer:
        return answer.status, orjson.loads(await answer.read()), answer.headers


@pytest.mark.parametrize("asked", [STEP, [STEP], [STEP, OTHER]])
@pytest.mark.parametrize("url", [URL, f"{URL}/"])
async def test_the_first_step_answers(peers: Peers, asked: Any, url: str) -> None:
    """One object or a list of them: the answer is the provider's own, and says by which step it came."""
    status, told, headers = await ask(peers, asked, url)
    entry = await peers.entry()

    assert (200, orjson.loads(ANSWER), "0", "openai") == (
        status, told, headers["cf-aig-step"], headers["cf-aig-provider"],
    )  # fmt: skip
    assert ["openai"] == [request.provider for request in peers.provider.requests]
    assert ("openai/v1/chat/completions", headers["cf-aig-log-id"]) == (entry.path, entry.id)


@pytest.mark.parametrize(
    "failing",
    [UNREACHABLE, _refused(500, pb.FAILURE_CLASS_SERVER), _refused(401, pb.FAILURE_CLASS_AUTHENTICATION)],
)
async def test_the_next_step_answers(peers: Peers, failing: list[Any]) -> None:
    """Whatever the first provider refuses or fails at, the second is asked, with its own key and body."""
    peers.provider.earlier = [failing]
    steps = [
        {**STEP, "headers": {"authorization": "Bearer sk-1"}, "config": {"maxAttempts": 1}},
        {**OTHER, "endpoint": "chat/completions", "authorization": "Bearer sk-2", "query": {**QUERY, "n": 2}},
    ]
    status, told, headers = await ask(peers, steps)
    entry = await peers.entry()
    first, second = peers.provider.requests

    assert (200, orjson.loads(ANSWER), "1", "groq") == (
        status, told, headers["cf-aig-step"], headers["cf-aig-provider"],
    )  # fmt: skip
    assert [b"Bearer sk-1", b"Bearer sk-2"] == [
        header.value
        for request in (first, second)
        for header in request.headers
        if header.name == "authorization"
    ]
    assert ("chat/completions", 2) == (second.native.path, orjson.loads(second.body)["n"])
    assert [(0, "openai"), (1, "groq")] == [(attempt.step, attempt.provider) for attempt in entry.attempts]


async def test_when_no_step_has_an_answer(peers: Peers) -> None:
    """The client gets the last step's own error, with its number, as the SDK of that provider reads it."""
    peers.provider.earlier = [UNREACHABLE, _refused(418, pb.FAILURE_CLASS_INVALID_REQUEST)]
    status, told, headers = await ask(peers, [STEP, OTHER])

    assert (418, {"error": {"message": "its own"}}, "1") == (status, told, headers["cf-aig-step"])


async def test_when_no_step_has_so_much_as_an_error(peers: Peers) -> None:
    """Then the error is ours, in the gateway's envelope whatever the steps speak."""
    peers.provider.earlier = [UNREACHABLE, UNREACHABLE]
    compat = {"provider": "compat", "endpoint": "chat/completions", "query": {**QUERY, "model": "groq/m"}}
    status, told, headers = await ask(peers, [STEP, compat])

    assert (502, False, 2005, "1") == (
        status,
        told["success"],
        told["error"][0]["code"],
        headers["cf-aig-step"],
    )


async def test_a_step_that_may_not_be_taken_is_passed_over(peers: Peers) -> None:
    """A step whose provider is not there, or not for this token, counts as failed."""
    peers.provider.earlier = [UNREACHABLE]
    status, _, headers = await ask(peers, [STEP, {**STEP, "provider": "nope"}, OTHER])

    assert (200, "2") == (status, headers["cf-aig-step"])


async def test_a_step_by_compat(peers: Peers) -> None:
    """A step may name model and provider in one, in a dialect of ours."""
    peers.provider.earlier = [UNREACHABLE]
    compat = {"provider": "compat", "endpoint": "chat/completions", "query": {**QUERY, "model": "groq/m"}}
    status, _, headers = await ask(peers, [STEP, compat])
    _, second = peers.provider.requests

    assert (200, "1", "groq", "m") == (status, headers["cf-aig-step"], second.provider, second.model)
    assert http_pb2.DIALECT_OPENAI_CHAT == second.client_dialect


async def test_a_stream_by_the_second_step(peers: Peers) -> None:
    """The stream is the second provider's to the byte."""
    events = [b'data: {"n":1}\n\n', b"data: [DONE]\n\n"]
    peers.provider.earlier = [UNREACHABLE]
    begun = head(content_type="text/event-stream", body_dialect=http_pb2.DIALECT_NATIVE)
    peers.provider.script = [begun, *map(chunk, events), tail()]
    steps = [{**each, "query": {**QUERY, "stream": True}} for each in (STEP, OTHER)]
    async with peers.client.post(URL, json=steps, headers=AUTH) as answer:
        body = await answer.read()

    assert ("1", b"".join(events)) == (answer.headers["cf-aig-step"], body)
    assert all(request.stream for request in peers.provider.requests)


@pytest.mark.parametrize(
    ("asked", "headers", "expected"),
    [
        ([STEP, {"provider": 1}], {}, (400, 7001, "1.provider: must be the name of a provider.")),
        (STEP, {"cf_aig_authorization": "Bearer undefined"}, (401, 2009, "Unauthorized")),
        ({**STEP, "provider": "nope"}, {}, (400, 2008, "Invalid provider")),
    ],
)
async def test_refusals(
    peers: Peers, asked: Any, headers: dict[str, str], expected: tuple[int, int, str]
) -> None:
    """What is refused before any step has the gateway's envelope and no step."""
    status, told, answered = await ask(peers, asked, **headers)

    assert expected == (status, told["error"][0]["code"], told["message"])
    assert "cf-aig-step" not in answered


async def test_a_gateway_that_is_not_there(peers: Peers) -> None:
    """It has the code by which clients know it."""
    status, told, _ = await ask(peers, STEP, "/v1/local/nope")

    assert (400, 2001) == (status, told["error"][0]["code"])


async def test_a_gateway_without_authentication(peers: Peers) -> None:
    """What clients send that have no token does not matter there."""
    peers.router.settings["authentication"] = False
    status, _, _ = await ask(peers, STEP, cf_aig_authorization="Bearer undefined")

    assert 200 == status
    assert 0 == peers.auth.asked


async def test_a_get_is_for_websockets(peers: Peers) -> None:
    """A GET that asks for no WebSocket is told so."""
    async with peers.client.get(URL, headers=AUTH) as answer:
        told = orjson.loads(await answer.read())

    assert (405, 7001) == (answer.status, told["error"][0]["code"])


@pytest.mark.parametrize("path", ["/v1/files/x", "/v1/fine_tuning/jobs", "/v1/audio/nope"])
async def test_paths_that_look_like_it(peers: Peers, path: str) -> None:
    """Two parts that are one of OpenAI's paths are not taken for an account and its gateway."""
    async with peers.client.post(path, json={}, headers=AUTH) as answer:
        assert 404 == answer.status
