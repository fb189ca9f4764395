"""
Which dialects' streams can be followed, and what follows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.edge.splice.chat import ChatSent
from services.edge.splice.frames import ArrayFrames, EventFrames
from services.edge.splice.gemini import GeminiSent
from services.edge.splice.messages import MessagesSent
from services.edge.splice.responses import ResponsesSent
from services.edge.splice.verdict import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.edge.splice.frames import Frames
    from services.edge.splice.sent import Sent

__all__ = ["observe"]

_SENT: Final[Mapping[Dialect, Callable[[Frames], Sent]]] = {
    Dialect.CHAT: ChatSent,
    Dialect.RESPONSES: ResponsesSent,
    Dialect.MESSAGES: MessagesSent,
    Dialect.GEMINI: GeminiSent,
}


def observe(dialect: Dialect, *, array: bool = False) -> Sent:
    """
    Make what follows an answer on its way to the client.

    Args:
        dialect: The client's.
        array: The stream is one JSON array, as Gemini's is without `alt=sse`.
    """
    return _SENT[dialect](ArrayFrames() if array else EventFrames())
