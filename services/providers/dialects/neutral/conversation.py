"""
A chat request in no dialect.

Readers of requests fill it, writers of requests empty it. A member that is None or empty was not given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "CacheMark",
    "Conversation",
    "FunctionTool",
    "MediaKind",
    "MediaPart",
    "Message",
    "Part",
    "ReasoningOptions",
    "ReasoningPart",
    "RefusalPart",
    "ResponseFormat",
    "Role",
    "ServerTool",
    "TextPart",
    "ToolCallPart",
    "ToolChoice",
    "ToolResultPart",
]

# `tool` messages hold `ToolResultPart`s only; the results of one round may stand in several of them.
Role = Literal["system", "developer", "user", "assistant", "tool"]
MediaKind = Literal["image", "document", "audio", "video"]


@dataclass(frozen=True, slots=True)
class CacheMark:
    """
    The client wants the prompt up to here kept by the provider.

    Attributes:
        ttl: `5m` or `1h`; empty: the provider's usual time.
    """

    ttl: str = ""


@dataclass(slots=True, kw_only=True)
class TextPart:
    """
    Text.

    Attributes:
        citations: Sources, each an object in the shape of OpenAI's `annotations` entries.
    """

    text: str
    cache: CacheMark | None = None
    citations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class MediaPart:
    """
    An image, a document, sound or film. One of `data`, `url`, `file_id` and `text` is set.

    Attributes:
        media_type: Such as `image/png`; empty when the client did not say and the source does not tell.
        data: Base64, standard alphabet.
        url: `https:`, `gs:`, `s3:`, …; never `data:`, which readers take apart.
        file_id: Of a file that lies with the provider.
        text: A document that is plain text.
        name: File name or title.
        detail: How closely to look: `low`, `high`, `auto`.
        path: Where it stands in the client's body, for errors that name it; empty: the message's has to do.
    """

    kind: MediaKind
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    text: str = ""
    name: str = ""
    detail: str = ""
    cache: CacheMark | None = None
    path: str = field(default="", compare=False)


@dataclass(slots=True, kw_only=True)
class ReasoningPart:
    """
    Thoughts of the model, as it gave them.

    Attributes:
        text: What may be shown; empty when all is sealed.
        signature: What the provider wants back with the text, to the letter.
        sealed: Thoughts that only the provider can read, to be given back to the letter.
        origin: Dialect whose provider made signature and seal: `anthropic`, `gemini`, `openai` or `converse`.
            Worth nothing elsewhere. Empty: there is neither.
        item_id: Of a reasoning item in OpenAI's responses.
    """

    text: str = ""
    signature: str = ""
    sealed: str = ""
    origin: str = ""
    item_id: str = ""


@dataclass(slots=True, kw_only=True)
class ToolCallPart:
    """
    The model calls a tool.

    Attributes:
        arguments: JSON in text form, as the model wrote it; empty: none. Free text when `custom`.
        signature: Gemini's `thoughtSignature` of the call; empty: none.
        custom: The tool takes free text instead of JSON.
        cache: Mark after this part.
    """

    id: str
    name: str
    arguments: str = ""
    signature: str = ""
    custom: bool = False
    cache: CacheMark | None = None


@dataclass(slots=True, kw_only=True)
class ToolResultPart:
    """
    What a tool gave back.

    Attributes:
        call_id: Of the call that it answers.
        name: Of the tool, when the client said; else to be found by `call_id`.
        is_error: None: the client did not say.
        custom: The answer to a call with free text.
    """

    call_id: str
    name: str = ""
    content: list[TextPart | MediaPart] = field(default_factory=list)
    is_error: bool | None = None
    custom: bool = False
    cache: CacheMark | None = None


@dataclass(slots=True, kw_only=True)
class RefusalPart:
    """The model declines, in these words."""

    text: str


Part = TextPart | MediaPart | ReasoningPart | ToolCallPart | ToolResultPart | RefusalPart


@dataclass(slots=True, kw_only=True)
class Message:
    """
    One message.

    Attributes:
        name: Of the participant, where the client gave one.
        path: Where it stands in the client's body, such as `messages.3`, for errors that name it.
    """

    role: Role
    parts: list[Part] = field(default_factory=list)
    name: str = ""
    path: str = ""


@dataclass(slots=True, kw_only=True)
class FunctionTool:
    """
    A tool of the client's.

    Attributes:
        parameters: JSON schema; None: not given.
        strict: The arguments must fit the schema. None: not said.
        custom: Takes free text; `grammar` may bound it.
        grammar: OpenAI's `format` of a custom tool.
        path: Where it stands in the client's body.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    custom: bool = False
    grammar: dict[str, Any] | None = None
    cache: CacheMark | None = None
    path: str = ""


@dataclass(slots=True, kw_only=True)
class ServerTool:
    """
    A tool that the provider runs itself, or that is known to one dialect only.

    Attributes:
        kind: As the dialect names it, such as `web_search_20250305`.
        raw: The definition as it was.
        path: Where it stands in the client's body.
    """

    kind: str
    raw: dict[str, Any]
    path: str = ""


@dataclass(slots=True, kw_only=True)
class ToolChoice:
    """
    Which tools may or must be called.

    Attributes:
        mode: `required`: some tool; with `name`, that one.
        name: Only with `required`.
        allowed: Names that may be called; empty: all.
    """

    mode: Literal["auto", "none", "required"]
    name: str = ""
    allowed: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class ResponseFormat:
    """The shape of the answer. `schema` belongs to `json_schema` and may be given with `json_object`."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str = ""
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None


@dataclass(slots=True, kw_only=True)
class ReasoningOptions:
    """
    How much to think.

    Attributes:
        effort: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`; empty: not said.
        budget_tokens: Most tokens to think with; 0: none at all; -1: the model decides. None: not said.
        adaptive: The model decides whether and how much.
        show: Thoughts are wanted in the answer. None: not said.
        summary: OpenAI's `summary`: `auto`, `concise`, `detailed`.
    """

    effort: str = ""
    budget_tokens: int | None = None
    adaptive: bool = False
    show: bool | None = None
    summary: str = ""


@dataclass(slots=True, kw_only=True)
class Conversation:
    """
    A whole request, but for the model, which the plan decides.

    Attributes:
        messages: In the client's order, system messages where they stood.
        parallel_tool_calls: None: not said.
        user: The end user's identifier.
        metadata: The client's own labels, without the identifier.
        extra: Members that have no place here, by the client's name. What a writer does not take out is
            reported as dropped.
        include_usage: The client wants usage in a stream.
        echo: What the client's dialect repeats in its answers; belongs to that dialect.
    """

    messages: list[Message] = field(default_factory=list)
    tools: list[FunctionTool | ServerTool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    service_tier: str = ""
    verbosity: str = ""
    include_usage: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    echo: dict[str, Any] = field(default_factory=dict)
