"""
OpenAI chat completions to a provider that speaks the same: the request, and the whole answer.

The body goes out byte for byte as the client sent it, but for the model and the request for usage that
metering needs. Streams are in `openai_chat_stream`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from kit.errors import GatewayError, Reason
from kit.json_edit import insert_member, member_span, remove_member, replace_member
from services.providers.dialects.answer import Answer, load_object, text
from services.providers.dialects.failures import CLASS_STATUSES, classify_error, message_of, unwrap
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import UsageCounts, read_openai_usage


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class PreparedRequest:
    """
    A request ready to be sent.

    Attributes:
        body: What to send.
        injected_usage: The request for usage was added, so the chunk that answers it is not the client's.
        choices: How many answers were asked for.
    """

    body: bytes
    injected_usage: bool
    choices: int


def load_request(body: bytes) -> dict[str, Any]:
    """
    Parse a request body that must be a JSON object.

    Raises:
        GatewayError: With INVALID_REQUEST when it is not.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        message = f"The request body is not valid JSON: {error.msg}."
        raise GatewayError(Reason.INVALID_REQUEST, message, param="body") from None
    if not isinstance(document, dict):
        raise GatewayError(Reason.INVALID_REQUEST, "The request body is not a JSON object.", param="body")
    return document


def with_model(body: bytes, document: dict[str, Any], model: str) -> bytes:
    """Put another model into a request body, every other byte as it was."""
    if document.get("model") == model:
        return body
    return replace_member(body, document, "model", json_text(model))


def put_model(body: bytes, model: str) -> bytes:
    """
    Put the provider's model into a client's body, in any dialect that names it in `model`.

    Raises:
        GatewayError: With INVALID_REQUEST when the body is not a JSON object.
    """
    return with_model(body, load_request(body), model)


def json_text(value: str) -> bytes:
    """Write a string as JSON; half a surrogate pair, which UTF-8 cannot hold, is refused."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise GatewayError(
            Reason.INVALID_REQUEST, "The model's name is not valid text.", param="model"
        ) from None


def prepare_request(body: bytes, model: str, *, stream: bool, meter_usage: bool = True) -> PreparedRequest:
    """
    Make the provider's request from the client's.

    Args:
        body: The client's body.
        model: Model in the provider's naming.
        stream: The client asked for a stream.
        meter_usage: Ask for usage in the stream when the client did not. Off for hosts that refuse the
            option, and give usage without it: there the client's own wish for it is taken out.

    Raises:
        GatewayError: With INVALID_REQUEST when the body is not a JSON object.
    """
    document = load_request(body)
    choices = document.get("n")
    body = with_model(body, document, model)
    injected = False
    if stream and meter_usage:
        body, injected = _ask_for_usage(body, document)
    elif not meter_usage:
        body = _ask_for_nothing(body, document)
    return PreparedRequest(
        body=body,
        injected_usage=injected,
        choices=choices if isinstance(choices, int) and choices > 1 else 1,
    )


def _ask_for_usage(body: bytes, document: dict[str, Any]) -> tuple[bytes, bool]:
    options = document.get("stream_options")
    if options is None:
        return replace_member(body, document, "stream_options", b'{"include_usage":true}'), True
    # Options of the wrong type are the client's error to be told of by the provider.
    if not isinstance(options, dict) or options.get("include_usage") is True:
        return body, False
    start, end = member_span(body, "stream_options")
    nested = body[start:end]
    if "include_usage" in options:
        nested = replace_member(nested, options, "include_usage", b"true")
    else:
        nested = insert_member(nested, options, "include_usage", b"true")
    return b"".join((body[:start], nested, body[end:])), True


def _ask_for_nothing(body: bytes, document: dict[str, Any]) -> bytes:
    """Leave the option out. Clients set it whenever they stream, whoever it is that they ask."""
    options = document.get("stream_options")
    if not isinstance(options, dict) or "include_usage" not in options:
        return body
    if len(options) == 1:
        return remove_member(body, "stream_options")
    start, end = member_span(body, "stream_options")
    return b"".join((body[:start], remove_member(body[start:end], "include_usage"), body[end:]))


def read_answer(body: bytes) -> Answer:
    """
    Meter a whole answer. The body is handed on as it is.

    Raises:
        GatewayError: With UPSTREAM_MALFORMED when it is not a JSON object.
    """
    document = load_object(body)
    failure = in_band_failure(document, body, started=False)
    usage = document.get("usage")
    return Answer(
        body=body,
        usage=read_openai_usage(usage) if isinstance(usage, dict) else None,
        finish_reason=_first_finish_reason(document.get("choices")),
        served_model=text(document.get("model")),
        failure=failure,
    )


def _first_finish_reason(choices: Any) -> str:
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return text(choices[0].get("finish_reason"))
    return ""


def in_band_failure(document: dict[str, Any], body: bytes, *, started: bool) -> StreamFailure | None:
    """Find the error that an answer with a success status holds instead of content."""
    if not document.get("error") and document.get("object") != "error":
        return None
    error = unwrap(document) or {"message": ""}
    stated = error.get("code")
    status = stated if isinstance(stated, int) and 400 <= stated <= 599 else 0
    failure_class = classify_error(status, error)
    return StreamFailure(
        failure_class=failure_class,
        message=message_of(error, status or CLASS_STATUSES[failure_class]),
        reported=True,
        started=started,
        status=status or CLASS_STATUSES[failure_class],
        body=body,
    )


def merged_usage(usage: Any) -> UsageCounts | None:
    """Read a usage object when it is one."""
    return read_openai_usage(usage) if isinstance(usage, dict) else None
