"""Native answers of Bedrock: the bytes stay, and what they used is known."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.providers.adapters.aws_eventstream import AwsFrames
from services.providers.dialects.converse.native_meter import NativeMeter, read_native_answer
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.usage import UsageCounts
from tests.fakes import eventstream as aws

METRICS = {
    "inputTokenCount": 7,
    "outputTokenCount": 5,
    "invocationLatency": 40,
    "firstByteLatency": 11,
    "cacheReadInputTokenCount": 100,
    "cacheWriteInputTokenCount": 20,
}
CLAUDE = b"".join(
    [
        aws.chunk(
            {
                "type": "message_start",
                "message": {
                    "model": "claude-x",
                    "usage": {"input_tokens": 7, "cache_read_input_tokens": 100},
                },
            }
        ),
        aws.chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
        aws.chunk(
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}
        ),
        aws.chunk({"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS}),
    ]
)
TITAN = aws.chunk({"outputText": "Hi"}) + aws.chunk(
    {"outputText": "!", "completionReason": "FINISH", "amazon-bedrock-invocationMetrics": METRICS}
)


def run(data: bytes, size: int = 10**6) -> NativeMeter:
    meter = NativeMeter(AwsFrames(10**6), request_bytes=40)
    out = b"".join(meter.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert out + meter.finish() == data
    return meter


@pytest.mark.parametrize("size", [1, 10, 10**6])
@pytest.mark.parametrize(
    ("data", "usage", "finish", "model"),
    [
        (aws.said(["Hel", "lo"]), UsageCounts(input_tokens=11, output_tokens=3), "stop", ""),
        (
            CLAUDE,
            UsageCounts(input_tokens=107, output_tokens=5, cache_read_tokens=100),
            "tool_calls",
            "claude-x",
        ),
        (
            TITAN,
            UsageCounts(input_tokens=127, output_tokens=5, cache_read_tokens=100, cache_write_tokens=20),
            "",
            "",
        ),
    ],
)
def test_streams_are_metered(data: bytes, usage: UsageCounts, finish: str, model: str, size: int) -> None:
    """Usage of ConverseStream and of InvokeModel's streams is read, whatever the split; no byte changes."""
    meter = run(data, size)

    assert (meter.usage, meter.finish_reason, meter.served_model, meter.failure) == (
        usage,
        finish,
        model,
        None,
    )


@pytest.mark.parametrize(
    ("data", "failure_class", "told"),
    [
        (b"", FailureClass.CUT, False),
        (aws.message_start() + aws.content_delta(0, text="a"), FailureClass.CUT, False),
        (CLAUDE[:-20], FailureClass.CUT, False),
        (aws.message_start() + b"\0" * 20, FailureClass.MALFORMED, False),
        (aws.message_start() + aws.exception("throttlingException", "m"), FailureClass.RATE_LIMIT, True),
        (aws.message_start() + aws.message_stop("malformed_tool_use"), FailureClass.SERVER, True),
    ],
)
def test_streams_that_fail(data: bytes, failure_class: FailureClass, told: bool) -> None:  # noqa: FBT001
    """A stream that is cut, damaged or ends in an exception is a failure; its bytes go on all the same."""
    failure = run(data).failure

    assert failure is not None
    assert (failure.failure_class, failure.reported, failure.started) == (failure_class, told, bool(data))


def test_a_cut_stream_is_estimated() -> None:
    """What a stream used that broke off is estimated from what came."""
    meter = NativeMeter(AwsFrames(10**6), request_bytes=40)
    meter.feed(aws.message_start() + aws.content_delta(0, text="a") + aws.content_delta(0, text="b"))
    meter.fail(FailureClass.TIMEOUT, "slow")

    assert meter.usage == UsageCounts(input_tokens=10, output_tokens=2, estimated=True)


def test_a_failure_after_the_end_is_none() -> None:
    """A connection that breaks after the last event changes nothing."""
    meter = NativeMeter(AwsFrames(10**6))
    meter.feed(aws.said(["a"]))
    meter.fail(FailureClass.CUT, "cut")

    assert (meter.failure, meter.feed(b"more")) == (None, b"")


@pytest.mark.parametrize(
    ("document", "headers", "usage", "finish"),
    [
        (
            {"usage": {"inputTokens": 4, "outputTokens": 2}, "stopReason": "max_tokens"},
            {},
            UsageCounts(input_tokens=4, output_tokens=2),
            "length",
        ),
        (
            {"usage": {"input_tokens": 4, "output_tokens": 2}, "stop_reason": "refusal"},
            {},
            UsageCounts(input_tokens=4, output_tokens=2),
            "content_filter",
        ),
        (
            {"generation": "x"},
            {"x-amzn-bedrock-input-token-count": "4", "x-amzn-bedrock-output-token-count": "2"},
            UsageCounts(input_tokens=4, output_tokens=2),
            "",
        ),
        ({"embedding": [1]}, {"x-amzn-bedrock-input-token-count": "4"}, UsageCounts(input_tokens=4), ""),
        ({"embedding": [1]}, {"x-amzn-bedrock-input-token-count": "-4"}, None, ""),
        ([1], {}, None, ""),
    ],
)
def test_whole_answers_are_metered(
    document: Any, headers: dict[str, str], usage: UsageCounts | None, finish: str
) -> None:
    """Whole answers are read by their body, else by Bedrock's headers, and never changed."""
    body = orjson.dumps(document)
    read = read_native_answer(body, headers)

    assert (read.body, read.usage, read.finish_reason) == (body, usage, finish)
