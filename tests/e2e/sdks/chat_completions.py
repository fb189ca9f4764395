"""
SDKs of OpenAI's chat completions: OpenAI's own and Groq's, which is made from the same mould.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from groq import AsyncGroq
from openai import AsyncOpenAI

from tests.e2e.sdks.client import TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, ToolCall, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ChatCompletions", "groq_client", "openai_client"]

_TOOLS: Final = [
    {
        "type": "function",
        "function": {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA},
    }
]


def openai_client(base_url: str, key: str, headers: Mapping[str, str]) -> ChatCompletions:
    """Point OpenAI's SDK somewhere."""
    return ChatCompletions(
        AsyncOpenAI(base_url=base_url, api_key=key, default_headers=headers, max_retries=0)
    )


def groq_client(base_url: str, key: str, headers: Mapping[str, str]) -> ChatCompletions:
    """Point Groq's SDK somewhere."""
    return ChatCompletions(AsyncGroq(base_url=base_url, api_key=key, default_headers=headers, max_retries=0))


class ChatCompletions:
    """
    Asks by chat completions.

    Args:
        sdk: Of either maker.
    """

    def __init__(self, sdk: Any) -> None:
        self._sdk = sdk

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
        message = asked.choices[0].message
        messages.append(message.to_dict())
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT}
            for call in message.tool_calls or ()
        ]
        return _turn(asked), _turn(await self._create(model, messages, tools=_TOOLS))

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""
        return await self._streamed(model, [_user(question)], tools=_TOOLS)

    async def close(self) -> None:
        """Close its connections."""
        await self._sdk.close()

    async def _create(self, model: str, messages: list[Any], **members: Any) -> Any:
        return await self._sdk.chat.completions.create(model=model, messages=messages, **members)

    async def _streamed(self, model: str, messages: list[Any], **members: Any) -> Turn:
        pieces: list[str] = []
        calls: dict[int, list[str]] = {}
        finishes, usages = [], []
        # Groq's SDK has no argument for the option, which its API takes as OpenAI's does.
        extra = {"stream_options": {"include_usage": True}}
        async for chunk in await self._create(model, messages, stream=True, extra_body=extra, **members):
            usages += [chunk.usage] if chunk.usage else []
            for choice in chunk.choices:
                pieces += [choice.delta.content] if choice.delta.content else []
                finishes += [choice.finish_reason] if choice.finish_reason else []
                for delta in choice.delta.tool_calls or ():
                    call = calls.setdefault(delta.index, ["", ""])
                    call[0] += delta.function.name or ""
                    call[1] += delta.function.arguments or ""
        [finish], [usage] = finishes, usages
        return Turn(
            text="".join(pieces),
            calls=tuple(ToolCall(name=name, arguments=json.loads(text)) for name, text in calls.values()),
            finish=finish,
            tokens=(usage.prompt_tokens, usage.completion_tokens),
            pieces=len(pieces),
        )


def _user(question: str) -> dict[str, Any]:
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
