"""
Valkey, for services that share something that must be quick and may be lost.

Exchanges have a limit in time, connections a limit in number. A server that does not answer is left alone for
a moment, so that nobody waits for it again and again; then one exchange tries whether it is back. Whatever
goes wrong is a `ValkeyError`, which services survive: each knows what it does without.

Keys that one script touches share a part in braces, `{account/gateway}`, so that a cluster has them in one
place.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from kit.valkey_config import connection_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.clock import Clock
    from kit.secret import Secret
    from kit.valkey_config import ValkeyConfig

__all__ = ["Script", "Trouble", "Valkey", "ValkeyError"]

Argument = str | bytes | int | float
"""What a command is made of."""

_FAILURES_TO_PAUSE: Final = 3
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0


class Trouble(StrEnum):
    """What is wrong."""

    AWAY = "away"
    """No connection, or one that broke."""
    SLOW = "slow"
    """No answer in time."""
    FULL = "full"
    """It has no memory left."""
    ERROR = "error"
    """It answered with an error."""
    PAUSED = "paused"
    """It was away or slow a moment ago, and was not asked."""


class ValkeyError(Exception):
    """
    An exchange failed. Whether the server carried it out is not known, unless it is FULL or PAUSED.

    Attributes:
        trouble: In which way.
    """

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(f"Valkey: {message}")
        self.trouble = trouble


class Script:
    """
    A script in Lua, which the server carries out as one.

    Args:
        text: The script.
    """

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha: str = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Valkey:
    """
    Exchanges with one server. Belongs to one event loop; connects when it is first used.

    Args:
        url: Where it is, with user and password.
        settings: Limits.
        clock: Measures pauses.
    """

    def __init__(self, url: Secret, settings: ValkeyConfig, *, clock: Clock) -> None:
        self._url = url
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.connections)
        self._idle: deque[Any] = deque()
        self._pause = _Pause(clock)
        self._closed = False

    async def execute(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """
        Carry out a command and return its answer; texts in it are bytes.

        Args:
            command: The command's name and arguments.
            timeout_s: The limit in time, when it is not that of the settings.

        Raises:
            ValkeyError: It did not work.
        """
        answer = (await self._exchange([command], timeout_s))[0]
        if isinstance(answer, _theirs().ValkeyError):
            raise _ours(answer)
        return answer

    async def pipeline(
        self, commands: Sequence[Sequence[Argument]], *, timeout_s: float | None = None
    ) -> list[Any]:
        """
        Carry out commands in one round trip, each by itself, and return their answers.

        Raises:
            ValkeyError: One did not work; others may have.
        """
        answers = await self._exchange(commands, timeout_s) if commands else []
        for answer in answers:
            if isinstance(answer, _theirs().ValkeyError):
                raise _ours(answer)
        return answers

    async def run(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[Argument] = (),
        *,
        timeout_s: float | None = None,
    ) -> Any:
        """
        Run a script and return what it returns. In one round trip, and two where the server has forgotten it.

        Raises:
            ValkeyError: It did not work.
        """
        return (await self.run_each(script, [(keys, arguments)], timeout_s=timeout_s))[0]

    async def run_each(
        self,
        script: Script,
        calls: Sequence[tuple[Sequence[str | bytes], Sequence[Argument]]],
        *,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """
        Run a script several times in one round trip, with other keys and arguments, each by itself.

        Raises:
            ValkeyError: One did not work; others may have.
        """
        answers = await self._scripts("EVALSHA", script.sha, calls, timeout_s)
        forgotten = [
            place for place, answer in enumerate(answers) if isinstance(answer, _theirs().NoScriptError)
        ]
        if forgotten:
            again = await self._scripts("EVAL", script.text, [calls[place] for place in forgotten], timeout_s)
            for place, answer in zip(forgotten, again, strict=True):
                answers[place] = answer
        for answer in answers:
            if isinstance(answer, _theirs().ValkeyError):
                raise _ours(answer)
        return answers

    async def check(self) -> None:
        """
        See whether the server answers.

        Raises:
            ValkeyError: It does not.
        """
        await self.execute("PING")

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def _scripts(
        self,
        command: str,
        script: str,
        calls: Sequence[tuple[Sequence[str | bytes], Sequence[Argument]]],
        timeout_s: float | None,
    ) -> list[Any]:
        commands = [(command, script, len(keys), *keys, *arguments) for keys, arguments in calls]
        return await self._exchange(commands, timeout_s) if commands else []

    async def _exchange(self, commands: Sequence[Sequence[Argument]], timeout_s: float | None) -> list[Any]:
        self._pause.enter()
        try:
            async with asyncio.timeout(timeout_s or self._settings.timeout_s), self._turns:
                answers = await self._with_connection(commands)
        except TimeoutError:
            self._pause.failed()
            raise ValkeyError(Trouble.SLOW, "no answer in time") from None
        except (_theirs().ConnectionError, _theirs().TimeoutError, OSError) as error:
            self._pause.failed()
            raise ValkeyError(Trouble.AWAY, f"no connection ({type(error).__name__})") from None
        except BaseException:
            self._pause.unknown()
            raise
        self._pause.worked()
        return answers

    async def _with_connection(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        connection = await self._connection()
        try:
            if len(commands) == 1:
                packed = connection.pack_command(*commands[0])
            else:
                packed = connection.pack_commands(commands)
            await connection.send_packed_command(packed, check_health=False)
            answers = [await _answer(connection) for _ in commands]
        except BaseException:
            # Its answers would be taken for those of the next one.
            await connection.disconnect(nowait=True)
            raise
        # A server that has become a replica: where it was, there may be another one by now.
        if self._closed or any(isinstance(answer, _theirs().ReadOnlyError) for answer in answers):
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)
        return answers

    async def _connection(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_connected and not connection._reader.at_eof():  # noqa: SLF001 - it has no word for it
                return connection
            await connection.disconnect(nowait=True)
        kind, arguments = connection_of(self._url, self._settings)
        connection = kind(**arguments, retry=_never_again())
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection


class _Pause:
    """Keeps everybody from a server that does not answer, for a while that grows; lets one try after it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until_s = 0.0
        self._trying = False

    def enter(self) -> None:
        """Go on, or raise."""
        if self._failures < _FAILURES_TO_PAUSE:
            return
        if self._trying or self._clock.monotonic_s() < self._until_s:
            raise ValkeyError(Trouble.PAUSED, "not asked, as it did not answer a moment ago")
        self._trying = True

    def worked(self) -> None:
        """Note an answer."""
        self._failures = 0
        self._trying = False

    def failed(self) -> None:
        """Note that there was none."""
        self._failures = min(self._failures + 1, _FAILURES_TO_PAUSE + 16)
        self._trying = False
        growth = max(0, self._failures - _FAILURES_TO_PAUSE)
        self._until_s = self._clock.monotonic_s() + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**growth)

    def unknown(self) -> None:
        """Note that whoever asked went away."""
        self._trying = False


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except _theirs().ResponseError as error:
        return error


@functools.cache
def _theirs() -> Any:
    """Return the library's errors. Importing it takes 100 ms, and most processes have no Valkey."""
    return importlib.import_module("valkey.exceptions")


def _never_again() -> Any:
    """Return the library's way of not trying again, which is for us to decide."""
    from valkey.asyncio.retry import Retry
    from valkey.backoff import NoBackoff

    return Retry(NoBackoff(), 0)


def _ours(error: Any) -> ValkeyError:
    full = isinstance(error, _theirs().OutOfMemoryError) or str(error).startswith("OOM ")
    return ValkeyError(Trouble.FULL if full else Trouble.ERROR, str(error)[:200])
