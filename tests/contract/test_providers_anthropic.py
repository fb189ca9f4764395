"""
What only the Anthropic adapter does: its own dialect, and what the translation needs beside the body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from headrace.common.v1 import http_pb2
from kit.errors import Reason
from tests.fakes import upstream_shapes
from tests.fakes.provider_calls import chat_request, failure_class, native_request, provider_harness
from tests.fakes.upstream_shapes import INPUT_TOKENS, TEXT

if TYPE_CHECKING:
    from tests.fakes.provider_calls import ProviderHarness
    from tests.fakes.upstream import FakeUpstream

MESSAGES = http_pb2.DIALECT_ANTHROPIC_MESSAGES
KEY = {"x-api-key": "sk-test"}


async def test_own_dialect_keeps_its_bytes(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """In Anthropic's own dialect nothing but the model changes on the way, and nothing on the way back."""
    raw = b'{"max_tokens": 5,  "model":"anthropic/x", "future": {"a":[1.0]}, "messages":[]}'

    invoked = await providers.invoke(
        chat_request("anthropic", "claude-1", dialect=MESSAGES, raw=raw, headers=KEY)
    )

    assert raw.replace(b"anthropic/x", b"claude-1") == upstream.journal[0].body
    expected = upstream_shapes.plain_body("messages", {"model": "claude-1"}, {})
    assert orjson.dumps(expected) == invoked.body
    assert "stop" == invoked.ended.finish_reason
    assert INPUT_TOKENS == invoked.ended.usage.input_tokens


async def test_own_dialect_stream(providers: ProviderHarness) -> None:
    """A stream in Anthropic's own dialect is passed on as it is and ends with `message_stop`."""
    invoked = await providers.invoke(
        chat_request("anthropic", "claude-1", stream=True, dialect=MESSAGES, headers=KEY)
    )

    body = {"model": "claude-1"}
    assert b"".join(upstream_shapes.stream_events("messages", body, {})) == invoked.body
    assert "stop" == invoked.ended.finish_reason
    assert not invoked.ended.usage.estimated


async def test_own_dialect_stream_cut(providers: ProviderHarness) -> None:
    """A stream in Anthropic's own dialect that breaks ends with Anthropic's error event."""
    invoked = await providers.invoke(
        chat_request("anthropic", "m+words=9+pace=5+cut=2", stream=True, dialect=MESSAGES, headers=KEY)
    )

    assert "error" == invoked.events[-1]["type"]
    assert b"message_stop" not in invoked.body
    assert "CUT" == failure_class(invoked.ended.failure)


async def test_own_dialect_html_error(providers: ProviderHarness) -> None:
    """An HTML page of a proxy before the provider becomes an error in Anthropic's shape."""
    invoked = await providers.invoke(
        chat_request("anthropic", "m+status=502+html", dialect=MESSAGES, headers=KEY)
    )

    assert 502 == invoked.started.status
    assert ("error", "api_error") == (invoked.json["type"], invoked.json["error"]["type"])
    assert invoked.started.failure.message == invoked.json["error"]["message"]
    assert invoked.started.failure.reported


