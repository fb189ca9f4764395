"""
In what the hosts of OpenAI's chat completions differ from each other, as data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["EFFORTS", "ChatQuirks"]

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatQuirks:
    """
    What a host takes. The defaults fit the many that follow OpenAI loosely and refuse little.

    Attributes:
        openai_models: Serves OpenAI's own models, with OpenAI's rules for each family.
        stream_usage: Understands `stream_options.include_usage`.
        limit: Member that bounds the output.
        hottest: Highest temperature.
        most_stops: Most stop sequences; 0: no bound.
        seed: Member for the seed; empty: it takes none.
        lacks: Further members of a conversation that it refuses, such as `logit_bias`, `n` or `tools`.
        takes: Members that conversations do not have, and that it understands.
        reasoning: How it is told how much to think: by `reasoning_effort`; by OpenRouter's `reasoning`; by
            DeepSeek's `thinking` beside `reasoning_effort`. Empty: not at all.
        efforts: Those that it knows, least first.
        replay: How it takes thoughts back: as that member of a message; `content`: as Mistral's parts. Empty:
            it does not.
        signatures: Takes Gemini's signatures of calls back.
        developer: Has the role `developer`.
        names: Messages may name their participant.
        short_ids: Calls have ids of nine letters and digits, no more and no fewer.
        refusals: Messages have a `refusal`.
        cache_marks: Takes `cache_control`.
        text_parts: Text may come in several parts.
        images: Reads them.
        files: How documents go: as OpenAI's `file`; likewise with addresses in place of data; as Mistral's
            `document_url`. Empty: not at all.
        audio: How sound goes: as OpenAI's object, or as Mistral's text. Empty: it does not hear.
        video: Watches.
        prefill: How it is told to go on with the last message of the assistant: `plain`: it does so anyway;
            `prefix`: by that member. Empty: it does not.
        custom_tools: Has tools that take free text; elsewhere the text comes in an object.
        allowed_tools: Its tool choice can be among some.
        parameters: A function must have some.
        strict: Knows `strict` of functions.
        json_schema: Has that response format.
        json_object: Has that response format.
    """

    openai_models: bool = False
    stream_usage: bool = True
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    hottest: float = 2
    most_stops: int = 0
    seed: Literal["seed", "random_seed", ""] = "seed"
    lacks: frozenset[str] = frozenset({"metadata", "service_tier", "verbosity"})
    takes: frozenset[str] = frozenset()
    reasoning: Literal["effort", "openrouter", "thinking", ""] = "effort"
    efforts: tuple[str, ...] = ("none", "low", "medium", "high")
    replay: Literal["reasoning_content", "reasoning", "reasoning_details", "content", ""] = ""
    signatures: bool = False
    developer: bool = False
    names: bool = True
    short_ids: bool = False
    refusals: bool = False
    cache_marks: bool = False
    text_parts: bool = True
    images: bool = True
    files: Literal["file", "file_url", "document_url", ""] = ""
    audio: Literal["object", "text", ""] = ""
    video: bool = False
    prefill: Literal["plain", "prefix", ""] = ""
    custom_tools: bool = False
    allowed_tools: bool = False
    parameters: bool = False
    strict: bool = False
    json_schema: bool = True
    json_object: bool = True
