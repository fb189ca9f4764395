"""Keeps an installation what files say, while it runs: `headrace up -f`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cli.api import ApiError
from cli.manifest.carry_out import CarryOut
from cli.manifest.load import files_of
from cli.manifest.plan import compare, read_files
from cli.manifest.render import lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cli.manifest.plan import Options
    from cli.session import Session

__all__ = ["Watch"]

_POLL_S: Final = 1.0


class Watch:
    """
    Applies files when they change. Nothing that goes wrong ends it; a broken file changes nothing.

    Args:
        files: Files, and directories of files.
        connect: Gives the way to the installation.
        options: How they are applied.
        say: Tells what happens.
        poll_s: How often the files are looked at.
    """

    def __init__(
        self,
        files: Sequence[Path],
        connect: Callable[[], Session],
        options: Options,
        say: Callable[[str], None],
        *,
        poll_s: float = _POLL_S,
    ) -> None:
        self._files = files
        self._connect = connect
        self._options = options
        self._say = say
        self._poll_s = poll_s

    async def run(self) -> None:
        """Apply the files now and whenever they change."""
        seen = None
        while True:
            state = self._state()
            if state != seen:
                seen = state
                # Calls wait, and what else `up` does must not.
                await asyncio.to_thread(self.apply)
            await asyncio.sleep(self._poll_s)

    def apply(self) -> None:
        """Apply the files once."""
        try:
            self._apply()
        except ApiError as error:
            self._say(f"the files could not be applied: {error}")
        except Exception as error:  # noqa: BLE001  # `up` goes on whatever a file holds
            self._say(f"the files could not be applied: {error!r}")

    def _apply(self) -> None:
        compiled = read_files(self._files, self._options)
        if compiled.problems:
            self._tell(compiled.problems)
            return
        api = self._connect().api
        plan = compare(api, compiled, self._options)
        if plan.problems:
            self._tell(plan.problems)
            return
        carry_out = CarryOut(api, lambda name, _: self._say(f"the token {name} is made"))
        for line in lines(plan.steps):
            self._say(line)
        for number, step in enumerate(plan.steps):
            try:
                carry_out.make(step)
            except ApiError as error:
                self._say(f"{number} of {len(plan.steps)} changes are made; {step.title}: {error}")
                return
        self._say(f"the files are applied: {len(plan.steps)} changed, {plan.unchanged} as they were to be")

    def _tell(self, problems: Sequence[object]) -> None:
        for problem in problems:
            self._say(str(problem))
        self._say("the files have mistakes, so nothing was changed")

    def _state(self) -> tuple[tuple[str, int, int], ...]:
        """Give what changes when a file does."""
        found = []
        for file in files_of(self._files)[0]:
            try:
                status = file.stat()
            except OSError:
                found.append((str(file), 0, 0))
            else:
                found.append((str(file), status.st_mtime_ns, status.st_size))
        return tuple(found)
