"""
Anthropic's SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from anthropic import AsyncAnthropic

from tests.e2e.sdks.client import TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, ToolCall, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Messages"]

_TOOLS: Final[Any] = [
    {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "input_schema": TOOL_SCHEMA},
]
_MAX_TOKENS: Final = 300


class Messages:
    """Asks by messages."""

    def __init__(self, base_url: str, key: str, headers: Mapping[str, str]) -> None:
        self._sdk = AsyncAnthropic(base_url=base_url, api_key=key, default_headers=headers, max_retries=0)

    async def ask(self, model: str, question: str) -> Turn:
        """Ask one question."""
        return _turn(await self._create(model, [_user(question)]))

    async def stream(self, model: str, question: str) -> Turn:
        """Ask one question and read the answer as it comes."""
        return await self._streamed(model, [_user(question)])

    async def use_tool(self, model: str, question: str) -> tuple[Turn, Turn]:
        """Ask one question with a tool at hand; when it is called, give its result and read the answer."""
        messages = [_user(question)]
        asked = await self._create(model, messages, tools=_TOOLS)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": TOOL_RESULT}
            for block in asked.content
            if block.type == "tool_use"
        ]
        messages += [
            {"role": "assistant", "content": [block.to_dict() for block in asked.content]},
            {"role": "user", "content": results},
        ]
        return _turn(asked), _turn(await self._create(model, messages, tools=_TOOLS))

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""
        return await self._streamed(model, [_user(question)], tools=_TOOLS)

    async def close(self) -> None:
        """Close its connections."""
        await self._sdk.close()

    async def _create(self, model: str, messages: list[Any], **members: Any) -> Any:
        return await self._sdk.messages.create(
            model=model, max_tokens=_MAX_TOKENS, messages=messages, **members
        )

    async def _streamed(self, model: str, messages: list[Any], **members: Any) -> Turn:
        async with self._sdk.messages.stream(
            model=model, max_tokens=_MAX_TOKENS, messages=messages, **members
        ) as stream:
            pieces = [event.text async for event in stream if event.type == "text"]
            turn = _turn(await stream.get_final_message(), pieces=len(pieces))
        assert "".join(pieces) == turn.text
        return turn


def _user(question: str) -> dict[str, Any]:
    return {"role": "user", "content": question}


def _turn(answer: Any, *, pieces: int = 1) -> Turn:
    return Turn(
        text="".join(block.text for block in answer.content if block.type == "text"),
        calls=tuple(
            ToolCall(name=block.name, arguments=block.input)
            for block in answer.content
            if block.type == "tool_use"
        ),
        finish=answer.stop_reason,
        tokens=(answer.usage.input_tokens, answer.usage.output_tokens),
        pieces=pieces,
    )
