"""What a whole (not streamed) answer comes to, whatever the dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.failures import CLASS_STATUSES, FailureClass
from services.providers.dialects.stream import StreamFailure

if TYPE_CHECKING:
    from services.providers.dialects.usage import UsageCounts


NOT_JSON: Final = "The provider's answer is not a JSON object."
"""What is said of an answer that cannot be read."""


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Answer:
    """
    A whole answer, read or translated.

    Attributes:
        body: The body for the client.
        usage: What it used. None: not known.
        finish_reason: Why the model stopped, in OpenAI's words. Empty: not known.
        served_model: Model that answered, as the provider names it. Empty: not known.
        failure: Set when the provider answered a success that holds an error.
        warnings: What was odd about it, for the log.
    """

    body: bytes
    usage: UsageCounts | None = None
    finish_reason: str = ""
    served_model: str = ""
    failure: StreamFailure | None = None
    warnings: tuple[str, ...] = ()


def load_object(body: bytes) -> dict[str, Any]:
    """
    Read an answer that must be a JSON object.

    Raises:
        GatewayError: With UPSTREAM_MALFORMED when it is not.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, NOT_JSON)
    return document


def garbled(body: bytes, message: str) -> Answer:
    """Make an answer of a native call whose body is not what it says it is: the client gets it as it is."""
    malformed = StreamFailure(
        failure_class=FailureClass.MALFORMED,
        message=message,
        reported=True,
        started=False,
        status=CLASS_STATUSES[FailureClass.MALFORMED],
        body=body,
    )
    return Answer(body=body, failure=malformed)


def text(value: Any) -> str:
    """Take a string as it is and anything else as empty."""
    return value if isinstance(value, str) else ""
