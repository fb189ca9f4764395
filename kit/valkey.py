"""
Valkey, for services that share something that must be quick and may be lost.

It may be one server, one that sentinels look after, or a cluster; the address says which. Whatever goes wrong
is a `ValkeyError`, which services survive: each knows what it does without.

Keys that one script touches share a part in braces, `{account/gateway}`, so that a cluster has them in one
place. What is asked for in one round trip is one for each server that has part of it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from kit.valkey_config import target_of
from kit.valkey_node import Argument, Node, Pause, Trouble, ValkeyError, theirs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.clock import Clock
    from kit.secret import Secret
    from kit.valkey_config import ValkeyConfig
    from kit.valkey_node import Command, Servers

__all__ = ["Argument", "Script", "Trouble", "Valkey", "ValkeyError"]

# What servers say while another one takes over from them, or from one that they need.
_TAKING_OVER: Final = ("CLUSTERDOWN ", "MASTERDOWN ", "NOREPLICAS ", "READONLY ", "TRYAGAIN ")


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
    Exchanges with Valkey. Belongs to one event loop; connects when it is first used.

    Args:
        url: Where it is, with user and password.
        settings: Limits.
        clock: Measures pauses.
    """

    def __init__(self, url: Secret, settings: ValkeyConfig, *, clock: Clock) -> None:
        self._settings = settings
        self._servers = _servers(url, settings, clock)

    async def execute(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """
        Carry out a command and return its answer; texts in it are bytes.

        Args:
            command: The command's name and arguments.
            timeout_s: The limit in time, when it is not that of the settings.

        Raises:
            ValkeyError: It did not work.
        """
        return (await self.pipeline([command], timeout_s=timeout_s))[0]

    async def pipeline(
        self, commands: Sequence[Sequence[Argument]], *, timeout_s: float | None = None
    ) -> list[Any]:
        """
        Carry out commands in one round trip, each by itself, and return their answers.

        Raises:
            ValkeyError: One did not work; others may have.
        """
        return _all_good(_told(await self._exchange([tuple(command) for command in commands], timeout_s)))

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
        return _all_good(await self.run_apart(script, calls, timeout_s=timeout_s))

    async def run_apart(
        self,
        script: Script,
        calls: Sequence[tuple[Sequence[str | bytes], Sequence[Argument]]],
        *,
        timeout_s: float | None = None,
    ) -> list[Any]:
        """
        Run a script several times as `run_each` does, and return an answer or a `ValkeyError` for each.

        Raises:
            ValkeyError: None of them was answered.
        """
        answers = await self._scripts("EVALSHA", script.sha, calls, timeout_s)
        forgotten = [
            place for place, answer in enumerate(answers) if isinstance(answer, theirs().NoScriptError)
        ]
        if forgotten:
            again = await self._scripts("EVAL", script.text, [calls[place] for place in forgotten], timeout_s)
            for place, answer in zip(forgotten, again, strict=True):
                answers[place] = answer
        return _told(answers)

    async def check(self) -> None:
        """
        See whether the server answers.

        Raises:
            ValkeyError: It does not.
        """
        await self.execute("PING")

    async def close(self) -> None:
        """Close all connections."""
        await self._servers.close()

    async def _scripts(
        self,
        command: str,
        script: str,
        calls: Sequence[tuple[Sequence[str | bytes], Sequence[Argument]]],
        timeout_s: float | None,
    ) -> list[Any]:
        commands = [(command, script, len(keys), *keys, *arguments) for keys, arguments in calls]
        return await self._exchange(commands, timeout_s)

    async def _exchange(self, commands: Sequence[Command], timeout_s: float | None) -> list[Any]:
        if not commands:
            return []
        return await self._servers.exchange(commands, timeout_s or self._settings.timeout_s)


def _servers(url: Secret, settings: ValkeyConfig, clock: Clock) -> Servers:
    target = target_of(url)
    match target.kind:
        case "cluster":
            from kit.valkey_cluster import Cluster

            return Cluster(target, settings, clock=clock)
        case "sentinel":
            from kit.valkey_sentinel import Sentinels

            return Sentinels(target, settings, clock=clock)
        case _:
            return Node(url, settings, pause=Pause(clock))


def _told(answers: list[Any]) -> list[Any]:
    """Put our errors in the place of the library's."""
    return [_ours(answer) if isinstance(answer, theirs().ValkeyError) else answer for answer in answers]


def _all_good(answers: list[Any]) -> list[Any]:
    """Return them, or raise the first error among them."""
    for answer in answers:
        if isinstance(answer, ValkeyError):
            raise answer
    return answers


def _ours(error: Any) -> ValkeyError:
    return ValkeyError(_trouble_of(error), str(error)[:200])


def _trouble_of(error: Any) -> Trouble:
    text = str(error)
    if isinstance(error, theirs().OutOfMemoryError) or text.startswith("OOM "):
        return Trouble.FULL
    if isinstance(error, theirs().ReadOnlyError) or text.startswith(_TAKING_OVER):
        return Trouble.AWAY
    return Trouble.ERROR
