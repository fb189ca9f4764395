"""How native answers are relayed: a stream of documents in lines, and statuses that are none."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import pytest

from kit.errors import GatewayError
from kit.secret import Secret
from services.providers.app import make_adapter
from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.registry import PROVIDERS
from services.providers.relay import StreamRelay, relay_for

if TYPE_CHECKING:
    from services.providers.answer import UpstreamAnswer

LINES = [
    b'{"event_type":"stream-start","generation_id":"g"}\n',
    b'{"event_type":"text-generation","text":"Hi"}\n',
    b'{"event_type":"stream-end","finish_reason":"COMPLETE","response":{"meta":{"billed_units":{"input_tokens":5,"output_tokens":2}}}}\n',
]


class LinesAnswer:
    """An answer that comes line by line."""

    status = 200
    content_type = "application/stream+json"
    coding = ""
    decoded = False
    raw_headers = ((b"content-type", b"application/stream+json"),)
    started = first_byte_at = connect_s = 0.0

    def __init__(self) -> None:
        self.left = list(LINES)

    async def read(self) -> bytes:
        """Return the next line."""
        return self.left.pop(0) if self.left else b""

    async def rest(self) -> bytes:
        """Return nothing: all was read."""
        return b""

    def content_began(self) -> None:
        """Take note of nothing."""


async def test_lines_are_passed_on_as_they_come() -> None:
    """Case 135: a stream of version 1 of Cohere's API is passed on line by line, and metered."""
    settings = ProviderSettings(slug="cohere", api_key=Secret("k"))
    adapter = make_adapter(PROVIDERS["cohere"], settings, ProvidersConfig())
    target = NativeTarget(method="POST", path="v1/chat", query="")
    exchange = await adapter.exchange(
        Call(model="", dialect=ClientDialect.NATIVE, body=b"{}", stream=True, headers=(), native=target)
    )
    answer = LinesAnswer()
    relay = relay_for(exchange, cast("UpstreamAnswer", answer), stream=True, provider="cohere")

    assert isinstance(relay, StreamRelay)
    head = await relay.head()
    assert 1 == len(answer.left)
    assert 200 == head.head.status
    passed = []
    while (message := await relay.next()) is not None:
        passed.append(message.chunk.data)
    relay.tail()
    assert b"".join(LINES) == b"".join(passed)
    assert relay.outcome.usage is not None
    assert (5, 2, "stop") == (
        relay.outcome.usage.input_tokens,
        relay.outcome.usage.output_tokens,
        relay.outcome.finish_reason,
    )


@pytest.mark.parametrize(
    ("status", "name", "taken"),
    [
        (304, "if-none-match", True),
        (304, "if-modified-since", True),
        (304, "accept", False),
        (300, "if-none-match", False),
        (302, "accept", False),
        (307, "if-none-match", False),
        (204, "accept", True),
    ],
)
async def test_statuses_that_are_an_answer(status: int, name: str, taken: bool) -> None:  # noqa: FBT001 - a table
    """A redirect of a native call is none; nothing new is one for who asked whether there is."""
    adapter = make_adapter(
        PROVIDERS["openai"], ProviderSettings(slug="openai", api_key=Secret("k")), ProvidersConfig()
    )
    target = NativeTarget(method="GET", path="v1/files", query="")
    exchange = await adapter.exchange(
        Call(
            model="",
            dialect=ClientDialect.NATIVE,
            body=b"",
            stream=False,
            headers=((name, b"x"),),
            native=target,
        )
    )
    answer = LinesAnswer()
    answer.status = status
    refusal: Any = nullcontext() if taken else pytest.raises(GatewayError, match=f"status {status}")
    with refusal:
        relay_for(exchange, cast("UpstreamAnswer", answer), stream=False, provider="openai")
