"""
One Valkey server: its connections, and when it is left alone.

Exchanges have a limit in time, connections a limit in number. A server that does not answer is left alone for
a moment, so that nobody waits for it again and again; then one exchange tries whether it is back. Which
servers there are, and who has which keys, is for `kit.valkey` and the modules beside it.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import ssl
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from kit.valkey_config import connection_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.clock import Clock
    from kit.secret import Secret
    from kit.valkey_config import ValkeyConfig

__all__ = ["Argument", "Command", "Node", "Pause", "Servers", "Trouble", "ValkeyError", "theirs"]

Argument = str | bytes | int | float
"""What a command is made of."""

Command = tuple[Argument, ...]

_FAILURES_TO_PAUSE: Final = 3
# Short, since there are requests that wait for it to come back.
_PAUSE_S: Final = 0.25


class Trouble(StrEnum):
    """What is wrong."""

    AWAY = "away"
    """No connection, or one that broke, or to one from which another one is taking over."""
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


class Servers(Protocol):
    """Whoever carries out commands: one server, or several."""

    async def exchange(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """
        Carry out commands and return an answer for each: the server's, or its error, or a `ValkeyError`.

        Raises:
            ValkeyError: None of them was answered.
        """

    async def close(self) -> None:
        """Close all connections."""


class Pause:
    """Keeps everybody from a server that does not answer, for a while; lets one try after it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until_s = 0.0
        self._trying = False

    @property
    def on(self) -> bool:
        """Whether nobody is let through at the moment but who tries."""
        return self._failures >= _FAILURES_TO_PAUSE

    def enter(self) -> None:
        """Go on, or raise."""
        if not self.on:
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
        self._failures += 1
        self._trying = False
        self._until_s = self._clock.monotonic_s() + _PAUSE_S

    def unknown(self) -> None:
        """Note that whoever asked went away."""
        self._trying = False


class Node:
    """
    Exchanges with one server. Belongs to one event loop; connects when it is first used.

    Args:
        url: Where it is, with user and password.
        settings: Limits.
        pause: Keeps everybody from it while it does not answer.
    """

    def __init__(self, url: Secret, settings: ValkeyConfig, *, pause: Pause) -> None:
        self._url = url
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.connections)
        self._idle: deque[Any] = deque()
        self._pause = pause
        self._closed = False

    async def exchange(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """
        Carry out commands in one round trip, and return their answers; one may be the server's error.

        Raises:
            ValkeyError: AWAY, SLOW or PAUSED.
        """
        self._pause.enter()
        try:
            async with asyncio.timeout(timeout_s), self._turns:
                answers = await self._with_connection(commands)
        except TimeoutError:
            await self._failed()
            raise ValkeyError(Trouble.SLOW, "no answer in time") from None
        except (theirs().ConnectionError, theirs().TimeoutError, OSError) as error:
            await self._failed()
            raise ValkeyError(Trouble.AWAY, f"no connection ({_why(error, self._settings)})") from None
        except BaseException:
            self._pause.unknown()
            raise
        self._pause.worked()
        return answers

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await self._drop_idle()

    async def _failed(self) -> None:
        self._pause.failed()
        if self._pause.on:
            # The server may have gone without a word: connections from before would fail one after another
            # when it is back.
            await self._drop_idle()

    async def _drop_idle(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def _with_connection(self, commands: Sequence[Command]) -> list[Any]:
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
        if self._closed or any(isinstance(answer, theirs().ReadOnlyError) for answer in answers):
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


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except theirs().ResponseError as error:
        return error


def _why(error: Exception, settings: ValkeyConfig) -> str:
    """Return what is wrong, as far as an operator can mend it; never what a server or an address says."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {cause.verify_message.rstrip('.')}"
    if isinstance(cause, OSError):
        for path in (settings.ca_file, settings.cert_file, settings.key_file):
            if path is not None and not path.exists():
                return f"there is no file {path}"
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return cause.reason.replace("_", " ").lower()
    return type(error).__name__


@functools.cache
def theirs() -> Any:
    """Return the library's errors. Importing it takes 100 ms, and most processes have no Valkey."""
    return importlib.import_module("valkey.exceptions")


def _never_again() -> Any:
    """Return the library's way of not trying again, which is for us to decide."""
    from valkey.asyncio.retry import Retry
    from valkey.backoff import NoBackoff

    return Retry(NoBackoff(), 0)
