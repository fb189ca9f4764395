"""Failures of the local engine in OpenAI's words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.local.failures import from_gateway, from_llama

TOO_LONG = "context_length_exceeded"


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "too long", "type": "exceed_context_size_error"}, (400, TOO_LONG)),
        (500, {"message": "1 is too large to process", "type": "server_error"}, (400, TOO_LONG)),
        (400, {"code": 400, "message": "bad", "type": "invalid_request_error"}, (400, None)),
        (501, {"code": 501, "message": "no", "type": "not_supported_error"}, (501, None)),
    ],
)  # fmt: skip
def test_llama_errors_are_translated(
    status: int, error: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    """A context that is too small is the request's fault, by OpenAI's code; numbers are no codes."""
    got, body = from_llama(status, orjson.dumps({"error": error}))
    document = orjson.loads(body)["error"]

    assert expected == (got, document["code"])
    assert error["message"] == document["message"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":"x"}'])
def test_unreadable_llama_error_is_still_an_error(body: bytes) -> None:
    """An error answer that cannot be read keeps its status and gets a body of the right shape."""
    status, document = from_llama(500, body)

    assert status == 500
    assert orjson.loads(document)["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.NOT_FOUND, (404, "model_not_found")),
        (Reason.INVALID_REQUEST, (400, None)),
        (Reason.OVERLOADED, (503, "overloaded")),
        (Reason.SERVICE_UNAVAILABLE, (503, "service_unavailable")),
    ],
)
def test_own_errors_have_status_and_code(reason: Reason, expected: tuple[int, str | None]) -> None:
    """Each of our own reasons has its status and code."""
    status, body = from_gateway(GatewayError(reason, "Why."))

    assert expected == (status, orjson.loads(body)["error"]["code"])
