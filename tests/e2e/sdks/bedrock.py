"""
AWS's SDK, asking Bedrock by Converse.

A signature is for one host and path. So whoever signs does it for AWS's own, and sends the request through
the gateway afterwards; whoever lets the gateway sign changes the endpoint, and signs nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from tests.e2e.sdks.client import TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, ToolCall, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Converse", "signing_client", "unsigned_client"]

_REGION: Final = "us-east-1"
_SERVICE: Final = "bedrock-runtime"
_TOOLS: Final[Any] = {
    "tools": [
        {
            "toolSpec": {
                "name": TOOL_NAME,
                "description": TOOL_DESCRIPTION,
                "inputSchema": {"json": TOOL_SCHEMA},
            }
        }
    ]
}
_CONFIG: Final = Config(retries={"total_max_attempts": 1})


def signing_client(base_url: str, keys: tuple[str, str], headers: Mapping[str, str]) -> Converse:
    """Make a client that signs by itself, and sends what it has signed through a gateway."""
    sdk = boto3.client(
        _SERVICE,
        region_name=_REGION,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=_CONFIG,
    )

    def through_gateway(request: Any, **_: Any) -> None:
        signed = urlsplit(request.url)
        request.url = f"{base_url}{signed.path}" + (f"?{signed.query}" if signed.query else "")
        for name, value in headers.items():
            request.headers[name] = value

    sdk.meta.events.register(f"before-send.{_SERVICE}", through_gateway)
    return Converse(sdk)


def unsigned_client(base_url: str, headers: Mapping[str, str]) -> Converse:
    """Make a client that signs nothing, and leaves that to the gateway and its operator's key."""
    config = _CONFIG.merge(Config(signature_version=UNSIGNED))
    sdk = boto3.client(_SERVICE, region_name=_REGION, endpoint_url=base_url, config=config)

    def with_headers(request: Any, **_: Any) -> None:
        for name, value in headers.items():
            request.headers[name] = value

    sdk.meta.events.register(f"before-send.{_SERVICE}", with_headers)
    return Converse(sdk)


class Converse:
    """
    Asks by Converse, in a thread, since the SDK waits for its answers.

    Args:
        sdk: Client of the runtime.
    """

    def __init__(self, sdk: Any) -> None:
        self._sdk = sdk

    async def ask(self, model: str, question: str) -> Turn:
        """Ask one question."""
        return _turn(await self._converse(modelId=model, messages=[_user(question)]))

    async def stream(self, model: str, question: str) -> Turn:
        """Ask one question and read the answer as it comes."""
        return await asyncio.to_thread(self._streamed, modelId=model, messages=[_user(question)])

    async def use_tool(self, model: str, question: str) -> tuple[Turn, Turn]:
        """Ask one question with a tool at hand; when it is called, give its result and read the answer."""
        messages = [_user(question)]
        asked = await self._converse(modelId=model, messages=messages, toolConfig=_TOOLS)
        message = asked["output"]["message"]
        results = [
            {
                "toolResult": {
                    "toolUseId": block["toolUse"]["toolUseId"],
                    "content": [{"text": TOOL_RESULT}],
                }
            }
            for block in message["content"]
            if "toolUse" in block
        ]
        messages += [message, {"role": "user", "content": results}]
        answered = await self._converse(modelId=model, messages=messages, toolConfig=_TOOLS)
        return _turn(asked), _turn(answered)

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""
        return await asyncio.to_thread(
            self._streamed, modelId=model, messages=[_user(question)], toolConfig=_TOOLS
        )

    async def close(self) -> None:
        """Close its connections."""
        self._sdk.close()

    async def _converse(self, **members: Any) -> Any:
        return await asyncio.to_thread(self._sdk.converse, **members)

    def _streamed(self, **members: Any) -> Turn:
        pieces: list[str] = []
        calls: dict[int, list[str]] = {}
        finish, tokens = "", (0, 0)
        for event in self._sdk.converse_stream(**members)["stream"]:
            [(kind, told)] = event.items()
            if kind == "contentBlockStart" and "toolUse" in told.get("start", {}):
                calls[told["contentBlockIndex"]] = [told["start"]["toolUse"]["name"], ""]
            elif kind == "contentBlockDelta" and "text" in told["delta"]:
                pieces.append(told["delta"]["text"])
            elif kind == "contentBlockDelta":
                calls[told["contentBlockIndex"]][1] += told["delta"]["toolUse"]["input"]
            elif kind == "messageStop":
                finish = told["stopReason"]
            elif kind == "metadata":
                tokens = _tokens(told)
        return Turn(
            text="".join(pieces),
            calls=tuple(ToolCall(name=name, arguments=json.loads(text)) for name, text in calls.values()),
            finish=finish,
            tokens=tokens,
            pieces=len(pieces),
        )


def _user(question: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": question}]}


def _tokens(answer: Any) -> tuple[int, int]:
    return answer["usage"]["inputTokens"], answer["usage"]["outputTokens"]


def _turn(answer: Any) -> Turn:
    content = answer["output"]["message"]["content"]
    return Turn(
        text="".join(block["text"] for block in content if "text" in block),
        calls=tuple(
            ToolCall(name=block["toolUse"]["name"], arguments=block["toolUse"]["input"])
            for block in content
            if "toolUse" in block
        ),
        finish=answer["stopReason"],
        tokens=_tokens(answer),
    )
