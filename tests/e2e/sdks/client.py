"""
What tests ask of every SDK, and what they get.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

__all__ = [
    "CITY",
    "TOOL_DESCRIPTION",
    "TOOL_NAME",
    "TOOL_RESULT",
    "TOOL_SCHEMA",
    "Client",
    "ToolCall",
    "Turn",
]

TOOL_NAME: Final = "get_weather"
TOOL_DESCRIPTION: Final = "Tells the weather of a city."
TOOL_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Name of the city."},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city"],
}
TOOL_RESULT: Final = "21 degrees"
CITY: Final = "Paris"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool that the model made."""

    name: str
    arguments: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """
    What a model said.

    Attributes:
        text: All of it.
        calls: Of tools.
        finish: Why it ended, in the words of the SDK.
        tokens: That went in and came out; None: that was not said.
        pieces: How many pieces of text came one by one; 1 for an answer that came at once.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    finish: str
    tokens: tuple[int, int] | None
    pieces: int = 1


class Client(Protocol):
    """An SDK that is pointed at a gateway."""

    async def ask(self, model: str, question: str) -> Turn:
        """Ask one question."""

    async def stream(self, model: str, question: str) -> Turn:
        """Ask one question and read the answer as it comes."""

    async def use_tool(self, model: str, question: str) -> tuple[Turn, Turn]:
        """Ask one question with a tool at hand; when it is called, give its result and read the answer."""

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""

    async def close(self) -> None:
        """Close its connections."""
