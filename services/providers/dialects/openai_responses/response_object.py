"""
The `response` object, whole or in the making, and its items.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.openai_responses.echo import TIERS, custom_tools, seals_wanted, shown_echo
from services.providers.dialects.openai_responses.seals import carried
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from services.providers.dialects.neutral.sides import AnswerContext
    from services.providers.dialects.openai_responses.seals import Seal

__all__ = ["CAN_BE_CUT", "ResponseMaker", "custom_input", "incomplete_reason", "usage_object"]

# Items that say of themselves when the answer was cut within them.
CAN_BE_CUT: Final = frozenset({"message", "function_call", "custom_tool_call"})
# Formats that an image made by a model may be said to have, by the media type's second half.
_FORMATS: Final = {
    "png": "png",
    "jpeg": "jpeg",
    "jpg": "jpeg",
    "webp": "webp",
    "gif": "gif",
    "svg+xml": "svg",
}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")


class ResponseMaker:
    """
    Makes the objects of one answer.

    Args:
        context: Of the request.
        upstream_id: The provider's id of its answer; empty: it gave none.
        model: As the provider names it; empty: it did not.
    """

    def __init__(self, context: AnswerContext, *, upstream_id: str = "", model: str = "") -> None:
        seed = _UNSAFE.sub("", upstream_id)[:64].removeprefix("resp_") or context.answer_id
        self._context = context
        self._seed = seed
        self._items = 0
        self._given: set[str] = set()
        self._model = model or context.model
        self._encrypted = seals_wanted(context.echo)
        self._custom = custom_tools(context.echo)

    def response(
        self,
        status: str,
        output: list[dict[str, Any]],
        *,
        usage: UsageCounts | None = None,
        service_tier: str = "",
        incomplete: str = "",
        error: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """
        Make the whole object.

        Args:
            status: `in_progress`, `completed`, `incomplete` or `failed`.
            output: Its items.
            usage: What was used.
            service_tier: As the provider names it.
            incomplete: Why it is incomplete; empty: it is not.
            error: Code and message of a failure.
        """
        echo = shown_echo(self._context.echo)
        if service_tier in TIERS:
            echo["service_tier"] = service_tier
        if status in {"completed", "incomplete"}:
            usage = usage or UsageCounts()
        return {
            "id": f"resp_{self._seed}",
            "object": "response",
            "created_at": self._context.created_s,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "model": self._model,
            "output": output,
            "previous_response_id": None,
            "store": False,
            "usage": usage_object(usage) if usage is not None else None,
            **echo,
        }

    def item_id(self, prefix: str) -> str:
        """Make an id that no other item of the answer has."""
        made = f"{prefix}_{self._seed}{self._items:03d}"
        self._items += 1
        return made

    def reasoning_id(self, given: str) -> str:
        """Take the provider's id of a reasoning item, which it may want back, or make one."""
        if not given or given in self._given:
            return self.item_id("rs")
        self._given.add(given)
        return given

    def message(self, item_id: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        """Make an item with words of the model."""
        return {
            "id": item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def reasoning(self, item_id: str, shown: str, seal: Seal) -> dict[str, Any]:
        """Make an item with thoughts."""
        item: dict[str, Any] = {"id": item_id, "type": "reasoning", "summary": []}
        if shown:
            item["summary"].append({"type": "summary_text", "text": shown})
        encrypted = carried(seal)
        if encrypted or self._encrypted:
            item["encrypted_content"] = encrypted or None
        return item

    def call(self, item_id: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
        """Make an item that calls a function."""
        return {
            "id": item_id,
            "type": "function_call",
            "status": status,
            "call_id": call_id,
            "name": name,
            "arguments": arguments,
        }

    def custom_call(self, item_id: str, call_id: str, name: str, given: str, status: str) -> dict[str, Any]:
        """Make an item that calls a tool with free text."""
        return {
            "id": item_id,
            "type": "custom_tool_call",
            "status": status,
            "call_id": call_id,
            "name": name,
            "input": given,
        }

    def image(self, item_id: str, media_type: str, data: str) -> dict[str, Any]:
        """Make an item with an image of the model's."""
        item = {"id": item_id, "type": "image_generation_call", "status": "completed", "result": data}
        form = _FORMATS.get(media_type.rpartition("/")[2])
        return {**item, "output_format": form} if form else item

    def is_custom(self, name: str) -> bool:
        """Tell whether the client defined this tool as one that takes free text."""
        return name in self._custom


def incomplete_reason(finish: Finish, *, refused: bool) -> str:
    """Say why a response is incomplete; empty: it is not. Words of refusal are an answer."""
    if finish is Finish.LENGTH:
        return "max_output_tokens"
    return "content_filter" if finish is Finish.CONTENT_FILTER and not refused else ""


def custom_input(arguments: str) -> str:
    """Take the text for a tool out of arguments in JSON, where the model could give nothing else."""
    try:
        document = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    if isinstance(document, dict):
        given = document.get("input", next(iter(document.values())) if len(document) == 1 else None)
        return given if isinstance(given, str) else arguments
    return document if isinstance(document, str) else arguments


def usage_object(usage: UsageCounts) -> dict[str, Any]:
    """Make the `usage` object, in which nothing is null."""
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": given + made,
    }
