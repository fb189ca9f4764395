"""
What was purged when, so that a purge costs the same however many answers it concerns.

Purges are counted. An answer is as old as the count was when it was asked for, and of no more use once a
purge of its account, gateway, provider or chosen name has a higher number. So an answer that was being
fetched while a purge came is not kept after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.cache.core.key import Key

__all__ = ["MOST_EPOCHS", "Epochs", "Scope"]

MOST_EPOCHS: Final = 4096
"""Purges of different things of an account that are told apart; one more forgets all of the account's."""

_ANY: Final = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """
    What to forget.

    Attributes:
        account: Whose answers, as keys have it.
        gateway: Of which gateway; empty for all.
        provider: Which provider's; empty for all.
        mark: Those under one chosen name; empty for all.
    """

    account: bytes
    gateway: bytes = _ANY
    provider: bytes = _ANY
    mark: bytes = _ANY


class Epochs:
    """
    The purges that one process knows of.

    Attributes:
        count: How many there were.

    Args:
        count: What to count from: more than any earlier process came to, so that keys from its time are old.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._first = count
        self._by_account: dict[bytes, dict[tuple[bytes, bytes, bytes], int]] = {}

    def purge(self, scope: Scope) -> None:
        """Note a purge."""
        self.count += 1
        purges = self._by_account.setdefault(scope.account, {})
        place = (scope.gateway, scope.provider, scope.mark)
        if place not in purges and len(purges) >= MOST_EPOCHS:
            purges.clear()
            place = (_ANY, _ANY, _ANY)
        purges[place] = self.count

    def of(self, key: Key, provider: bytes = _ANY) -> int:
        """Return the number of the latest purge that concerns a key, and what a provider gave under it."""
        purges = self._by_account.get(key.account)
        if not purges:
            return self._first
        gateway = key.gateway
        return max(
            self._first,
            purges.get((_ANY, _ANY, _ANY), 0),
            purges.get((gateway, _ANY, _ANY), 0),
            purges.get((_ANY, provider, _ANY), 0),
            purges.get((gateway, provider, _ANY), 0),
            purges.get((gateway, _ANY, key.mark), 0),
        )
