"""Calls of an edge over HTTP, and what a provider's failure looks like to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from headrace.provider.v1 import provider_service_pb2
from tests.fakes.peers import TOKEN

if TYPE_CHECKING:
    from tests.fakes.peers import Peers

__all__ = ["ANSWER", "AUTH", "BODY", "CHAT", "failure", "post"]

CHAT = "/v1/chat/completions"
BODY = {"model": "openai/gpt-x", "messages": [{"role": "user", "content": "hi"}]}
AUTH = {"authorization": f"Bearer {TOKEN}"}
ANSWER = b'{"id":"x","choices":[]}'


def failure(klass: int, **fields: Any) -> Any:
    made = provider_service_pb2.Failure(**fields)
    setattr(made, "class", klass)
    return made


async def post(peers: Peers, path: str = CHAT, json: Any = BODY, **headers: str) -> tuple[int, Any, Any]:
    async with peers.client.post(path, json=json, headers={**AUTH, **headers}) as answer:
        body = await answer.read()
        return answer.status, orjson.loads(body), answer.headers
