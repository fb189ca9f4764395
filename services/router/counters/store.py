"""What router needs of counters. `memory` and `valkey` are them; one contract suite holds for both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.router.core.windows import Bucket, Cell, Unit

__all__ = [
    "KNOWN_AGAIN_MS",
    "LATE_MS",
    "Counters",
    "CountersAwayError",
    "GivingBack",
    "Outcome",
    "Scope",
    "Settling",
    "Take",
    "Taken",
]

KNOWN_AGAIN_MS: Final = 60_000
"""How long an id is known again that has nothing to settle, or was settled: as long as a call is repeated."""

LATE_MS: Final = 86_400_000
"""How long what ran out may still be settled: a request may take longer than what it reserved."""


class Scope(NamedTuple):
    """The gateway that counters belong to."""

    account_id: str
    gateway_id: str


class Take(NamedTuple):
    """An amount to be counted against a limit. One of requests is final; any other is reserved."""

    bucket: Bucket
    amount: int


class Taken(NamedTuple):
    """
    Requests that were counted.

    Attributes:
        bucket: Against what.
        window: Number of the window in which.
        amount: How many.
    """

    bucket: Bucket
    window: int
    amount: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GivingBack:
    """
    What was counted and is not used.

    Attributes:
        id: Known again: repeated, it is given back once. Empty: nothing is known again.
    """

    scope: Scope
    id: str = ""
    taken: tuple[Taken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What became of takes.

    Attributes:
        granted: Whether they were counted: all of them, or none.
        now_ms: When, since 1970, by the clock that all replicas share.
        cells: Each bucket's counter, after it.
        reserved: Whether there is something to settle.
        apart: Whether it was counted apart from what replicas share, because that is away.
    """

    granted: bool
    now_ms: int
    cells: tuple[Cell, ...]
    reserved: bool = False
    apart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """
    What a reservation is replaced with.

    Attributes:
        amounts: What was really used, by unit; what is missing was not told, and what was reserved counts.
    """

    scope: Scope
    id: str
    amounts: Mapping[Unit, int] = field(default_factory=dict)


class CountersAwayError(Exception):
    """
    The counters cannot be reached. Whether a take was counted is not known.

    Attributes:
        lasting: Whether it will be so until somebody does something about it.
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class Counters(Protocol):
    """
    Counts. Each method is atomic for each scope, whoever else counts there at the same time.

    All raise `CountersAwayError`.
    """

    async def reserve(
        self, scope: Scope, reservation_id: str, takes: Sequence[Take], lifetime_ms: int
    ) -> Outcome:
        """
        Count takes if every bucket admits them, all or none.

        Args:
            scope: Whose counters.
            reservation_id: Known again: repeated, it is granted and counted once. Empty: there is nothing to
                settle, and nothing is known again.
            takes: What to count.
            lifetime_ms: After this, what was reserved and not settled counts as used, until it is settled.
        """
        ...

    async def settle(self, settlings: Sequence[Settling]) -> Sequence[bool]:
        """
        Put what was used in the place of reservations.

        One that is not known, or was settled before, changes nothing; if it is reserved later, because
        messages overtook one another, it is granted and counts nothing.

        Returns:
            For each whether it was known.
        """
        ...

    async def give_back(self, givings: Sequence[GivingBack]) -> None:
        """Take back requests that were counted and are not used, as far as their windows still matter."""
        ...

    async def look(self, scope: Scope, buckets: Sequence[Bucket]) -> Outcome:
        """Read counters."""
        ...
