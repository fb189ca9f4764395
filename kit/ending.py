"""How a process of ours ends: its exit codes, and how it refuses settings that it cannot use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["EXIT_CONFIG", "EXIT_FAILED", "EXIT_HARD", "EXIT_OK", "SAME_WISH_S", "refuse"]

EXIT_OK: Final = 0
"""A stop that was asked for."""
EXIT_FAILED: Final = 1
"""A failure."""
EXIT_CONFIG: Final = 2
"""Settings that are not usable."""
EXIT_HARD: Final = 130
"""A second signal cut the stop short."""

SAME_WISH_S: Final = 0.4
"""
For how long a further signal is the same wish to stop, and not a second one: a terminal signals every process
of its group, and a supervisor passes the signal on.
"""


def refuse(problems: Iterable[str]) -> int:
    """Tell the operator what is wrong with the settings, one line each, and return the exit code for it."""
    for problem in problems:
        print(f"headrace: {problem}", file=sys.stderr)  # noqa: T201 - logs are not set up, and this is for people
    return EXIT_CONFIG
