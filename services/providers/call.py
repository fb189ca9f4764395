"""
One attempt as the adapters see it: what is asked, and what an adapter makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from yarl import URL

    from kit.secret import Secret
    from services.providers.dialects.answer import Answer
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.stream import AnswerStream
    from services.providers.headers import HeaderList

__all__ = [
    "ARRAY_STREAM",
    "EVENT_STREAM",
    "Call",
    "ClientDialect",
    "ErrorAnswer",
    "Exchange",
    "NativeTarget",
    "Reading",
]


EVENT_STREAM: Final = "text/event-stream; charset=utf-8"
# Operation of Gemini's clients that want the events of a stream as one JSON array.
ARRAY_STREAM: Final = "streamGenerateContent:array"


class ClientDialect(StrEnum):
    """What the client speaks: `headrace.common.v1.Dialect` without its prefix."""

    OPENAI_CHAT = "OPENAI_CHAT"
    OPENAI_RESPONSES = "OPENAI_RESPONSES"
    OPENAI_EMBEDDINGS = "OPENAI_EMBEDDINGS"
    ANTHROPIC_MESSAGES = "ANTHROPIC_MESSAGES"
    GEMINI = "GEMINI"
    OPENAI_OTHER = "OPENAI_OTHER"
    NATIVE = "NATIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeTarget:
    """Method, path and query of a native call, as the client sent them."""

    method: str
    path: str
    query: str = field(repr=False)  # may hold a key


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Call:
    """
    What is asked of a provider.

    Attributes:
        model: In the provider's naming; empty on native calls.
        headers: The client's, names in lower case.
        native: Set when, and only when, `dialect` is NATIVE.
        operation: Which of the dialect's calls, where it has more than one; empty: the one it is named after.
        request_only: Only a credential in `headers` may be used.
        alias: Stored key to use when `headers` hold none; empty: `default`.
        no_operator: The operator's key may not be used, because the gateway or the request says so.
        unified: It may be, as far as the account is concerned.
        stored: The stored key that was found for the call.
        strict: A parameter that the provider cannot take is an error.
    """

    model: str
    dialect: ClientDialect
    body: bytes = field(repr=False)
    stream: bool
    headers: Sequence[tuple[str, bytes]] = field(repr=False)
    native: NativeTarget | None = None
    operation: str = ""
    request_only: bool = False
    alias: str = ""
    no_operator: bool = False
    unified: bool = True
    stored: Secret | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswer:
    """
    A provider's error, for the client.

    Attributes:
        status: For the client.
        body: In the client's dialect; empty when the provider's says nothing in it.
        message: What it says.
        retry_after_s: How long the provider asks to wait; None when it does not say.
    """

    status: int
    body: bytes
    failure_class: FailureClass
    message: str
    retry_after_s: float | None


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Reading:
    """
    How the answer to a call is read.

    Attributes:
        stream: Makes what reads a streamed answer.
        whole: Reads a whole answer.
        error: Reads an error from status, body and headers (names in lower case).
        verbatim: Bytes, status and headers are the client's as they are; reading only meters.
        any_format: A success may be in any format; one that is no JSON is handed on as it comes.
        stream_type: Content type of what a translated stream becomes.
        headers: Is told the answer's headers (names in lower case) before anything else is read, where they
            say what the body does not.
    """

    stream: Callable[[], AnswerStream]
    whole: Callable[[bytes], Answer]
    error: Callable[[int, bytes, Mapping[str, str]], ErrorAnswer]
    verbatim: bool = False
    any_format: bool = False
    stream_type: str = EVENT_STREAM
    headers: Callable[[Mapping[str, str]], None] | None = None


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Exchange:
    """
    What an adapter makes of a call: the request to send, and how to read its answer.

    Attributes:
        operation: Of the GenAI conventions: `chat`, `embeddings`, …; empty when none fits.
        notes: What a translation dropped, clamped or emulated.
        dialect: Of the answer's bytes; None when nobody here knows.
        guarded: The host was chosen by whoever calls, and may not lead into the operator's own network.
    """

    method: str
    url: URL = field(repr=False)
    headers: HeaderList = field(repr=False)
    body: bytes = field(repr=False)
    reading: Reading
    operation: str = ""
    notes: tuple[str, ...] = field(default=())
    dialect: ClientDialect | None = None
    guarded: bool = False
