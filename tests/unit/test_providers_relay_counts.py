"""What the relay tells of a running stream's use, from which it is counted when nobody tells its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import orjson
import pytest

from kit.secret import Secret
from services.providers.app import make_adapter
from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.registry import PROVIDERS
from services.providers.relay import relay_for

if TYPE_CHECKING:
    from services.providers.answer import UpstreamAnswer


class EventsAnswer:
    """An answer that comes event by event."""

    status = 200
    content_type = "text/event-stream"
    coding = ""
    decoded = False
    raw_headers = ((b"content-type", b"text/event-stream"),)
    started = first_byte_at = connect_s = 0.0

    def __init__(self, events: list[object]) -> None:
        self.left = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]

    async def read(self) -> bytes:
        """Return the next event."""
        return self.left.pop(0) if self.left else b""

    async def rest(self) -> bytes:
        """Return nothing: all was read."""
        return b""

    def content_began(self) -> None:
        """Take note of nothing."""


def _chat(delta: object = None, **members: object) -> object:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None}]
    return {"model": "m", "choices": choices, **members}


def _gemini(text: str, **members: object) -> object:
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, **members}],
        "usageMetadata": {"promptTokenCount": 12},
    }


STOPS = {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
COUNTED = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


@pytest.mark.parametrize(
    ("provider", "path", "events", "told"),
    [
        pytest.param(
            "openai",
            "chat/completions",
            [_chat({"role": "assistant"}), *[_chat({"content": "a"})] * 3, STOPS, _chat(usage=COUNTED)],
            # A number each time, of which the provider's own is the last word, though it is less.
            [((1, 1), 1), (None, 2), (None, 3), (None, 3), ((9, 2), 0)],
            id="openai",
        ),
        pytest.param(
            "google-ai-studio",
            "v1beta/models/m:streamGenerateContent?alt=sse",
            [_gemini("a"), _gemini("b"), {**cast("dict[str, object]", _gemini("c", finishReason="STOP")),
                "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 2, "totalTokenCount": 14}}],
            # A report without an output is completed.
            [((12, 1), 1), (None, 2), ((12, 2), 0)],
            id="gemini",
        ),
    ],
)  # fmt: skip
async def test_each_piece_tells_what_came(
    provider: str, path: str, events: list[object], told: list[tuple[tuple[int, int] | None, int]]
) -> None:
    """Reports are rare, a number is with every piece until the provider has said how much it was."""
    settings = ProviderSettings(slug=provider, api_key=Secret("k"))
    adapter = make_adapter(PROVIDERS[provider], settings, ProvidersConfig())
    target = NativeTarget(method="POST", path=path.partition("?")[0], query=path.partition("?")[2])
    exchange = await adapter.exchange(
        Call(model="", dialect=ClientDialect.NATIVE, body=b"{}", stream=True, headers=(), native=target)
    )
    answer = EventsAnswer(events)
    relay = relay_for(exchange, cast("UpstreamAnswer", answer), stream=True, provider=provider)
    await relay.head()
    found = []
    while (message := await relay.next()) is not None:
        chunk = message.chunk
        used = (chunk.usage.input_tokens, chunk.usage.output_tokens) if chunk.HasField("usage") else None
        found.append((used, chunk.output_tokens))

    assert told == found
