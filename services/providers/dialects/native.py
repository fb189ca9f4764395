"""Meters for a provider's own API, chosen by path; what has no meter is relayed unwatched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kit.errors import GatewayError
from services.providers.dialects import openai_embeddings
from services.providers.dialects.answer import Answer, garbled
from services.providers.dialects.anthropic import same as anthropic_messages
from services.providers.dialects.anthropic.same import MessagesStream
from services.providers.dialects.gemini import same as gemini
from services.providers.dialects.gemini.same import GeminiStream
from services.providers.dialects.openai_chat import same as openai_chat
from services.providers.dialects.openai_chat.same_stream import OpenAIStream
from services.providers.dialects.openai_responses import same as openai_responses
from services.providers.dialects.openai_responses.same import ResponsesStream
from services.providers.dialects.stream import AnswerStream, StreamFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.usage import UsageCounts

Api = Literal["openai", "anthropic", "gemini"]


class OpaqueStream:
    """Hands any bytes on, unwatched: for answers whose format nobody here knows."""

    def __init__(self) -> None:
        self._failure: StreamFailure | None = None
        self._started = False
        self._done = False

    usage: UsageCounts | None = None
    content_events: int | None = None
    finish_reason: str = ""
    served_model: str = ""

    @property
    def failure(self) -> StreamFailure | None:
        """Why the answer is not whole."""
        return self._failure

    @property
    def began(self) -> bool:
        """True: what is handed on as it is, is handed on at once."""
        return True

    @property
    def done(self) -> bool:
        """True when the answer is whole, or has failed."""
        return self._done

    def feed(self, data: bytes) -> bytes:
        """Return the bytes as they are."""
        self._started = self._started or bool(data)
        return data

    def finish(self) -> bytes:
        """Take the end of the bytes as the end of the answer."""
        self._done = True
        return b""

    def fail(self, failure_class: FailureClass, message: str) -> bytes:
        """Note that the bytes broke off."""
        if not self._done:
            self._failure = StreamFailure(
                failure_class=failure_class, message=message, reported=False, started=self._started
            )
        self._done = True
        return b""


def native_stream(api: Api, path: str, *, request_bytes: int = 0) -> AnswerStream:
    """
    Make the meter for an event stream that answers a native call.

    Args:
        api: Whose API it is.
        path: Path of the call, such as `v1/messages`, `chat/completions` or `models/m:generateContent`.
        request_bytes: Length of the request body.
    """
    endpoint = _endpoint(api, path)
    if endpoint == "chat":
        return OpenAIStream(request_bytes=request_bytes, verbatim=True)
    if endpoint == "responses":
        return ResponsesStream(request_bytes=request_bytes, verbatim=True)
    if endpoint == "messages":
        return MessagesStream(request_bytes=request_bytes, verbatim=True)
    if endpoint == "gemini":
        return GeminiStream(request_bytes=request_bytes, verbatim=True)
    return OpaqueStream()


def native_dialect(api: Api, path: str) -> str:
    """Return the name of the dialect that a native path speaks; empty when it is none that is known here."""
    known = {
        "chat": "OPENAI_CHAT",
        "responses": "OPENAI_RESPONSES",
        "messages": "ANTHROPIC_MESSAGES",
        "gemini": "GEMINI",
    }
    return known.get(_endpoint(api, path), "")


def read_native_answer(api: Api, path: str, body: bytes) -> Answer:
    """
    Meter a whole native answer where its format is known. Never raises, never changes the body.

    One that is no JSON of that format has a failure.
    """
    reader = _READERS.get(_endpoint(api, path))
    try:
        return reader(body) if reader is not None else Answer(body=body)
    except GatewayError as error:
        return garbled(body, error.message)


_READERS: dict[str, Callable[[bytes], Answer]] = {
    "chat": openai_chat.read_answer,
    "responses": openai_responses.read_answer,
    "embeddings": openai_embeddings.read_answer,
    "messages": anthropic_messages.read_answer,
    "gemini": gemini.read_answer,
    "gemini-other": gemini.read_answer,
}
# Gemini's calls stand after the model's name; those of them that are no chat have no stream.
_GEMINI_METHODS = {
    "generateContent": "gemini",
    "streamGenerateContent": "gemini",
    "countTokens": "gemini-other",
    "embedContent": "gemini-other",
    "batchEmbedContents": "gemini-other",
}


def _endpoint(api: Api, path: str) -> str:
    path = path.partition("?")[0].strip("/").removeprefix("v1/")
    if api == "anthropic":
        return "messages" if path == "messages" else ""
    if api == "gemini":
        return _GEMINI_METHODS.get(path.rpartition(":")[2], "")
    known = {"chat/completions": "chat", "responses": "responses", "embeddings": "embeddings"}
    return known.get(path, "")
