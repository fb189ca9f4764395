"""Whole answers and errors of Converse, as clients of OpenAI's dialect see them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.adapters.aws_eventstream import AwsFrames
from services.providers.dialects.converse.answer_reader import read_answer
from services.providers.dialects.converse.failures import read_error
from services.providers.dialects.converse.families import base_model, family_for, region_of
from services.providers.dialects.converse.side import converse_target
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.conversation import MediaPart, ReasoningPart, TextPart, ToolCallPart
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts
from tests.fakes.eventstream import said

CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
USAGE = {"inputTokens": 11, "outputTokens": 3, "totalTokens": 14}


def answer(*content: dict[str, Any], stop: Any = "end_turn", **members: Any) -> bytes:
    message = {"role": "assistant", "content": list(content)}
    return orjson.dumps(
        {
            "output": {"message": message},
            "stopReason": stop,
            "usage": USAGE,
            "metrics": {"latencyMs": 3},
            **members,
        }
    )


def translation(*, stream: bool = False, **chat: Any) -> Translation:
    request = {"model": "x", "messages": [{"role": "user", "content": "q"}], **chat}
    target = converse_target(CLAUDE, AwsFrames, answer_id=lambda: "req-1")
    return translate_request(
        CLIENT, target, orjson.dumps(request), model=CLAUDE, stream=stream, now_s=7, strict=False
    )


def test_blocks_of_every_kind_are_read() -> None:
    """Text, thoughts, calls, pictures and sources on the web each become their part."""
    site = {"title": "T", "location": {"web": {"url": "https://a", "domain": "a"}}}
    page = {"title": "T", "location": {"documentPage": {"documentIndex": 0}}}
    choice = read_answer(
        answer(
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
            {"reasoningContent": {"redactedContent": "AAAA"}},
            {"text": "Hi"},
            {"citationsContent": {"content": [{"text": "a"}, {"text": "b"}], "citations": [site, page]}},
            {"image": {"format": "webp", "source": {"bytes": "BBBB"}}},
            {"toolUse": {"toolUseId": "t", "name": "look", "input": {"a": 1}}},
            {"unheard_of": {}},
        ),
        origin="anthropic",
    ).choices[0]

    assert choice.parts == [
        ReasoningPart(text="hm", signature="s", origin="anthropic"),
        ReasoningPart(sealed="AAAA", origin="anthropic"),
        TextPart(text="Hi"),
        TextPart(
            text="ab",
            citations=[{"type": "url_citation", "url_citation": {"url": "https://a", "title": "T"}}],
        ),
        MediaPart(kind="image", media_type="image/webp", data="BBBB"),
        ToolCallPart(id="t", name="look", arguments='{"a":1}'),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        (None, "stop"),
        ("brand_new", "stop"),
        (["odd"], "stop"),
    ],
)
def test_stop_reasons(reason: Any, finish: str) -> None:
    """Case 120: each reason to stop is one of OpenAI's words; one that is not known is noted for the log."""
    read = translation().read_answer(answer({"text": "x"}, stop=reason))

    assert (read.finish_reason, orjson.loads(read.body)["choices"][0]["finish_reason"]) == (finish, finish)
    assert bool(read.warnings) == (reason in ("brand_new", ["odd"]))


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_an_answer_that_the_provider_could_not_read_is_a_failure(reason: str) -> None:
    """Case 120: what the model botched is not passed off as a normal end."""
    with pytest.raises(InBandError) as caught:
        read_answer(answer({"text": "x"}, stop=reason))

    assert caught.value.failure_class is FailureClass.SERVER


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"<html>",
        b'{"output":null}',
        b'{"output":{"message":{"content":"x"}}}',
        b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}',
    ],
)
def test_a_success_without_output_is_none(body: bytes) -> None:
    """Case 121: a success that holds no message is an error of the provider's, never an empty answer."""
    with pytest.raises(GatewayError) as caught:
        translation().read_answer(body)

    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_cached_tokens_are_input() -> None:
    """Case 123: Converse counts cached tokens beside the input; a client gets them within it."""
    cached = {**USAGE, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 20}
    details = {"cacheDetails": [{"ttl": "1h", "inputTokens": 15}, {"ttl": "5m", "inputTokens": 5}]}
    read = translation().read_answer(answer({"text": "x"}, usage={**cached, **details}))
    usage = orjson.loads(read.body)["usage"]

    assert read.usage == UsageCounts(
        input_tokens=131,
        output_tokens=3,
        cache_read_tokens=100,
        cache_write_tokens=20,
        cache_write_1h_tokens=15,
    )
    assert (usage["prompt_tokens"], usage["total_tokens"]) == (131, 134)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 100, "cache_write_tokens": 20}


def test_model_and_id_of_an_answer() -> None:
    """Case 124: the model is the one that was asked for, and the id that of AWS's header, streamed or not."""
    whole = orjson.loads(translation().read_answer(answer({"text": "x"})).body)
    stream = translation(stream=True).stream(max_event_bytes=10**6)
    first = orjson.loads(stream.feed(said(["x"])).split(b"\n\n")[0].removeprefix(b"data: "))

    assert [(whole["model"], whole["id"]), (first["model"], first["id"])] == [(CLAUDE, "req-1")] * 2


