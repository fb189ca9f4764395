"""Shows on a terminal how far a start is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.processes import PROVIDERS_LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cli.printer import Printer
    from cli.ready import ProcessState

__all__ = ["Progress"]

_PREPARES_MODEL: Final = "preparing the local model"


class Progress:
    """
    A table of processes below the log lines, as long as the start takes; nothing where there is no terminal.

    Args:
        printer: Where it is shown.
        names: The processes.
    """

    def __init__(self, printer: Printer, names: Sequence[str]) -> None:
        self._printer = printer
        self._spinners = {name: Spinner("dots") for name in names}
        self._ready_after_s: dict[str, float] = {}
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the block runs."""
        if not self._printer.is_terminal:
            yield
            return
        # No refreshing thread: processes are being forked meanwhile, and threads and forks do not mix.
        with Live(console=self._printer.console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def update(self, states: dict[str, ProcessState], elapsed_s: float) -> None:
        """Show new states."""
        for name, state in states.items():
            if state.is_ready:
                self._ready_after_s.setdefault(name, elapsed_s)
        if self._live is not None:
            self._live.update(self._table(states), refresh=True)

    def _table(self, states: dict[str, ProcessState]) -> Table:
        table = Table.grid(padding=(0, 1))
        for name, spinner in self._spinners.items():
            state = states.get(name)
            if state is not None and state.is_ready:
                table.add_row(
                    Text("✓", style="green"), name, Text(f"{self._ready_after_s[name]:.1f} s", style="dim")
                )
                continue
            table.add_row(spinner, name, Text(_doing(name, state), style="dim"))
        return table


def _doing(name: str, state: ProcessState | None) -> str:
    if state is not None and state.trouble:
        return state.trouble
    return _PREPARES_MODEL if name == PROVIDERS_LOCAL else "starting"
