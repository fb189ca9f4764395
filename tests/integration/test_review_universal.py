"""Steps and messages that are valid JSON and still cannot be passed on: they are refused, and harm nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import orjson
import pytest

from headrace.common.v1 import http_pb2
from services.edge.handlers import universal
from tests.fakes.edge_calls import ANSWER
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URL = "/v1/local/default"
AUTH = {"cf-aig-authorization": TOKEN}
DEEP = '{"a":' * 400 + "1" + "}" * 400
GOOD = '{"provider":"openai","endpoint":"x","query":{}}'


def _step(where: str, value: str) -> str:
    """Write a step that has a value somewhere."""
    query = value if where == "query" else "{}"
    rest = "" if where == "query" else f",{where.replace('VALUE', value)}"
    return f'{{"provider":"openai","endpoint":"x","query":{query}{rest}}}'


TOO_DEEP = [
    (_step("query", DEEP), "query"),
    (_step('"headers":{"x-a":VALUE}', DEEP), "headers.x-a"),
    (_step('"authorization":VALUE', DEEP), "authorization"),
    (_step('"config":{"retryDelay":VALUE}', DEEP), "config.retryDelay"),
    (_step('"config":{"retryDelay":VALUE}', "1e300"), "config.retryDelay"),
]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [
            head(body_dialect=http_pb2.DIALECT_NATIVE), chunk(ANSWER), tail(finish_reason="stop"),
        ]  # fmt: skip
        yield found


def _message(request: str) -> str:
    return f'{{"type":"universal.create","request":{request}}}'


async def test_what_cannot_be_written_again(peers: Peers) -> None:
    """JSON is read deeper than it is written: what is too deep is the client's error, with its path."""
    for step, where in TOO_DEEP:
        async with peers.client.post(URL, data=step, headers=AUTH) as answer:
            told = orjson.loads(await answer.read())

        assert (400, True) == (answer.status, told["message"].startswith(f"{where}: ")), told


async def test_a_message_that_cannot_be_written_again(peers: Peers) -> None:
    """It is answered by an error, and the connection goes on."""
    async with peers.client.ws_connect(URL, headers=AUTH) as socket:
        for step, where in TOO_DEEP:
            await socket.send_str(_message(step))
            told = orjson.loads((await socket.receive(timeout=5)).data)

            assert ("universal.error", f"request.{where}") == (told["type"], told["metadata"]["param"])
        await socket.send_str(_message(GOOD))
        answer = await socket.receive(timeout=5)

    assert "universal.created" == orjson.loads(answer.data)["type"]


async def test_a_defect_ends_one_request_alone(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong as a message is read, the others on the connection go on."""
    async with peers.client.ws_connect(URL, headers=AUTH) as socket:
        with monkeypatch.context() as broken:
            broken.setattr(universal, "exchange", None)
            await socket.send_str(_message(GOOD))
            refused = await socket.receive(timeout=30)
        await socket.send_str(_message(GOOD))
        answer = await socket.receive(timeout=5)

    assert [aiohttp.WSMsgType.TEXT] * 2 == [refused.type, answer.type]
    assert [500, 200] == [orjson.loads(each.data)["metadata"]["status"] for each in (refused, answer)]
