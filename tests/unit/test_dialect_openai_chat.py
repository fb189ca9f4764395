# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects import openai_embeddings
from services.providers.dialects.anthropic import same as anthropic_messages
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.openai_chat import same as openai_chat
from services.providers.dialects.openai_responses import same as openai_responses
from services.providers.dialects.usage import UsageCounts

ODD = b'{ "messages" : [{"role":"user","content":"\\u00e9\xc3\xa9"}],\n\t"model" : "openai\\/gpt" , "temperature":1.0e0, "x":{"model":1} }'


def test_only_the_model_changes() -> None:
    """Case 139: whitespace, order, escapes, number formats and unknown members go out as they came."""
    prepared = openai_chat.prepare_request(ODD, "gpt-5.4", stream=False)

    assert ODD.replace(b'"openai\\/gpt"', b'"gpt-5.4"') == prepared.body
    assert not prepared.injected_usage


def test_same_model_is_the_same_object() -> None:
    """A body that needs no change is not copied."""
    body = b'{"model":"gpt-5.4","messages":[]}'

    assert body is openai_chat.prepare_request(body, "gpt-5.4", stream=False).body


@pytest.mark.parametrize(
    ("options", "expected", "injected"),
    [
        (b"", b',"stream_options":{"include_usage":true}', True),
        (b',"stream_options":null', b',"stream_options":{"include_usage":true}', True),
        (b',"stream_options":{}', b',"stream_options":{"include_usage":true}', True),
        (
            b',"stream_options":{ "include_obfuscation": false }',
            b',"stream_options":{ "include_obfuscation": false ,"include_usage":true}',
            True,
        ),
        (b',"stream_options":{"include_usage": false}', b',"stream_options":{"include_usage": true}', True),
        (b',"stream_options":{"include_usage": true}', b',"stream_options":{"include_usage": true}', False),
        (b',"stream_options":7', b',"stream_options":7', False),
    ],
)
def test_usage_is_asked_for_once(options: bytes, expected: bytes, injected: bool) -> None:  # noqa: FBT001
    """Case 148: a stream is asked for usage, and it is known whether the client had asked."""
    body = b'{"model":"m","stream":true%s}'

    prepared = openai_chat.prepare_request(body % options, "m", stream=True)

    assert (body % expected, injected) == (prepared.body, prepared.injected_usage)


def test_hosts_without_stream_options() -> None:
    """A host that refuses the option is not sent it."""
    body = b'{"model":"m","stream":true}'

    assert body == openai_chat.prepare_request(body, "m", stream=True, meter_usage=False).body


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b',"stream_options":{"include_usage":true}', b""),
        (b',"stream_options":{"include_usage":false, "x":1}', b',"stream_options":{"x":1}'),
        (b',"stream_options":{"x":1}', b',"stream_options":{"x":1}'),
        (b',"stream_options":null', b',"stream_options":null'),
    ],
)
def test_a_host_is_not_sent_what_it_refuses(options: bytes, expected: bytes) -> None:
    """Where usage comes unasked and asking is an error, the wish of clients that always ask is left out."""
    body = b'{"model":"m","stream":true%s}'

    prepared = openai_chat.prepare_request(body % options, "m", stream=True, meter_usage=False)

    assert (body % expected, False) == (prepared.body, prepared.injected_usage)


@pytest.mark.parametrize(("n", "choices"), [(b"3", 3), (b"1", 1), (b"null", 1), (b'"x"', 1), (b"0", 1)])
def test_choices(n: bytes, choices: int) -> None:
    """The number of answers asked for is known to the stream that judges them."""
    assert choices == openai_chat.prepare_request(b'{"n":' + n + b"}", "m", stream=True).choices


@given(st.binary(max_size=30))
def test_no_body_is_too_strange(body: bytes) -> None:
    """Bytes that are no JSON object are refused as the client's error, whatever they are."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    prepare = (
        lambda: openai_chat.prepare_request(body, "m", stream=True),
        lambda: openai_chat.put_model(body, "m"),
    )
    if isinstance(parsed, dict):
        return
    for call in prepare:
        with pytest.raises(GatewayError) as caught:
            call()
        assert Reason.INVALID_REQUEST is caught.value.reason


def test_answer_is_read_and_not_touched() -> None:
    """Case 141: an answer goes on as it is, unknown fields too; usage, reason and model are read."""
    body = (
        b'{"id":"x","model":"gpt-5.4-2026","odd":1.50,"choices":[{"index":0,"message":{},"finish_reason":"length"}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
    )

    answer = openai_chat.read_answer(body)

    assert body is answer.body
    assert ("length", "gpt-5.4-2026") == (answer.finish_reason, answer.served_model)
    assert UsageCounts(input_tokens=9, output_tokens=2) == answer.usage
    assert answer.failure is None


@pytest.mark.parametrize(
    "body", [b'{"usage":null,"choices":null}', b'{"choices":[]}', b'{"choices":[null]}', b"{}"]
)
def test_answer_with_holes(body: bytes) -> None:
    """Absent or null members mean not known."""
    answer = openai_chat.read_answer(body)

    assert (None, "", "") == (answer.usage, answer.finish_reason, answer.served_model)


def test_success_that_holds_an_error() -> None:
    """Case 145: an error object with status 200 is a failure."""
    answer = openai_chat.read_answer(b'{"error":{"message":"Overloaded","code":502}}')

    assert answer.failure is not None
    assert (FailureClass.SERVER, 502, "Overloaded") == (
        answer.failure.failure_class,
        answer.failure.status,
        answer.failure.message,
    )


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"a":'])
def test_answer_that_is_not_an_object(body: bytes) -> None:
    """Case 146: an answer that is not the protocol is the provider's error."""
    for read in (
        openai_chat.read_answer,
        openai_embeddings.read_answer,
        openai_responses.read_answer,
        anthropic_messages.read_answer,
    ):
        with pytest.raises(GatewayError) as caught:
            read(body)
        assert Reason.UPSTREAM_MALFORMED is caught.value.reason


def test_embeddings() -> None:
    """Embeddings: the model is replaced, and the usage read."""
    body = openai_chat.put_model(b'{"input":"x", "model":"openai/e"}', "e")
    answer = openai_embeddings.read_answer(
        b'{"object":"list","data":[],"model":"e-3","usage":{"prompt_tokens":8,"total_tokens":8}}'
    )

    assert b'{"input":"x", "model":"e"}' == body
    assert ("e-3", UsageCounts(input_tokens=8, output_tokens=0)) == (answer.served_model, answer.usage)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"status": "completed", "output": [{"type": "message"}]}, "stop"),
        ({"status": "completed", "output": [{"type": "reasoning"}, {"type": "function_call"}]}, "tool_calls"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "in_progress"}, ""),
    ],
)
def test_responses_answer(document: dict[str, object], expected: str) -> None:
    """Responses: why one ended is told in the words of chat completions."""
    body = orjson.dumps({**document, "model": "m", "usage": {"input_tokens": 1, "output_tokens": 2}})

    answer = openai_responses.read_answer(body)

    assert (expected, UsageCounts(input_tokens=1, output_tokens=2)) == (answer.finish_reason, answer.usage)


def test_messages_answer() -> None:
    """Anthropic's own dialect: bytes go on, usage and reason are read."""
    body = b'{"type":"message","model":"claude","stop_reason":"max_tokens","usage":{"input_tokens":1,"output_tokens":2}}'

    answer = anthropic_messages.read_answer(body)

    assert body is answer.body
    assert ("length", "claude", UsageCounts(input_tokens=1, output_tokens=2)) == (
        answer.finish_reason,
        answer.served_model,
        answer.usage,
    )