async def test_counted_tokens(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A prompt is counted in Anthropic's own dialect, with nothing but the model changed, and not metered."""
    raw = b'{"model":"anthropic/x", "messages":[ ], "future": 1.0}'

    invoked = await providers.invoke(
        chat_request(
            "anthropic", "claude-1", dialect=MESSAGES, raw=raw, headers=KEY, operation="count_tokens"
        )
    )

    [received] = upstream.journal
    assert ("/v1/messages/count_tokens", raw.replace(b"anthropic/x", b"claude-1")) == (
        received.path,
        received.body,
    )
    assert {"input_tokens": INPUT_TOKENS} == invoked.json
    assert not invoked.ended.HasField("usage")


@pytest.mark.parametrize("steer", ["status=400", "status=502+html"])
async def test_counting_fails_in_anthropics_shape(steer: str, providers: ProviderHarness) -> None:
    """Case 80: an error of a count is one in Anthropic's shape, whatever came of the provider."""
    invoked = await providers.invoke(
        chat_request("anthropic", f"m+{steer}", dialect=MESSAGES, headers=KEY, operation="count_tokens")
    )

    assert int(steer[7:10]) == invoked.started.status
    assert "error" == invoked.json["type"]
    assert {"type", "message"} <= invoked.json["error"].keys()


async def test_other_operations(providers: ProviderHarness) -> None:
    """What Anthropic has nothing for is refused."""
    error = await providers.failing(
        chat_request("anthropic", "m", dialect=MESSAGES, headers=KEY, operation="made_up")
    )

    assert Reason.UNSUPPORTED is error.reason


async def test_beta_headers_are_merged(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """Case 38: names of betas come once each, in one header, beside what a translation sends."""
    await providers.invoke(chat_request("anthropic", "m", headers={**KEY, "anthropic-beta": "a-1, b-2,a-1"}))

    assert "a-1,b-2" == upstream.journal[0].header("anthropic-beta")


async def test_version_header(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """The API version is set unless the client set one."""
    await providers.invoke(chat_request("anthropic", "m"))
    await providers.invoke(chat_request("anthropic", "m", headers={**KEY, "anthropic-version": "2099-01-01"}))

    assert ["2023-06-01", "2099-01-01"] == [one.header("anthropic-version") for one in upstream.journal]


async def test_beta_headers_pass(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """Features that the client turns on stay on."""
    await providers.invoke(
        chat_request("anthropic", "m", headers={**KEY, "anthropic-beta": "one-1,two-2", "openai-beta": "x"})
    )

    received = upstream.journal[0]
    assert {"one-1", "two-2"} <= set((received.header("anthropic-beta") or "").split(","))
    assert received.header("openai-beta") is None


async def test_oauth_token_stays_a_bearer_token(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A key that is an OAuth token goes into `Authorization`, where Anthropic reads those."""
    await providers.invoke(chat_request("anthropic", "m", headers={"authorization": "Bearer sk-ant-oat01-x"}))

    assert "Bearer sk-ant-oat01-x" == upstream.journal[0].header("authorization")
    assert upstream.journal[0].header("x-api-key") is None


async def test_translation_notes(providers: ProviderHarness) -> None:
    """What a translation drops is said in the head."""
    invoked = await providers.invoke(chat_request("anthropic", "m", body={"logit_bias": {"1": 2}}))

    assert ["dropped=logit_bias"] == [
        note for note in invoked.started.translation_notes if "logit_bias" in note
    ]


async def test_strict_translation(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """With strict translation the same is an error that names the parameter."""
    error = await providers.failing(
        chat_request("anthropic", "m", strict=True, body={"logit_bias": {"1": 2}})
    )

    assert error.reason in {Reason.UNSUPPORTED, Reason.INVALID_REQUEST}
    assert "logit_bias" == error.metadata["param"]
    assert [] == upstream.journal


@pytest.mark.parametrize("setting", [4096, 77])
async def test_default_output_limit(setting: int, upstream: FakeUpstream) -> None:
    """The output limit that Anthropic demands comes from the settings for a model that nobody knows."""
    async with provider_harness(upstream.url, max_tokens_default=setting) as providers:
        await providers.invoke(chat_request("anthropic", "unheard-of"))

    assert setting == upstream.journal[0].json["max_tokens"]


async def test_count_tokens(providers: ProviderHarness) -> None:
    """A native call beside the messages is relayed, and not metered."""
    invoked = await providers.invoke(
        native_request("anthropic", "v1/messages/count_tokens", body={"model": "m"}, headers=KEY)
    )

    assert {"input_tokens": INPUT_TOKENS} == invoked.json
    assert not invoked.ended.HasField("usage")


async def test_thinking(providers: ProviderHarness) -> None:
    """Thinking is told apart from content."""
    invoked = await providers.invoke(chat_request("anthropic", "m+think"))

    message = invoked.json["choices"][0]["message"]
    assert (TEXT, "Let me see.") == (message["content"], message["reasoning_content"])
