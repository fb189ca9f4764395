"""
Sends what many ask at the same time in few round trips: what comes while others are under way goes together.

Who comes alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from kit.valkey import ValkeyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.valkey import Script, Valkey

__all__ = ["Together"]

_MOST_AT_ONCE: Final = 4
_MOST_IN_ONE: Final = 64

_Call = tuple["Sequence[str]", "Sequence[str | int]"]


class Together:
    """
    Runs one script for many.

    Args:
        valkey: The server.
        script: The script.
    """

    def __init__(self, valkey: Valkey, script: Script) -> None:
        self._valkey = valkey
        self._script = script
        self._under_way = 0
        self._waiting: list[tuple[_Call, asyncio.Future[Any]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """
        Run the script and return what it returns.

        Raises:
            ValkeyError: It did not work, for this or for all that went together with it.
        """
        call = (keys, arguments)
        if self._under_way >= _MOST_AT_ONCE:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._waiting.append((call, answer))
            return await answer
        self._under_way += 1
        try:
            return (await self._valkey.run_each(self._script, [call]))[0]
        finally:
            self._ended()

    def _ended(self) -> None:
        self._under_way -= 1
        if not self._waiting:
            return
        some, self._waiting = self._waiting[:_MOST_IN_ONE], self._waiting[_MOST_IN_ONE:]
        self._under_way += 1
        task = asyncio.create_task(self._run(some), name="counting together")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, some: list[tuple[_Call, asyncio.Future[Any]]]) -> None:
        # Who gave up while waiting has asked nothing.
        asked = [(call, answer) for call, answer in some if not answer.done()]
        try:
            found = await self._valkey.run_apart(self._script, [call for call, _ in asked])
        except ValkeyError as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(ValkeyError(error.trouble, "no answer, as for others"))
        except BaseException:
            for _, answer in asked:
                answer.cancel()
            raise
        else:
            for (_, answer), each in zip(asked, found, strict=True):
                if answer.done():
                    continue
                if isinstance(each, ValkeyError):
                    answer.set_exception(each)
                else:
                    answer.set_result(each)
        finally:
            self._ended()
