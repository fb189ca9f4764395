"""Where answers are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.cache.core.epochs import Scope
    from services.cache.core.key import Key

__all__ = ["Answer", "AnswerStore", "Claim", "Found", "Wanted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    What a lookup is for.

    Attributes:
        read: Whether the answer is wanted; else only the count of purges is.
        stale_s: How long past its time an answer is still wanted.
        claims: Whether the caller fetches what is not there, unless somebody does already.
    """

    read: bool = True
    stale_s: float = 0.0
    claims: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """
    What came of a lookup.

    Attributes:
        born: The count of purges; zero when it is not known.
        value: The answer.
        stale: Whether it is past its time.
        claimed: Whether the caller is the one to fetch it.
        taken: Whether somebody else does.
        claim_id: Names the claim, for `renew`; zero when there is none, or none that is kept anywhere.
        conflict: Whether the key stands for another request; then there is nothing else.
    """

    born: int
    value: bytes | None = None
    stale: bool = False
    claimed: bool = False
    taken: bool = False
    claim_id: int = 0
    conflict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """
    What somebody undertook to fetch.

    Attributes:
        key: Its key, with the count of purges that it was found with.
        id: Its name.
    """

    key: Key
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What to keep.

    Attributes:
        value: Opaque bytes.
        provider: Who gave it, as `scope_of` has it.
        ttl_s: Its time.
        stale_s: How much longer it is kept for those who take answers past their time.
    """

    value: bytes
    provider: bytes
    ttl_s: float
    stale_s: float = 0.0


class AnswerStore(Protocol):
    """
    Keeps answers under keys until their time is over, others need the room, or they are purged.

    Whoever has a key may have the answer, and may end the claim on it: it is there from the lookup that got
    it to the next `put` or `release` with a key that is not from before a purge which the claim is from
    after, or until its time is over. Only who knows its name may let it last longer. A store that is away
    fails only in `purge`; else it keeps nothing, and everybody is told to fetch for himself.
    """

    async def find(self, key: Key, wanted: Wanted) -> Found:
        """Look for an answer, and claim it when it is not there; nothing is claimed when cancelled."""
        ...

    async def changed(self, key: Key, left_s: float) -> None:
        """Wait until there may be something new about a key that is taken, or for so long."""
        ...

    async def put(self, key: Key, answer: Answer) -> bool:
        """Keep an answer in place of any earlier one, and end the claim; false when it is not kept."""
        ...

    async def release(self, key: Key) -> None:
        """End the claim on a key."""
        ...

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """
        Let claims last for their time again, from now on.

        Returns:
            For each whether it is still there, as far as that could be found out.
        """
        ...

    async def purge(self, scope: Scope) -> None:
        """
        Forget answers, and those that are being fetched now.

        Raises:
            GatewayError: SERVICE_UNAVAILABLE; it could not be done.
        """
        ...
