"""
OpenAI's further endpoints (images, speech, transcription, moderation, ranking) to a provider that has them
too: the model changes, the usage is read, and answers are handed on as they come.
"""

from __future__ import annotations

from typing import Any, Final

from services.providers.dialects.answer import Answer, load_object, text
from services.providers.dialects.multipart_edit import is_form, put_field
from services.providers.dialects.neutral.event_reader import JsonEventReader
from services.providers.dialects.neutral.events import Ended, Event, UsageReport
from services.providers.dialects.openai_chat.same import in_band_failure, merged_usage, put_model

__all__ = ["EndpointReader", "prepare_request", "read_answer"]

# An image is one event, in base64.
_LONGEST_EVENT: Final = 64 << 20
# Begin the types of events, where an event of the family ends the answer.
_FAMILIES: Final = ("speech.audio.", "transcript.text.", "image_generation.", "image_edit.")
_LAST: Final = ("done", "completed")


def prepare_request(body: bytes, content_type: str, model: str) -> bytes:
    """
    Put the provider's model into a client's body, a JSON object or a form.

    Raises:
        GatewayError: INVALID_REQUEST; it is neither.
    """
    if is_form(content_type):
        return put_field(body, content_type, "model", model)
    return put_model(body, model)


def read_answer(body: bytes) -> Answer:
    """
    Meter a whole answer. The body is handed on as it is.

    Raises:
        GatewayError: UPSTREAM_MALFORMED when it is not a JSON object.
    """
    document = load_object(body)
    return Answer(
        body=body,
        usage=merged_usage(document.get("usage")),
        served_model=text(document.get("model")),
        failure=in_band_failure(document, body, started=False),
    )


class EndpointReader(JsonEventReader):
    """
    Reads the events of one answer for what it used and whether it is whole; see `StreamReader`.

    Args:
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(self, max_event_bytes: int = _LONGEST_EVENT) -> None:
        super().__init__(max_event_bytes)
        self._started = False
        self._known = False
        self._last = False

    @property
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""
        # Of a stream whose events nobody here knows, nothing can be said against its end.
        return self._last if self._known else self._started

    def _done(self, out: list[Event]) -> None:
        out.append(Ended())
        self._over = True

    def _read(self, name: str, document: dict[str, Any], out: list[Event]) -> None:
        if name == "error" and "error" not in document:
            document = {"error": document}
        failure = in_band_failure(document, b"", started=self._started)
        if failure is not None:
            self._break(out, failure.failure_class, failure.message, failure.status)
            return
        self._started = True
        kind = text(document.get("type")) or name
        self._known = self._known or kind.startswith(_FAMILIES)
        self._last = kind.rpartition(".")[2] in _LAST
        usage = merged_usage(document.get("usage"))
        if usage is not None:
            out.append(UsageReport(usage))
