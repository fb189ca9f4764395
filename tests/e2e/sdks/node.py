"""
SDKs for Node: programs of `tests/node` that run as long as they are asked.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from scripts.node_setup import NODE, NODE_DIR, ensure_installed
from tests.e2e.sdks.client import ToolCall, Turn

__all__ = ["NodeSdk", "NodeSdkError"]

_LONGEST_LINE = 1 << 20


class NodeSdkError(RuntimeError):
    """The SDK raised; the message is its own."""


class NodeSdk:
    """
    Asks through a program.

    Args:
        base_url: For OpenAI's dialect.
        key: Likewise.
        program: Which.
        arguments: For it.
    """

    def __init__(self, base_url: str, key: str, program: str, *arguments: str) -> None:
        self._environment = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key}
        self._command = (str(NODE_DIR / program), *arguments)
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, model: str, question: str) -> Turn:
        """Ask one question."""
        [turn] = await self._turns("ask", model, question)
        return turn

    async def stream(self, model: str, question: str) -> Turn:
        """Ask one question and read the answer as it comes."""
        [turn] = await self._turns("stream", model, question)
        return turn

    async def use_tool(self, model: str, question: str) -> tuple[Turn, Turn]:
        """Ask one question with a tool at hand; when it is called, give its result and read the answer."""
        asked, answered = await self._turns("use_tool", model, question)
        return asked, answered

    async def stream_tool(self, model: str, question: str) -> Turn:
        """Ask one question with a tool at hand, and read the call as it comes."""
        [turn] = await self._turns("stream_tool", model, question)
        return turn

    async def close(self) -> None:
        """Close its connections."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()

    async def _turns(self, operation: str, model: str, question: str) -> list[Turn]:
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        case = {"operation": operation, "model": model, "question": question}
        process.stdin.write(json.dumps(case).encode() + b"\n")
        await process.stdin.drain()
        result = json.loads(await process.stdout.readline())
        if "error" in result:
            raise NodeSdkError(result["error"])
        return [_turn(turn) for turn in result["turns"]]

    async def _start(self) -> asyncio.subprocess.Process:
        await asyncio.to_thread(ensure_installed)
        self._process = await asyncio.create_subprocess_exec(
            str(NODE),
            *self._command,
            cwd=NODE_DIR,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
        return self._process


def _turn(told: Any) -> Turn:
    return Turn(
        text=told["text"],
        calls=tuple(ToolCall(name=call["name"], arguments=call["arguments"]) for call in told["calls"]),
        finish=told["finish"],
        tokens=(told["tokens"][0], told["tokens"][1]),
        pieces=told["pieces"],
    )
