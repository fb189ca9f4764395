"""
Google's SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google import genai
from google.genai import types

from tests.e2e.sdks.client import TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, ToolCall, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GenerateContent"]

_TOOLS: Final = types.GenerateContentConfig(
    tools=[
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(
                    name=TOOL_NAME, description=TOOL_DESCRIPTION, parameters_json_schema=TOOL_SCHEMA
                )
            ]
        )
    ]
)


class GenerateContent:
    """Asks by `generateContent`."""

    def __init__(self, base_url: str, key: str, headers: Mapping[str, str]) -> None:
        options = types.HttpOptions(base_url=base_url, headers=dict(headers))
        self._sdk = genai.Client(api_key=key, vertexai=False, http_options=options)
        self._models = self._sdk.aio.models

    async def ask(self, model: str, question: str) -> Turn:
        """Ask one question."""
        return _turn([await self._models.generate_content(model=model, contents=question)])

    async def stream(self, model: str, question: str) -> Turn:
        """Ask one question and read the answer as it comes."""
        return await self._streamed(model, question, None)

    async def use_tool(self, model: str, question: str) -> tuple[Turn, Turn]:
        """Ask one question with a tool at hand; when it is called, give its result and read the answer."""
        contents: list[Any] = [types.UserContent(question)]
        asked = await self._models.generate_content(model=model, contents=contents, config=_TOOLS)
        assert asked.candidates
        contents.append(asked.candidates[0].content)
        contents.append(types.UserContent([_result(call) for call in asked.function_calls or ()]))
        answered = await self._models.generate_content(model=model, contents=contents, config=_TOOLS)
        return _turn([asked]), _turn([answered])

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""
        return await self._streamed(model, question, _TOOLS)

    async def close(self) -> None:
        """Close its connections."""
        await self._sdk.aio.aclose()
        self._sdk.close()

    async def _streamed(self, model: str, question: str, config: types.GenerateContentConfig | None) -> Turn:
        stream = await self._models.generate_content_stream(model=model, contents=question, config=config)
        return _turn([chunk async for chunk in stream])


def _result(call: types.FunctionCall) -> types.Part:
    # The id belongs to the answer, as the call's has one.
    response = types.FunctionResponse(id=call.id, name=call.name, response={"result": TOOL_RESULT})
    return types.Part(function_response=response)


def _turn(chunks: list[types.GenerateContentResponse]) -> Turn:
    parts = [
        part
        for chunk in chunks
        for candidate in chunk.candidates or ()
        for part in (candidate.content.parts if candidate.content else None) or ()
    ]
    texts = [part.text for part in parts if part.text and not part.thought]
    [finish] = {
        candidate.finish_reason.value
        for chunk in chunks
        for candidate in chunk.candidates or ()
        if candidate.finish_reason
    }
    usage = chunks[-1].usage_metadata
    assert usage is not None
    return Turn(
        text="".join(texts),
        calls=tuple(
            ToolCall(name=part.function_call.name or "", arguments=part.function_call.args)
            for part in parts
            if part.function_call
        ),
        finish=finish,
        tokens=(usage.prompt_token_count or 0, usage.candidates_token_count or 0),
        pieces=len(texts),
    )
