"""
What every provider adapter does when its provider fails, is silent, or breaks off.
"""

from __future__ import annotations

import asyncio

import pytest

from kit.errors import Reason
from services.providers.upstream import Timeouts
from tests.fakes.provider_calls import (
    ProviderHarness,
    chat_request,
    failure_class,
    native_request,
    provider_harness,
    text_of,
    timeouts_message,
)
from tests.fakes.provider_sides import ADAPTERS, SIDES
from tests.fakes.upstream import FakeUpstream

Streamed = bool  # the kind of answer asked for, a parameter of tests


@pytest.mark.parametrize(
    ("status", "steer", "expected"),
    [
        (400, "", "INVALID_REQUEST"),
        (
            400,
            "+error=invalid_request_error+message=prompt%20is%20too%20long:%20300%20tokens",
            "CONTEXT_LENGTH",
        ),
        (401, "", "AUTHENTICATION"),
        (404, "", "NOT_FOUND"),
        (413, "", "INVALID_REQUEST"),
        (429, "", "RATE_LIMIT"),
        (500, "", "SERVER"),
        (529, "", "SERVER"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_error_statuses(
    slug: str, status: int, steer: str, expected: str, stream: Streamed, providers: ProviderHarness
) -> None:
    """A provider's error is a head with its status and class, and a body in the client's dialect."""
    invoked = await providers.invoke(chat_request(slug, f"m+status={status}{steer}", stream=stream))

    failure = invoked.started.failure
    assert expected == failure_class(failure)
    assert status == failure.upstream_status
    assert failure.reported
    assert ["application/json"] == invoked.header("content-type")
    assert {"message", "type", "param", "code"} <= set(invoked.json["error"])
    assert failure.message == invoked.json["error"]["message"]
    assert 400 <= invoked.started.status < 600


async def test_same_status_for_the_client(slug: str, providers: ProviderHarness) -> None:
    """The client gets the provider's own error status."""
    for status in (400, 401, 429, 500):
        invoked = await providers.invoke(chat_request(slug, f"m+status={status}"))
        assert status == invoked.started.status


@pytest.mark.parametrize(("header", "seconds"), [("retry-after=7", 7.0), ("retry-after-ms=250", 0.25)])
async def test_retry_after(slug: str, header: str, seconds: float, providers: ProviderHarness) -> None:
    """How long the provider asks to wait is told, in either of its headers."""
    invoked = await providers.invoke(chat_request(slug, f"m+status=429+{header}"))

    assert seconds == invoked.started.failure.retry_after.ToTimedelta().total_seconds()


async def test_no_retry_after(one_of_each: str, providers: ProviderHarness) -> None:
    """Nothing is made up when the provider names no time to wait."""
    invoked = await providers.invoke(chat_request(one_of_each, "m+status=429"))

    assert not invoked.started.failure.HasField("retry_after")


async def test_html_error_page(slug: str, providers: ProviderHarness) -> None:
    """An HTML page of a proxy before the provider becomes a well-formed error with its status."""
    invoked = await providers.invoke(chat_request(slug, "m+status=502+html"))

    assert 502 == invoked.started.status
    assert "SERVER" == failure_class(invoked.started.failure)
    assert "<html" not in invoked.json["error"]["message"]


@pytest.mark.parametrize(
    ("steer", "expected"),
    [
        ("cut=3", "CUT"),
        ("end=3", "CUT"),
        ("malformed=3", "MALFORMED"),
        ("error-after=3", "SERVER"),
    ],
)
async def test_broken_stream(slug: str, steer: str, expected: str, providers: ProviderHarness) -> None:
    """A stream that breaks is never ended as if it were whole: an error event, no [DONE], a failed tail."""
    invoked = await providers.invoke(chat_request(slug, f"m+words=9+pace=5+{steer}", stream=True))

    assert 200 == invoked.started.status
    assert "w0 w1 w2" == text_of(invoked)
    assert "[DONE]" not in invoked.events
    assert "error" in invoked.events[-1]
    assert expected == failure_class(invoked.ended.failure)
    assert invoked.ended.failure.reported
    assert invoked.ended.usage.output_tokens >= 3
    assert invoked.ended.usage.estimated


async def test_stalled_stream(one_of_each: str, upstream: FakeUpstream, hasty: ProviderHarness) -> None:
    """A stream that falls silent ends with a time-out, and its connection is closed."""
    invoked = await hasty.invoke(chat_request(one_of_each, "m+words=9+stall=2", stream=True))

    assert "TIMEOUT" == failure_class(invoked.ended.failure)
    assert "error" in invoked.events[-1]
    async with asyncio.timeout(1):
        await upstream.journal[0].closed.wait()
    assert upstream.journal[0].closed_at is not None


async def test_total_time(one_of_each: str, upstream: FakeUpstream) -> None:
    """A stream that goes on for longer than the total time-out ends with a time-out."""
    timeouts = Timeouts(connect_s=1.0, first_byte_s=1.0, idle_s=1.0, total_s=0.3)
    async with provider_harness(upstream.url, timeouts=timeouts) as providers:
        invoked = await providers.invoke(chat_request(one_of_each, "m+words=500+pace=10", stream=True))

    assert "TIMEOUT" == failure_class(invoked.ended.failure)
    assert "[DONE]" not in invoked.events


async def test_first_event_is_an_error(slug: str, providers: ProviderHarness) -> None:
    """A stream that begins with an error is a failed head and not a stream."""
    invoked = await providers.invoke(chat_request(slug, "m+first-error=overloaded_error", stream=True))

    assert "SERVER" == failure_class(invoked.started.failure)
    assert invoked.started.status >= 500
    assert ["application/json"] == invoked.header("content-type")
    assert "message" in invoked.json["error"]


@pytest.mark.parametrize("steer", ["slow=2000", "slow-body=2000", "silent", "silent=body"])
async def test_first_byte_time_out(one_of_each: str, steer: str, hasty: ProviderHarness) -> None:
    """Silence before the first content is a time-out, whether or not headers came before it."""
    error = await hasty.failing(chat_request(one_of_each, f"m+{steer}", stream=True))

    assert Reason.UPSTREAM_TIMEOUT is error.reason
    assert "first_byte" == error.metadata["timer"]
    assert one_of_each == error.metadata["provider"]


# Streams of Converse have no sign of life.
@pytest.mark.parametrize("one_of_each", [slug for slug in ADAPTERS if SIDES[slug].wire != "converse"])
async def test_keep_alives_are_no_content(one_of_each: str, upstream: FakeUpstream) -> None:
    """Keep-alives do not hold off the first-byte time-out: it waits for content."""
    timeouts = Timeouts(connect_s=1.0, first_byte_s=0.3, idle_s=1.0, total_s=5.0)
    upstream.defaults["keep-alive-only"] = "50"
    async with provider_harness(upstream.url, timeouts=timeouts) as providers:
        started = asyncio.get_running_loop().time()
        error = await providers.failing(chat_request(one_of_each, "m", stream=True))
        took_s = asyncio.get_running_loop().time() - started

    assert "first_byte" == error.metadata["timer"]
    assert took_s < 0.9


@pytest.mark.parametrize(
    ("one_of_each", "path"),
    [("openai", "v1/chat/completions"), ("anthropic", "v1/messages")],
)
async def test_native_streams_are_waited_for_likewise(
    one_of_each: str, path: str, providers: ProviderHarness
) -> None:
    """On native paths, too, what opens a stream is no content."""
    body = {"model": "m", "messages": [], "stream": True}
    error = await providers.failing(
        native_request(
            one_of_each, path, body=body, steer="stall=0", timeouts=timeouts_message(first_byte=0.2)
        )
    )

    assert (Reason.UPSTREAM_TIMEOUT, "first_byte") == (error.reason, error.metadata["timer"])


async def test_a_native_stream_without_content_is_cut(providers: ProviderHarness) -> None:
    """What ends before its first content can be tried again, and is no answer."""
    body = {"model": "m", "messages": [], "stream": True}
    error = await providers.failing(native_request("openai", "v1/chat/completions", body=body, steer="end=0"))

    assert Reason.UPSTREAM_CUT is error.reason


async def test_time_outs_of_the_request(one_of_each: str, providers: ProviderHarness) -> None:
    """Time-outs in the request win over the service's own."""
    error = await providers.failing(
        chat_request(one_of_each, "m+silent", timeouts=timeouts_message(first_byte=0.2))
    )

    assert Reason.UPSTREAM_TIMEOUT is error.reason


async def test_cancelled_before_an_answer(
    one_of_each: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A caller that goes away before there is an answer closes the provider's connection too."""
    task = asyncio.create_task(providers.invoke(chat_request(one_of_each, "m+silent")))
    await upstream.wait_for_requests(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(0.2):
        await upstream.journal[0].closed.wait()
    assert 1 == providers.registry.get_sample_value(
        "headrace_provider_attempts_total", {"provider": one_of_each, "outcome": "cancelled"}
    )


async def test_connection_reset(one_of_each: str, providers: ProviderHarness) -> None:
    """A connection that is closed before an answer is UPSTREAM_UNREACHABLE."""
    error = await providers.failing(chat_request(one_of_each, "m+reset"))

    assert Reason.UPSTREAM_UNREACHABLE is error.reason
    assert one_of_each == error.metadata["provider"]


async def test_nobody_listens(one_of_each: str) -> None:
    """An address on which nobody listens is UPSTREAM_UNREACHABLE."""
    async with FakeUpstream() as gone:
        url = gone.url
    async with provider_harness(url) as providers:
        error = await providers.failing(chat_request(one_of_each, "m"))

    assert Reason.UPSTREAM_UNREACHABLE is error.reason


async def test_connect_time_out(one_of_each: str, upstream: FakeUpstream) -> None:
    """Waiting for a connection has a time-out of its own, the wait for the pool included."""
    timeouts = Timeouts(connect_s=0.2, first_byte_s=5.0, idle_s=5.0, total_s=5.0)
    async with provider_harness(upstream.url, timeouts=timeouts, pool_size=1) as providers:
        busy = asyncio.create_task(providers.invoke(chat_request(one_of_each, "m+silent")))
        await upstream.wait_for_requests(1)
        error = await providers.failing(chat_request(one_of_each, "m"))
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)

    assert (Reason.UPSTREAM_TIMEOUT, "connect") == (error.reason, error.metadata["timer"])


async def test_plain_answer_cut(slug: str, providers: ProviderHarness) -> None:
    """A plain answer that stops half-way is no answer."""
    error = await providers.failing(chat_request(slug, "m+cut"))

    assert Reason.UPSTREAM_CUT is error.reason


async def test_plain_answer_malformed(slug: str, providers: ProviderHarness) -> None:
    """A plain answer that is not JSON is UPSTREAM_MALFORMED and not passed on."""
    error = await providers.failing(chat_request(slug, "m+malformed"))

    assert Reason.UPSTREAM_MALFORMED is error.reason
    assert slug == error.metadata["provider"]


@pytest.mark.parametrize("steer", ["big=200000", "big=20000000+gzip"])
async def test_too_long_answer(one_of_each: str, steer: str, upstream: FakeUpstream) -> None:
    """An answer that is longer than allowed is refused, also when it is so only decompressed."""
    async with provider_harness(upstream.url, max_answer_bytes=100_000) as providers:
        error = await providers.failing(chat_request(one_of_each, f"m+{steer}"))

    assert Reason.UPSTREAM_MALFORMED is error.reason


async def test_redirect_of_a_chat_call(
    one_of_each: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A redirect in answer to a chat call is not the provider's protocol."""
    upstream.defaults["redirect"] = "http://127.0.0.1:1/elsewhere"

    error = await providers.failing(chat_request(one_of_each, "m"))

    assert Reason.UPSTREAM_MALFORMED is error.reason


async def test_timeout_before_the_call(upstream: FakeUpstream) -> None:
    """The time to the first byte covers what is fetched before the provider is called."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(silent, "127.0.0.1", 0) as server,
        provider_harness(upstream.url, fetching=True, allowed_networks=("127.0.0.0/8",)) as providers,
    ):
        image = {"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png"}
        content = [{"type": "image_url", "image_url": image}]
        error = await providers.failing(
            chat_request(
                "aws-bedrock",
                "m",
                body={"messages": [{"role": "user", "content": content}]},
                timeouts=timeouts_message(first_byte=0.2),
            )
        )

    assert (Reason.UPSTREAM_TIMEOUT, "first_byte") == (error.reason, error.metadata["timer"])
    assert [] == upstream.journal
