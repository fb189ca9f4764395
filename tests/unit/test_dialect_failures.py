# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.provider.v1 import provider_service_pb2
from services.providers.dialects.failures import FailureClass, classify, error_message


def anthropic(kind: str, message: str = "m") -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


def openai(message: str = "m", kind: str = "x", code: str | None = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def test_names_mirror_the_proto() -> None:
    """The classes are those of `headrace.provider.v1.FailureClass`, without prefix."""
    values = provider_service_pb2.FailureClass.keys()
    names = {name.removeprefix("FAILURE_CLASS_") for name in values} - {"UNSPECIFIED"}

    assert names == {entry.value for entry in FailureClass}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, anthropic("invalid_request_error"), "INVALID_REQUEST"),
        (401, anthropic("authentication_error"), "AUTHENTICATION"),
        (402, anthropic("billing_error"), "AUTHENTICATION"),
        (403, anthropic("permission_error"), "AUTHENTICATION"),
        (404, anthropic("not_found_error"), "NOT_FOUND"),
        (413, anthropic("request_too_large"), "INVALID_REQUEST"),
        (429, anthropic("rate_limit_error"), "RATE_LIMIT"),
        (500, anthropic("api_error"), "SERVER"),
        (529, anthropic("overloaded_error"), "SERVER"),
        (
            400,
            anthropic("invalid_request_error", "Your credit balance is too low to use the API"),
            "AUTHENTICATION",
        ),
        (400, openai(), "INVALID_REQUEST"),
        (401, openai(code="invalid_api_key"), "AUTHENTICATION"),
        (404, openai(code="model_not_found"), "NOT_FOUND"),
        (408, b"", "SERVER"),
        (409, b"", "SERVER"),
        (418, b"", "INVALID_REQUEST"),
        (429, openai(code="insufficient_quota"), "RATE_LIMIT"),
        (502, b"<html>bad gateway</html>", "SERVER"),
        (503, b"", "SERVER"),
        (400, b'[{"error":{"message":"x"}}]', "INVALID_REQUEST"),
    ],
)
def test_classes_of_errors(status: int, body: bytes, expected: str) -> None:
    """Case 57: each provider error has one class, whichever shape it comes in."""
    assert expected == classify(status, body)


@pytest.mark.parametrize(
    "body",
    [
        anthropic("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
        anthropic(
            "invalid_request_error", "input length and `max_tokens` exceed context limit: 199 + 20 > 200"
        ),
        openai("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        openai(
            "Your input exceeds the context window of this model. Please adjust your input and try again."
        ),
        openai(
            "the request exceeds the available context size. try increasing the context size", "server_error"
        ),
        openai("Please reduce the length of the messages or completion."),
        openai("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
        openai("Input is too long for requested model."),
        b'{"object":"error","message":"This model\'s maximum context length is 4096 tokens","type":"BadRequestError"}',
    ],
)
def test_context_length_in_every_wording(body: bytes) -> None:
    """Case 150: an overlong prompt is one class, in each provider's wording."""
    assert FailureClass.CONTEXT_LENGTH is classify(400, body)


@pytest.mark.parametrize(
    "body",
    [
        anthropic("invalid_request_error", "Output blocked by content filtering policy"),
        openai(
            "Your request was rejected as a result of our safety system.", code="content_policy_violation"
        ),
        openai(
            "The response was filtered due to Azure OpenAI's content management policy", code="content_filter"
        ),
        openai(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy",
            code="invalid_prompt",
        ),
        b'{"error":{"message":"m","innererror":{"code":"ResponsibleAIPolicyViolation"}}}',
    ],
)
def test_content_policy_in_every_wording(body: bytes) -> None:
    """Case 150: a refusal by content policy is one class, in each provider's wording."""
    assert FailureClass.CONTENT_POLICY is classify(400, body)


@given(status=st.integers(100, 599), body=st.binary(max_size=60))
def test_no_body_is_too_strange(status: int, body: bytes) -> None:
    """Case 56: any bytes whatever give a class and a readable message."""
    assert isinstance(classify(status, body), FailureClass)
    assert error_message(status, body)


@given(
    status=st.sampled_from([0, 400, 429, 500]),
    document=st.recursive(
        st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "innererror"]), children)
        ),
        max_leaves=8,
    ),
)
def test_no_error_document_is_too_strange(status: int, document: object) -> None:
    """An error document of any shape has a class and a message."""
    body = orjson.dumps(document, option=orjson.OPT_PASSTHROUGH_DATACLASS) if _fits(document) else b"{}"

    assert isinstance(classify(status, body), FailureClass)
    assert error_message(status, body)


def _fits(document: object) -> bool:
    try:
        orjson.dumps(document)
    except TypeError:
        return False
    return True
