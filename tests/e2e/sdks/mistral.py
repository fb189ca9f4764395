"""
Mistral's SDK.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import httpx
from mistralai.client import Mistral

from tests.e2e.sdks.client import TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, ToolCall, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MistralChat"]

_TOOLS: Final[Any] = [
    {
        "type": "function",
        "function": {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA},
    }
]


class MistralChat:
    """Asks by chat completions as Mistral has them."""

    def __init__(self, base_url: str, key: str, headers: Mapping[str, str]) -> None:
        self._http = httpx.AsyncClient(headers=dict(headers), timeout=60)
        # The SDK is of two minds about which version of httpx it is made for.
        http: Any = self._http
        self._sdk = Mistral(server_url=base_url, api_key=key, async_client=http)

    async def ask(self, model: str, question: str) -> Turn:
        """Ask one question."""
        return _turn(await self._sdk.chat.complete_async(model=model, messages=[_user(question)]))

    async def stream(self, model: str, question: str) -> Turn:
        """Ask one question and read the answer as it comes."""
        return await self._streamed(model=model, messages=[_user(question)])

    async def use_tool(self, model: str, question: str) -> tuple[Turn, Turn]:
        """Ask one question with a tool at hand; when it is called, give its result and read the answer."""
        messages = [_user(question)]
        asked = await self._sdk.chat.complete_async(model=model, messages=messages, tools=_TOOLS)
        message: Any = asked.choices[0].message
        messages.append(message)
        messages += [
            {"role": "tool", "name": call.function.name, "tool_call_id": call.id, "content": TOOL_RESULT}
            for call in message.tool_calls or ()
        ]
        answered = await self._sdk.chat.complete_async(model=model, messages=messages, tools=_TOOLS)
        return _turn(asked), _turn(answered)

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""
        return await self._streamed(model=model, messages=[_user(question)], tools=_TOOLS)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def _streamed(self, **members: Any) -> Turn:
        pieces: list[str] = []
        calls: dict[int, list[str]] = {}
        finishes, usages = [], []
        async for event in await self._sdk.chat.stream_async(**members):
            chunk: Any = event.data
            usages += [chunk.usage] if chunk.usage else []
            for choice in chunk.choices:
                pieces += [choice.delta.content] if choice.delta.content else []
                finishes += [choice.finish_reason] if choice.finish_reason else []
                for delta in choice.delta.tool_calls or ():
                    call = calls.setdefault(delta.index, ["", ""])
                    call[0] += delta.function.name or ""
                    call[1] += delta.function.arguments or ""
        [finish] = finishes
        return Turn(
            text="".join(pieces),
            calls=tuple(ToolCall(name=name, arguments=json.loads(text)) for name, text in calls.values()),
            finish=finish,
            # It is told without asking by Mistral, and has no way of asking anybody else.
            tokens=(usages[0].prompt_tokens, usages[0].completion_tokens) if usages else None,
            pieces=len(pieces),
        )


def _user(question: str) -> Any:
    return {"role": "user", "content": question}


def _turn(answer: Any) -> Turn:
    [choice] = answer.choices
    return Turn(
        text=choice.message.content or "",
        calls=tuple(
            ToolCall(name=call.function.name, arguments=json.loads(call.function.arguments))
            for call in choice.message.tool_calls or ()
        ),
        finish=choice.finish_reason,
        tokens=(answer.usage.prompt_tokens, answer.usage.completion_tokens),
    )
