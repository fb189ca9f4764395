"""
A streamed answer in no dialect: what readers of streams give and writers of streams take.

Order: `Started` first; per choice any number of deltas, then one `Finished`; `UsageReport` anywhere, the last
one counts; then either `Ended` or `Failed`, and nothing after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.neutral.completion import Finish
    from services.providers.dialects.usage import UsageCounts

__all__ = [
    "CONTENT_EVENTS",
    "LAST_EVENTS",
    "CitationAdded",
    "Ended",
    "Event",
    "Failed",
    "Finished",
    "KeepAlive",
    "MediaDelta",
    "ReasoningClosed",
    "ReasoningDelta",
    "RefusalDelta",
    "Started",
    "TextDelta",
    "ToolCallClosed",
    "ToolCallDelta",
    "ToolCallStarted",
    "UsageReport",
]


@dataclass(slots=True)
class Started:
    """The answer begins. Empty members are not known."""

    id: str = ""
    model: str = ""
    service_tier: str = ""


@dataclass(slots=True)
class TextDelta:
    """More text. `logprobs` are entries of OpenAI's `logprobs.content`."""

    text: str
    choice: int = 0
    logprobs: list[dict[str, Any]] | None = None


@dataclass(slots=True)
class CitationAdded:
    """A source of the text so far, in the shape of OpenAI's `annotations` entries."""

    citation: dict[str, Any]
    choice: int = 0


@dataclass(slots=True)
class MediaDelta:
    """A whole piece of media that the model made, in base64."""

    media_type: str
    data: str
    choice: int = 0


@dataclass(slots=True)
class ReasoningDelta:
    """More thoughts that may be shown."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class ReasoningClosed:
    """
    The thoughts since the last of these events belong together, under this signature or seal.

    Also stands alone, for thoughts that are sealed as a whole. See `ReasoningPart` for the members.
    """

    signature: str = ""
    sealed: str = ""
    origin: str = ""
    item_id: str = ""
    choice: int = 0


@dataclass(slots=True)
class RefusalDelta:
    """More of the words in which the model declines."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class ToolCallStarted:
    """
    A tool call begins.

    Attributes:
        index: Dense over the tool calls of the choice, from 0.
        id: Never empty: readers make one up where the provider gives none.
    """

    index: int
    id: str
    name: str
    signature: str = ""
    custom: bool = False
    choice: int = 0


@dataclass(slots=True)
class ToolCallDelta:
    """More of a call's arguments. Several calls may be open at the same time."""

    index: int
    arguments: str
    choice: int = 0


@dataclass(slots=True)
class ToolCallClosed:
    """A call's arguments are whole. Readers may leave it out: `Finished` closes all that are open."""

    index: int
    choice: int = 0


@dataclass(slots=True)
class Finished:
    """Why a choice stopped."""

    finish: Finish
    stop_sequence: str = ""
    choice: int = 0


@dataclass(slots=True)
class UsageReport:
    """What was used so far; replaces earlier reports. `billed` is what is paid for, where that is another."""

    usage: UsageCounts
    billed: UsageCounts | None = None


@dataclass(slots=True)
class KeepAlive:
    """The provider says that it is still there."""


@dataclass(slots=True)
class Ended:
    """The answer is whole."""


@dataclass(slots=True)
class Failed:
    """The answer is not whole. `status` is the HTTP status that fits; 0: by the class."""

    failure_class: FailureClass
    message: str
    status: int = 0


Event = (
    Started
    | TextDelta
    | CitationAdded
    | MediaDelta
    | ReasoningDelta
    | ReasoningClosed
    | RefusalDelta
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallClosed
    | Finished
    | UsageReport
    | KeepAlive
    | Ended
    | Failed
)

# What tells that the model has begun to answer. Providers send about one token in each.
CONTENT_EVENTS = (TextDelta, ReasoningDelta, ToolCallDelta, ToolCallStarted, RefusalDelta, MediaDelta)
# After which nothing comes.
LAST_EVENTS = (Ended, Failed)
