"""
What is known of many providers, in memory that has a bound.

What is done with the operator's keys is shared by all accounts; what an account does with keys of its own, or
with a provider of its own, concerns that account alone. Whoever sends requests chooses names of models, so
that each account has a bound of its own, and a full one takes nothing new until something old is silent.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from services.router.core.engine.health_view import UNKNOWN, Look
from services.router.core.health import FRESH, Health, HealthRules, Phase, look, reported, settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.router.core.health_counts import Counts

__all__ = ["IDLE_S", "HealthBook", "HealthRow", "Subject"]

IDLE_S: Final = 900.0
"""What was not heard of for so long is forgotten."""

_MOST_SHARED: Final = 5_000
_MOST_OF_ACCOUNT: Final = 500
_MOST: Final = 20_000


class Subject(NamedTuple):
    """
    What health is known of: a model at a provider, or a key.

    Attributes:
        account_id: Account whose own it is; empty: the operator's, shared by all.
        model: Empty on native calls, and for a key.
        key: A stored key's id, `operator` or `request`; empty for a model.
    """

    account_id: str
    provider: str
    model: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRow:
    """
    What is shown of a subject.

    Attributes:
        retry_after_s: Until its circuit is tried again; None when it is not open.
    """

    subject: Subject
    look: Look
    retry_after_s: float | None
    successes: int
    failures: int
    refusals: int


class HealthBook:
    """
    Keeps what is known.

    Args:
        rules: When a circuit opens and closes.
        most_shared: Most subjects of the operator's.
        most_of_account: Most subjects of one account.
        most: Most subjects of all accounts.
    """

    def __init__(
        self,
        rules: HealthRules,
        *,
        most_shared: int = _MOST_SHARED,
        most_of_account: int = _MOST_OF_ACCOUNT,
        most: int = _MOST,
    ) -> None:
        self.rules = rules
        self._most_shared = most_shared
        self._most_of_account = most_of_account
        self._most = most
        self._shared: OrderedDict[Subject, Health] = OrderedDict()
        # Least recently heard of first, and so within each.
        self._accounts: OrderedDict[str, OrderedDict[Subject, Health]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Say how many subjects there are."""
        return len(self._shared) + self._count

    def find(self, subject: Subject, now_s: float) -> Health | None:
        """Return what is known of a subject."""
        kept = self._accounts.get(subject.account_id) if subject.account_id else self._shared
        found = kept.get(subject) if kept is not None else None
        return found if found is not None and now_s - found.heard_s <= IDLE_S else None

    def put(self, subject: Subject, health: Health) -> bool:
        """Keep what is known of a subject; False: there is no room for it."""
        account_id = subject.account_id
        if not account_id:
            return self._keep(self._shared, self._most_shared, subject, health)
        kept = self._accounts.get(account_id)
        if kept is None:
            kept = self._accounts[account_id] = OrderedDict()
        before = len(kept)
        done = self._keep(kept, self._most_of_account, subject, health)
        self._count += len(kept) - before
        self._accounts.move_to_end(account_id)
        while self._count > self._most:
            # At least the account that was heard of just now is left: its own bound is lower.
            _, dropped = self._accounts.popitem(last=False)
            self._count -= len(dropped)
        return done

    def report(self, subject: Subject, counts: Counts, now_s: float, draw: float) -> Phase | None:
        """Take note of how attempts ended; return where the circuit is when that changed."""
        before = self.find(subject, now_s) or FRESH
        after = reported(before, counts, now_s, self.rules, draw)
        return after.phase if self.put(subject, after) and after.phase is not before.phase else None

    def governing(
        self, provider: str, model: str, account_id: str, now_s: float
    ) -> tuple[Subject, Health] | None:
        """
        Find what an account goes by: what it saw itself lately, else what is shared.

        Args:
            provider: Slug of the provider.
            model: In its naming.
            account_id: Who asks.
            now_s: The time.
        """
        own = Subject(account_id, provider, model)
        found = self.find(own, now_s) if account_id else None
        if found is not None and (found.phase is not Phase.CLOSED or self._recent(found, now_s)):
            return own, found
        shared = Subject("", provider, model)
        health = self.find(shared, now_s)
        if health is not None:
            return shared, health
        return (own, found) if found is not None else None

    def look(self, provider: str, model: str, account_id: str, now_s: float) -> Look:
        """Say how a provider does with a model, for an account."""
        found = self.governing(provider, model, account_id, now_s)
        return UNKNOWN if found is None else look(found[1], now_s, self.rules)

    def rows(self, account_id: str, now_s: float, *, shared: bool, provider: str = "") -> Iterator[HealthRow]:
        """
        Show what is known, in order of provider, model and key.

        Args:
            account_id: Whose own.
            now_s: The time.
            shared: The operator's, too.
            provider: Only of this one; empty: of all.
        """
        subjects = [*self._accounts.get(account_id, ()), *(self._shared if shared else ())]
        for subject in sorted(subjects, key=lambda each: (*each[1:], each.account_id)):
            health = self.find(subject, now_s)
            if health is not None and provider in {"", subject.provider}:
                yield self._row(subject, health, now_s)

    def open_circuits(self, now_s: float) -> int:
        """Count the circuits that are not closed."""
        kept = [self._shared, *self._accounts.values()]
        return sum(
            health.phase is not Phase.CLOSED and now_s - health.heard_s <= IDLE_S
            for healths in kept
            for health in healths.values()
        )

    def _row(self, subject: Subject, health: Health, now_s: float) -> HealthRow:
        seen = look(health, now_s, self.rules)
        successes, failures, refusals = health.window.sums(now_s, self.rules.window_s)
        until_s = settled(health, now_s, self.rules).until_s
        return HealthRow(
            subject=subject,
            look=seen,
            retry_after_s=max(0.0, until_s - now_s) if seen.circuit == "open" else None,
            successes=successes,
            failures=failures,
            refusals=refusals,
        )

    def _recent(self, health: Health, now_s: float) -> bool:
        return any(health.window.sums(now_s, self.rules.window_s))

    def _keep(self, kept: OrderedDict[Subject, Health], most: int, subject: Subject, health: Health) -> bool:
        if subject not in kept and len(kept) >= most:
            oldest = next(iter(kept))
            if health.heard_s - kept[oldest].heard_s <= self.rules.window_s:
                return False
            del kept[oldest]
        kept[subject] = health
        kept.move_to_end(subject)
        return True
