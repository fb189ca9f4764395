"""
What `headrace up` prints: the processes' lines, and its own.

On a terminal every line has its process's name, in a colour of its own. Elsewhere the processes' lines go to
standard output as they are, for machines, and ours go to standard error.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.backoff import Restart

__all__ = ["Printer"]

_COLOURS: Final = (
    "cyan",
    "green",
    "magenta",
    "blue",
    "yellow",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
)
_SELF: Final = "headrace"


class Printer:
    """
    Prints; also the supervisor's watcher.

    Args:
        names: The processes, in the order in which colours are given to them.
        console: The terminal; by default standard output, when it is one.
    """

    def __init__(self, names: Sequence[str], console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.is_terminal = self.console.is_terminal
        self._width = max((len(name) for name in (*names, _SELF)), default=0)
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}

    def line(self, name: str, text: str) -> None:
        """Print a line that a process wrote."""
        if self.is_terminal:
            self._prefixed(name, self._colours.get(name, "white"), Text.from_ansi(text))
            return
        # Nobody reads any more: that is no reason to stop serving.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def say(self, text: str, *, style: str = "") -> None:
        """Print something of our own."""
        if self.is_terminal:
            self._prefixed(_SELF, "bold", Text(text, style=style))
            return
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{_SELF}: {text}\n")
            sys.stderr.flush()

    def show(self, text: str) -> None:
        """Print something to be copied: as it is, on standard output."""
        if self.is_terminal:
            self.console.print(Text(text))
            return
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def ended(self, name: str, status: int, uptime_s: float, restart: Restart) -> None:
        """Say that a process ended."""
        when = "now" if restart.delay_s == 0 else f"in {restart.delay_s:g} s"
        self.say(f"{name} {reason(status)} after {uptime_s:.1f} s; starting it again {when}", style="yellow")

    def crash_loop(self, name: str, restart: Restart, last_lines: Sequence[str]) -> None:
        """Say loudly that a process does not stay up."""
        self.say(
            f"{name} HAS FAILED {restart.failures} TIMES IN A ROW. Its last lines were:", style="bold red"
        )
        for text in last_lines or ("(none)",):
            self.say(f"    {text}", style="red")
        self.say(
            f"{name} is tried again every {restart.delay_s:g} s or later; `headrace doctor` may help",
            style="bold red",
        )

    def killed(self, name: str) -> None:
        """Say that a process did not stop by itself."""
        self.say(f"{name} did not stop in time and was killed", style="yellow")

    def _prefixed(self, name: str, colour: str, text: Text) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.console.print(Text.assemble((f"{name:<{self._width}} │ ", colour), text))


def reason(status: int) -> str:
    """Say in words how a process ended, from its exit status."""
    if status >= 0:
        return "ended" if status == 0 else f"failed with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
