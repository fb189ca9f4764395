from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.adapters.translated import translate
from services.providers.call import Call, ClientDialect
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.failures import FailureClass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.call import ErrorAnswer

CALL = Call(
    model="claude-sonnet-4-5",
    dialect=ClientDialect.OPENAI_CHAT,
    body=b'{"messages":[{"role":"user","content":"Hi"}]}',
    stream=False,
    headers=(),
)


def told(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> ErrorAnswer:
    """Read an error of the provider's as a client of OpenAI's chat is told of it."""
    return translate(CALL, anthropic_target(), max_event_bytes=1000).reading.error(
        status, body, headers or {}
    )


def error(kind: str, message: str = "m") -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


def test_error_body() -> None:
    """Case 57: an error keeps its status, its words and its time to wait, in the client's shape."""
    found = told(429, error("rate_limit_error", "Slow down"), {"retry-after": "7"})

    expected = {
        "message": "Slow down",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert {"error": expected} == orjson.loads(found.body)
    assert (429, FailureClass.RATE_LIMIT, "Slow down", 7.0) == (
        found.status,
        found.failure_class,
        found.message,
        found.retry_after_s,
    )


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", FailureClass.INVALID_REQUEST),
        (401, "authentication_error", FailureClass.AUTHENTICATION),
        (403, "permission_error", FailureClass.AUTHENTICATION),
        (404, "not_found_error", FailureClass.NOT_FOUND),
        (413, "request_too_large", FailureClass.INVALID_REQUEST),
        (429, "rate_limit_error", FailureClass.RATE_LIMIT),
        (500, "api_error", FailureClass.SERVER),
        (529, "overloaded_error", FailureClass.SERVER),
    ],
)
def test_error_types(status: int, kind: str, expected: FailureClass) -> None:
    """Case 57: the type follows the status, with the provider's own word for it or without any."""
    for body in (error(kind), b"{}"):
        found = told(status, body)

        assert (status, expected) == (found.status, found.failure_class)
        assert kind == orjson.loads(found.body)["error"]["type"]


def test_context_length_has_openais_code() -> None:
    """Cases 57 and 150: an overlong prompt carries the code that OpenAI's clients look for."""
    found = told(400, error("invalid_request_error", "prompt is too long: 2 > 1"))

    assert "context_length_exceeded" == orjson.loads(found.body)["error"]["code"]


def test_body_that_is_not_json() -> None:
    """Case 56: an HTML page becomes a well-formed error with the original status, and is not quoted."""
    found = told(502, b"<html><body>Bad gateway</body></html>")

    written = orjson.loads(found.body)["error"]
    assert (502, "api_error") == (found.status, written["type"])
    assert "502" in written["message"]
    assert "<html>" not in written["message"]


@given(status=st.integers(100, 599), body=st.binary(max_size=60))
def test_no_body_is_too_strange(status: int, body: bytes) -> None:
    """Case 56: any bytes whatever give a readable error."""
    found = told(status, body)

    assert isinstance(orjson.loads(found.body)["error"]["message"], str)
    assert found.message
