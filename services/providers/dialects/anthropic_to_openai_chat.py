"""
Anthropic's whole answers and errors as OpenAI chat clients read them.

Streams are in `anthropic_to_openai_stream`. Thinking goes into `reasoning_content`, and with its signatures
into `thinking_blocks`, which the request side takes back when the client replays the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import Answer, load_object, text
from services.providers.dialects.anthropic_messages import FINISH_REASONS, in_band_error
from services.providers.dialects.failures import FailureClass, classify, error_message
from services.providers.dialects.openai_error import openai_error
from services.providers.dialects.retry_after import parse_retry_after
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import UsageCounts, read_anthropic_usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.dialects.openai_chat_to_anthropic import ResponseContext


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedError:
    """
    An error answer for an OpenAI client.

    Attributes:
        status: The provider's own status.
        body: The error in OpenAI's shape.
        failure_class: Class of the error.
        message: The provider's own words, or what came instead of them.
        retry_after_s: How long the provider asks to wait. None: it did not say.
    """

    status: int
    body: bytes
    failure_class: FailureClass
    message: str
    retry_after_s: float | None


def translate_error(status: int, body: bytes, headers: Mapping[str, str], *, now_s: float) -> TranslatedError:
    """
    Translate an error answer, whatever its body is.

    Args:
        status: HTTP status.
        body: The answer's body; JSON in Anthropic's shape, or anything else.
        headers: The answer's headers, names in lower case.
        now_s: The time now, in seconds since 1970.
    """
    failure_class = classify(status, body)
    message = error_message(status, body)
    return TranslatedError(
        status=status,
        body=openai_error(status, failure_class, message),
        failure_class=failure_class,
        message=message,
        retry_after_s=parse_retry_after(headers, now_s=now_s),
    )


def translate_answer(body: bytes, context: ResponseContext) -> Answer:
    """
    Translate a whole answer.

    Raises:
        GatewayError: With UPSTREAM_MALFORMED when it is not a message.
    """
    document = load_object(body)
    if document.get("type") == "error":
        failure = openai_failure(document, started=False)
        return Answer(body=failure.body, failure=failure)
    content = document.get("content")
    if not isinstance(content, list):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer is not a message.")
    usage = document.get("usage")
    counts = read_anthropic_usage(usage) if isinstance(usage, dict) else None
    message, called = _message(content, context)
    reason, warnings = finish_reason(text(document.get("stop_reason")), called=called)
    _add_refusal(message, document)
    model = text(document.get("model"))
    completion = {
        "id": text(document.get("id")) or context.answer_id,
        "object": "chat.completion",
        "created": context.created_s,
        "model": model or context.model,
        "system_fingerprint": None,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": openai_usage(counts),
    }
    return Answer(
        body=orjson.dumps(completion),
        usage=counts,
        finish_reason=reason,
        served_model=model,
        warnings=warnings,
    )


def _message(content: list[Any], context: ResponseContext) -> tuple[dict[str, Any], bool]:
    """Build the message from its blocks; also tells whether it calls a tool of the client's."""
    texts: list[str] = []
    reasoning: list[str] = []
    thinking: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    answer: str | None = None
    for block in content:
        if not isinstance(block, dict):
            continue
        kind = block.get("type")
        if kind == "text":
            texts.append(text(block.get("text")))
        elif kind == "thinking":
            reasoning.append(text(block.get("thinking")))
            thinking.append(thinking_block(reasoning[-1], text(block.get("signature"))))
        elif kind == "redacted_thinking":
            thinking.append({"type": kind, "data": text(block.get("data"))})
        elif kind == "tool_use" and context.json_tool and block.get("name") == context.json_tool:
            answer = arguments_text(block.get("input"))
        elif kind == "tool_use":
            calls.append(_tool_call(block, context))
    joined = "".join(texts) if answer is None else answer
    message: dict[str, Any] = {"role": "assistant", "content": joined or None, "refusal": None}
    if not calls and not joined:
        message["content"] = ""
    if "".join(reasoning):
        message["reasoning_content"] = "".join(reasoning)
    if thinking:
        message["thinking_blocks"] = thinking
    if calls:
        message["tool_calls"] = calls
    return message, bool(calls)


def _tool_call(block: dict[str, Any], context: ResponseContext) -> dict[str, Any]:
    name = text(block.get("name"))
    function = {"name": context.tool_names.get(name, name), "arguments": arguments_text(block.get("input"))}
    return {"id": text(block.get("id")), "type": "function", "function": function}


def _add_refusal(message: dict[str, Any], document: dict[str, Any]) -> None:
    details = document.get("stop_details")
    if document.get("stop_reason") == "refusal" and isinstance(details, dict):
        message["refusal"] = text(details.get("explanation")) or None


def arguments_text(value: Any) -> str:
    """Write the input of a tool call as OpenAI's clients want it: JSON in text form."""
    if isinstance(value, str):
        return value or "{}"
    return orjson.dumps(value if isinstance(value, dict) else {}).decode()


def thinking_block(thinking: str, signature: str) -> dict[str, str]:
    """Build an entry of `thinking_blocks`, as the request side takes it back."""
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def finish_reason(stop_reason: str, *, called: bool) -> tuple[str, tuple[str, ...]]:
    """
    Translate a stop reason.

    Args:
        stop_reason: Anthropic's word.
        called: A tool of the client's was called. The tool that gives the answer is not one.
    """
    found = FINISH_REASONS.get(stop_reason)
    if found is None:
        return "stop", (f"unknown stop reason {stop_reason[:40]!r}",)
    if found == "tool_calls" and not called:
        return "stop", ()
    return found, ()


def openai_usage(counts: UsageCounts | None) -> dict[str, Any]:
    """Write usage as OpenAI's clients read it: every number there, none of them null."""
    counts = counts or UsageCounts()
    prompt, completion = counts.input_tokens or 0, counts.output_tokens or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": counts.cache_read_tokens or 0,
            "cache_write_tokens": counts.cache_write_tokens or 0,
        },
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning_tokens or 0},
    }


def openai_failure(document: dict[str, Any], *, started: bool) -> StreamFailure:
    """Read an error document that came with a success status, and write it in OpenAI's shape."""
    found = in_band_error(document, b"", started=started)
    return StreamFailure(
        failure_class=found.failure_class,
        message=found.message,
        reported=True,
        started=started,
        status=found.status,
        body=openai_error(found.status, found.failure_class, found.message),
    )