def test_a_router_tells_the_model_that_answered() -> None:
    """Where a router chose the model, its choice is what is reported as served."""
    routed = answer({"text": "x"}, trace={"promptRouter": {"invokedModelId": "arn:x"}})

    assert translation().read_answer(routed).served_model == "arn:x"


def test_names_of_tools_come_back() -> None:
    """Case 115: a call under a fitted name reaches the client under its own."""
    tools = [{"type": "function", "function": {"name": "a.b"}}]
    made = translation(tools=tools)
    sent = orjson.loads(made.written.body)["toolConfig"]["tools"][0]["toolSpec"]["name"]
    read = made.read_answer(
        answer({"toolUse": {"toolUseId": "t", "name": sent, "input": {}}}, stop="tool_use")
    )

    call = orjson.loads(read.body)["choices"][0]["message"]["tool_calls"][0]
    assert (sent != "a.b", call["function"]) == (True, {"name": "a.b", "arguments": "{}"})


ERRORS = [
    (
        429,
        "ThrottlingException",
        "Too many tokens, please wait before trying again.",
        FailureClass.RATE_LIMIT,
    ),
    (503, "ServiceUnavailableException", "Try again.", FailureClass.SERVER),
    (429, "ModelNotReadyException", "Loading.", FailureClass.RATE_LIMIT),
    (400, "ServiceQuotaExceededException", "Too much.", FailureClass.RATE_LIMIT),
    (408, "ModelTimeoutException", "Slow.", FailureClass.SERVER),
    (424, "ModelErrorException", "Broken.", FailureClass.SERVER),
    (500, "InternalServerException", "Oh.", FailureClass.SERVER),
    (403, "AccessDeniedException", "No access.", FailureClass.AUTHENTICATION),
    (403, "UnrecognizedClientException", "Bad token.", FailureClass.AUTHENTICATION),
    (403, "ExpiredTokenException", "Old token.", FailureClass.AUTHENTICATION),
    (403, "InvalidSignatureException", "Bad signature.", FailureClass.AUTHENTICATION),
    (404, "ResourceNotFoundException", "Gone.", FailureClass.NOT_FOUND),
    (400, "ValidationException", "The provided model identifier is invalid.", FailureClass.NOT_FOUND),
    (400, "ValidationException", "Input is too long for requested model.", FailureClass.CONTEXT_LENGTH),
    (400, "ValidationException", "Bad field.", FailureClass.INVALID_REQUEST),
]


@pytest.mark.parametrize(("status", "name", "message", "failure_class"), ERRORS)
def test_classes_of_errors(status: int, name: str, message: str, failure_class: FailureClass) -> None:
    """Case 129: throttling and models not ready are limits, outages the provider's, and the rest is final."""
    body = orjson.dumps({"message": message})

    assert read_error(status, body, {"x-amzn-errortype": name}) == (failure_class, message)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"message":"m"}', {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/x/"}),
        (b'{"Message":"m"}', {"x-amzn-errortype": "ThrottlingException"}),
        (b'{"__type":"com.amazon.coral.service#ThrottlingException","message":"m"}', {}),
    ],
)
def test_where_the_type_of_an_error_stands(body: bytes, headers: dict[str, str]) -> None:
    """Case 124: the type is taken from the header without what follows the colon, or from the body."""
    assert read_error(400, body, headers) == (FailureClass.RATE_LIMIT, "m")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"[1]", b"{}", b'{"message":null}', b"\xff"])
def test_errors_of_no_shape(body: bytes) -> None:
    """An error that says nothing is told by its status."""
    failure_class, message = read_error(503, body, {})

    assert (failure_class, "503" in message) == (FailureClass.SERVER, True)


@pytest.mark.parametrize(
    ("model", "base", "region"),
    [
        ("us.anthropic.claude-x", "anthropic.claude-x", ""),
        ("global.anthropic.claude-x", "anthropic.claude-x", ""),
        ("us-gov.anthropic.claude-x", "anthropic.claude-x", ""),
        ("zai.glm-4.7", "zai.glm-4.7", ""),
        ("arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-x", "amazon.nova-x", "eu-west-1"),
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-x", "amazon.nova-x", "eu-west-1"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:1:application-inference-profile/ab", "ab", "us-gov-west-1"),
    ],
)
def test_what_a_models_name_says(model: str, base: str, region: str) -> None:
    """Case 127: the profile of a part of the world, and an ARN, are taken off a model's name."""
    assert (base_model(model), region_of(model)) == (base, region)


def test_a_model_that_cannot_be_told_gets_what_the_large_families_have() -> None:
    """A profile's opaque id leaves everything open, so nothing is held back."""
    family = family_for("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc")

    assert (family.forces, family.claude, family.result_status) == ("named", False, True)


def test_free_text_comes_back_as_text() -> None:
    """A call of a tool that takes free text reaches the client as that text."""
    tools = [{"type": "custom", "custom": {"name": "sh"}}]
    call = {"toolUse": {"toolUseId": "t", "name": "sh", "input": {"input": "ls"}}}
    read = translation(tools=tools).read_answer(answer(call, stop="tool_use"))

    assert orjson.loads(read.body)["choices"][0]["message"]["tool_calls"][0]["custom"] == {
        "name": "sh",
        "input": "ls",
    }
