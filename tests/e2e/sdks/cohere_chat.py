"""
Cohere's SDK.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import httpx
from cohere import AsyncClientV2

from tests.e2e.sdks.client import TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, ToolCall, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CohereChat"]

_TOOLS: Final[Any] = [
    {
        "type": "function",
        "function": {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA},
    }
]


class CohereChat:
    """Asks by the second version of Cohere's chat."""

    def __init__(self, base_url: str, key: str, headers: Mapping[str, str]) -> None:
        self._http = httpx.AsyncClient(headers=dict(headers), timeout=60)
        self._sdk = AsyncClientV2(api_key=key, base_url=base_url, httpx_client=self._http)

    async def ask(self, model: str, question: str) -> Turn:
        """Ask one question."""
        return _turn(await self._sdk.chat(model=model, messages=[_user(question)]))

    async def stream(self, model: str, question: str) -> Turn:
        """Ask one question and read the answer as it comes."""
        return await self._streamed(model=model, messages=[_user(question)])

    async def use_tool(self, model: str, question: str) -> tuple[Turn, Turn]:
        """Ask one question with a tool at hand; when it is called, give its result and read the answer."""
        messages = [_user(question)]
        asked = await self._sdk.chat(model=model, messages=messages, tools=_TOOLS)
        messages.append(asked.message)
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT}
            for call in asked.message.tool_calls or ()
        ]
        return _turn(asked), _turn(await self._sdk.chat(model=model, messages=messages, tools=_TOOLS))

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""
        return await self._streamed(model=model, messages=[_user(question)], tools=_TOOLS)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def _streamed(self, **members: Any) -> Turn:
        pieces: list[str] = []
        calls: list[list[str]] = []
        end: Any = None
        async for event in self._sdk.chat_stream(**members):
            told: Any = event
            match event.type:
                case "content-delta":
                    pieces.append(told.delta.message.content.text)
                case "tool-call-start":
                    function = told.delta.message.tool_calls.function
                    calls.append([function.name, function.arguments or ""])
                case "tool-call-delta":
                    calls[-1][1] += told.delta.message.tool_calls.function.arguments
                case "message-end":
                    end = told.delta
        return Turn(
            text="".join(pieces),
            calls=tuple(ToolCall(name=name, arguments=json.loads(text)) for name, text in calls),
            finish=end.finish_reason,
            tokens=_tokens(end.usage),
            pieces=len(pieces),
        )


def _user(question: str) -> Any:
    return {"role": "user", "content": question}


def _tokens(usage: Any) -> tuple[int, int]:
    return int(usage.tokens.input_tokens), int(usage.tokens.output_tokens)


def _turn(answer: Any) -> Turn:
    return Turn(
        text="".join(item.text for item in answer.message.content or () if item.type == "text"),
        calls=tuple(
            ToolCall(name=call.function.name, arguments=json.loads(call.function.arguments))
            for call in answer.message.tool_calls or ()
        ),
        finish=answer.finish_reason,
        tokens=_tokens(answer.usage),
    )
