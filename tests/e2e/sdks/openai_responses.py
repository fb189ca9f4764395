"""
OpenAI's SDK, asking by responses.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from openai import AsyncOpenAI

from tests.e2e.sdks.client import TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, ToolCall, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Responses"]

_TOOLS: Final[Any] = [
    {
        "type": "function",
        "name": TOOL_NAME,
        "description": TOOL_DESCRIPTION,
        "parameters": TOOL_SCHEMA,
        "strict": False,
    }
]


class Responses:
    """Asks by responses, keeping nothing at the provider."""

    def __init__(self, base_url: str, key: str, headers: Mapping[str, str]) -> None:
        self._sdk = AsyncOpenAI(base_url=base_url, api_key=key, default_headers=headers, max_retries=0)

    async def ask(self, model: str, question: str) -> Turn:
        """Ask one question."""
        return _turn(await self._sdk.responses.create(model=model, input=question, store=False))

    async def stream(self, model: str, question: str) -> Turn:
        """Ask one question and read the answer as it comes."""
        return await self._streamed(model=model, input=question, store=False)

    async def use_tool(self, model: str, question: str) -> tuple[Turn, Turn]:
        """Ask one question with a tool at hand; when it is called, give its result and read the answer."""
        entries: list[Any] = [{"role": "user", "content": question}]
        asked = await self._sdk.responses.create(model=model, input=entries, tools=_TOOLS, store=False)
        entries += [item.to_dict() for item in asked.output]
        entries += [
            {"type": "function_call_output", "call_id": item.call_id, "output": TOOL_RESULT}
            for item in asked.output
            if item.type == "function_call"
        ]
        answered = await self._sdk.responses.create(model=model, input=entries, tools=_TOOLS, store=False)
        return _turn(asked), _turn(answered)

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""
        return await self._streamed(model=model, input=question, tools=_TOOLS, store=False)

    async def close(self) -> None:
        """Close its connections."""
        await self._sdk.close()

    async def _streamed(self, **members: Any) -> Turn:
        pieces: list[str] = []
        arguments = ""
        async with self._sdk.responses.stream(**members) as stream:
            async for event in stream:
                if event.type == "response.output_text.delta":
                    pieces.append(event.delta)
                elif event.type == "response.function_call_arguments.delta":
                    arguments += event.delta
            turn = _turn(await stream.get_final_response(), pieces=len(pieces))
        # What came in pieces is what the end says.
        assert "".join(pieces) == turn.text
        assert ([json.loads(arguments)] if arguments else []) == [call.arguments for call in turn.calls]
        return turn


def _turn(answer: Any, *, pieces: int = 1) -> Turn:
    return Turn(
        text=answer.output_text,
        calls=tuple(
            ToolCall(name=item.name, arguments=json.loads(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        ),
        finish=answer.status,
        tokens=(answer.usage.input_tokens, answer.usage.output_tokens),
        pieces=pieces,
    )
