"""
The messages of the WebSocket API: what a client sends is read here, and what it gets is written.

Source: the public product's page of its WebSocket API. The error message is ours, since that page has none.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import orjson

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.edge.wire import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.edge.pipeline.exchange import HeaderList

__all__ = ["created", "done", "error_of", "event", "is_text", "metadata", "piece", "read", "refused"]

Metadata = dict[str, Any]

_CREATE: Final = "universal.create"
_LONGEST_EVENT_ID: Final = 128
# Headers that become members of `metadata`; all others are for HTTP.
_OURS: Final = ("cf-aig-", "x-ratelimit-")
_TEXT: Final = ("text/", "application/x-ndjson", "application/jsonl", "application/xml")


def read(data: bytes) -> tuple[str, Any]:
    """
    Read a client's message.

    Returns:
        The id that answers are to have, empty for none, and the step or steps that it asks for.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise GatewayError(Reason.INVALID_REQUEST, f"The message is not valid JSON: {error}.") from None
    if not isinstance(message, dict) or message.get("type") != _CREATE:
        raise GatewayError(
            Reason.INVALID_REQUEST, f"The message must be an object of type {_CREATE!r}.", param="type"
        )
    request = message.get("request")
    return _event_id(request), request


def _event_id(request: Any) -> str:
    """Give the id in a step, or in the first of several that has one."""
    for step in request if isinstance(request, list) else [request]:
        found = step.get("eventId") if isinstance(step, dict) else None
        if found is None:
            continue
        if not isinstance(found, str) or len(found) > _LONGEST_EVENT_ID:
            raise GatewayError(
                Reason.INVALID_REQUEST,
                f"request.eventId: must be text of at most {_LONGEST_EVENT_ID} characters.",
                param="request.eventId",
            )
        return found
    return ""


def metadata(headers: HeaderList, *, status: int, event_id: str) -> Metadata:
    """Give what an answer's headers say, in the words of messages: `cf-aig-log-id` is `logId`."""
    told: Metadata = {}
    for name, value in headers:
        lower = name.lower()
        if lower == "content-type":
            told["contentType"] = value
        elif lower.startswith(_OURS):
            told[_camel(lower.removeprefix("cf-aig-").removeprefix("x-"))] = value
    if event_id:
        told["eventId"] = event_id
    told["status"] = status
    return told


def created(told: Metadata, body: bytes | None = None) -> bytes:
    """Write the message that begins an answer; without a body, it comes in further messages."""
    if body is None:
        return _write({"type": "universal.created", "metadata": told})
    response, encoding = _response(body, told.get("contentType", ""))
    return _write({"type": "universal.created", "metadata": {**told, **encoding}, "response": response})


def event(event_id: str, name: str, data: bytes) -> bytes:
    """Write one event of a stream; data that is not JSON is told as text."""
    response = orjson.Fragment(data) if _is_json(data) else data.decode("utf-8", "replace")
    told = {"eventId": event_id, "event": name} if name else {"eventId": event_id}
    return _write({"type": "universal.stream", "metadata": told, "response": response})


def piece(event_id: str, data: str | bytes) -> bytes:
    """Write a piece of a stream that is not one of events: text, or bytes in base64."""
    if isinstance(data, str):
        told, response = {"eventId": event_id}, data
    else:
        told, response = {"eventId": event_id, "encoding": "base64"}, base64.b64encode(data).decode()
    return _write({"type": "universal.stream", "metadata": told, "response": response})


def done(told: Metadata) -> bytes:
    """Write the message that ends a stream."""
    return _write({"type": "universal.done", "metadata": told})


def refused(error: GatewayError, told: Mapping[str, Any], body: bytes | None = None) -> bytes:
    """
    Write the message that tells an error, and ends its request.

    Args:
        error: What happened.
        told: What is known of the answer.
        body: The provider's own answer, where that is the error.
    """
    status = told["status"] if body is not None else None
    envelope = errors.body(error, http_pb2.DIALECT_NATIVE, status=status)
    found = {**told, "status": status or errors.HTTP[error.reason].status}
    message: dict[str, Any] = {"type": "universal.error", "metadata": found}
    if error.retry_after_s is not None:
        found["retryAfter"] = max(1, round(error.retry_after_s))
    if "param" in error.metadata:
        found["param"] = error.metadata["param"]
    message["error"] = orjson.Fragment(envelope)
    if body is not None:
        message["response"], encoding = _response(body, told.get("contentType", ""))
        found |= encoding
    return _write(message)


def error_of(status: int) -> GatewayError:
    """Give the error that stands for a provider's own answer with this status."""
    return GatewayError(Reason.UPSTREAM_ERROR, f"The provider answered with the status {status}.")


def is_text(content_type: str) -> bool:
    """Say whether bytes of this type are sent as text rather than in base64."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith(_TEXT) or _is_of_json(content_type)


def _response(body: bytes, content_type: str) -> tuple[Any, Metadata]:
    """Give a whole body as JSON where it is, else as text, else in base64; and what says the last."""
    if _is_of_json(content_type) and _is_json(body):
        # As it came: numbers of any length survive.
        return orjson.Fragment(body), {}
    if is_text(content_type):
        try:
            return body.decode(), {}
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), {"encoding": "base64"}


def _is_of_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def _camel(name: str) -> str:
    first, *others = name.split("-")
    return first + "".join(word.capitalize() for word in others)


def _write(message: Mapping[str, Any]) -> bytes:
    return orjson.dumps(message)
