"""
The dialects that providers speak, and answers in them: whole, and as the events of a stream.

Most are those of the tests' fake upstream, so that what is measured is also what is tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.adapters.aws_eventstream import AwsFrames
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.cohere import side as cohere
from services.providers.dialects.converse.side import converse_target
from services.providers.dialects.gemini.target_side import gemini_target
from services.providers.dialects.openai_chat.target_side import chat_target
from services.providers.dialects.openai_responses.target_side import responses_target
from services.providers.dialects.workers_ai import side as workers_ai
from services.providers.registry import PROVIDERS
from tests.fakes import shapes_cohere, shapes_converse, shapes_gemini, shapes_workers_ai, upstream_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.providers.dialects.neutral.sides import TargetSide

__all__ = ["TARGETS", "Target"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    What a provider speaks.

    Attributes:
        model: In its naming.
        whole: Gives an answer of so many tokens.
        events: Gives the events of such a stream, a token in each, and those that begin and end it.
    """

    side: TargetSide
    model: str
    whole: Callable[[int], bytes]
    events: Callable[[int], list[bytes]]


def _words(count: int) -> dict[str, str]:
    return {"words": str(count)}


_GPT: Final = "gpt-4o-mini"
_CLAUDE: Final = "claude-sonnet-4-5"
_FLASH: Final = "gemini-2.5-flash"
_NOVA: Final = "us.amazon.nova-pro-v1:0"
_CHAT: Final[Json] = {"model": _GPT, "stream_options": {"include_usage": True}}


def _plain(kind: str, request: Json) -> Callable[[int], bytes]:
    return lambda count: orjson.dumps(upstream_shapes.plain_body(kind, request, _words(count)))


def _response(count: int, *, status: str) -> Json:
    """Give a response with all the members that OpenAI has in it."""
    text = upstream_shapes.answer_text({}, _words(count))
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    message = {
        "id": "msg_fake",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": content,
    }
    done = status == "completed"
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": 1024,
        "model": _GPT,
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 0.7,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": upstream_shapes.INPUT_TOKENS,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": count,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": upstream_shapes.INPUT_TOKENS + count,
        }
        if done
        else None,
        "metadata": {},
    }


def _response_events(count: int) -> list[bytes]:
    begun, done = _response(count, status="in_progress"), _response(count, status="completed")
    item = done["output"][0]
    part, place = item["content"][0], {"item_id": item["id"], "output_index": 0}
    there = {**place, "content_index": 0}
    pieces = upstream_shapes.text_pieces(part["text"])
    events: list[tuple[str, Json]] = [
        ("created", {"response": begun}),
        ("in_progress", {"response": begun}),
        (
            "output_item.added",
            {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        ),
        ("content_part.added", {**there, "part": {**part, "text": ""}}),
        *(("output_text.delta", {**there, "delta": piece, "logprobs": []}) for piece in pieces),
        ("output_text.done", {**there, "text": part["text"], "logprobs": []}),
        ("content_part.done", {**there, "part": part}),
        ("output_item.done", {"output_index": 0, "item": item}),
        ("completed", {"response": done}),
    ]
    return [
        b"event: response.%b\ndata: %b\n\n"
        % (
            kind.encode(),
            orjson.dumps({"type": f"response.{kind}", "sequence_number": number, **members}),
        )
        for number, (kind, members) in enumerate(events)
    ]


TARGETS: Final[Mapping[str, Target]] = {
    "chat": Target(
        side=chat_target(PROVIDERS["openai"].chat),
        model=_GPT,
        whole=_plain("chat/completions", _CHAT),
        events=lambda count: upstream_shapes.stream_events("chat/completions", _CHAT, _words(count)),
    ),
    "responses": Target(
        side=responses_target(openai_models=True),
        model=_GPT,
        whole=lambda count: orjson.dumps(_response(count, status="completed")),
        events=_response_events,
    ),
    "messages": Target(
        side=anthropic_target(),
        model=_CLAUDE,
        whole=_plain("messages", {"model": _CLAUDE}),
        events=lambda count: upstream_shapes.stream_events("messages", {"model": _CLAUDE}, _words(count)),
    ),
    "gemini": Target(
        side=gemini_target(vertex=False),
        model=_FLASH,
        whole=lambda count: orjson.dumps(
            shapes_gemini.plain_body("generateContent", _FLASH, {}, _words(count))
        ),
        events=lambda count: shapes_gemini.stream_events(_FLASH, {}, _words(count)),
    ),
    "converse": Target(
        side=converse_target(_NOVA, AwsFrames),
        model=_NOVA,
        whole=lambda count: orjson.dumps(shapes_converse.plain_body("converse", {}, _words(count))),
        events=lambda count: shapes_converse.stream_events({}, _words(count)),
    ),
    "cohere": Target(
        side=cohere.TARGET,
        model="command-a-03-2025",
        whole=lambda count: orjson.dumps(shapes_cohere.plain_body("v2/chat", {}, _words(count))),
        events=lambda count: shapes_cohere.stream_events({}, _words(count)),
    ),
    "workers-ai": Target(
        side=workers_ai.target(),
        model="@cf/meta/llama-3.1-8b-instruct",
        whole=lambda count: orjson.dumps(shapes_workers_ai.plain_body({}, _words(count))),
        events=lambda count: shapes_workers_ai.stream_events({}, _words(count)),
    ),
}
