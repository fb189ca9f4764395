"""Keeps an installation what files say, while it runs: `headrace up -f`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

from cli.api import ApiError
from cli.manifest.carry_out import CarryOut
from cli.manifest.load import files_of
from cli.manifest.plan import compare, read_files
from cli.manifest.render import lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cli.manifest.compile import Compiled
    from cli.manifest.plan import Options
    from cli.session import Session

__all__ = ["Watch"]

_POLL_S: Final = 1.0
_LONGEST_WAIT: Final = 60
# Nobody answers, or nobody can at the moment.
_AGAIN: Final = frozenset({0, 408, 429, 500, 502, 503, 504})

_Stamp: TypeAlias = tuple[int, int, int]


class Watch:
    """
    Applies files when they change, or a file that a key in them is read from.

    What failed because somebody was away is tried again, later and later. Nothing that goes wrong ends it; a
    broken file changes nothing.

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
        self._seen: dict[Path, _Stamp] | None = None
        self._secrets: set[Path] = set()
        self._said = ""

    async def run(self) -> None:
        """Apply the files now, whenever they change, and again after a failure that may pass."""
        wait, left = 1, 0
        while True:
            now = self._stamps()
            is_other = now != self._seen
            if is_other or left == 1:
                self._seen = now
                if is_other:
                    wait, self._said = 1, ""
                # Calls wait, and what else `up` does must not.
                is_done = await asyncio.to_thread(self.apply)
                left, wait = (0, 1) if is_done else (wait, min(2 * wait, _LONGEST_WAIT))
            else:
                left = max(0, left - 1)
            await asyncio.sleep(self._poll_s)

    def apply(self) -> bool:
        """Apply the files once; tell whether there is no use in trying again before something changes."""
        try:
            return self._apply()
        except ApiError as error:
            return self._failed("the files could not be applied", error)
        except Exception as error:  # noqa: BLE001  # `up` goes on whatever a file holds
            self._say(f"the files could not be applied: {error!r}")
            return True

    def _apply(self) -> bool:
        compiled = self._read()
        if compiled.problems:
            self._tell(compiled.problems)
            return True
        api = self._connect().api
        plan = compare(api, compiled, self._options)
        if plan.problems:
            self._tell(plan.problems)
            return True
        carry_out = CarryOut(api, lambda name, _: self._say(f"the token {name} is made"))
        for line in lines(plan.steps):
            self._say(line)
        for number, step in enumerate(plan.steps):
            try:
                carry_out.make(step)
            except ApiError as error:
                return self._failed(
                    f"{number} of {len(plan.steps)} changes are made; {step.title} is not", error
                )
        self._said = ""
        self._say(f"the files are applied: {len(plan.steps)} changed, {plan.unchanged} as they were to be")
        return True

    def _read(self) -> Compiled:
        compiled = read_files(self._files, self._options)
        new = compiled.read - self._secrets
        if new:
            # Looked at before they are read, so that no change in between is missed.
            self._secrets |= new
            self._seen = {**(self._seen or {}), **{path: _stamp(path) for path in new}}
            compiled = read_files(self._files, self._options)
        return compiled

    def _failed(self, what: str, error: ApiError) -> bool:
        will_try = error.status in _AGAIN
        text = f"{what}: {error}" + (" It is tried again." if will_try else "")
        # Whoever is away for long is told of once.
        if text != self._said:
            self._say(text)
        self._said = text
        return not will_try

    def _tell(self, problems: Sequence[object]) -> None:
        for problem in problems:
            self._say(str(problem))
        self._say("the files have mistakes, so nothing was changed")

    def _stamps(self) -> dict[Path, _Stamp]:
        """Give what changes when a file does."""
        return {path: _stamp(path) for path in (*files_of(self._files)[0], *self._secrets)}


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
