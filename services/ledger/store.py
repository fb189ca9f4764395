"""Where entries are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.ledger.core.query import Deletion, Query

__all__ = ["EntryStore", "Page", "Ranges", "Remarks", "Row"]


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Row:
    """
    An entry as it is kept: what can be searched for, and the whole.

    Attributes:
        model: What is found as the model: the one asked for at the provider, else as the client wrote it.
        tokens: Both kinds together, as far as they are known.
        metadata_keys: Joined by `core.text`, like the values.
        searched: What a search looks in, case folded.
        entry: The serialised `LogEntry`, cost included, payload not.
        payload: The serialised `Payload`; None when it was not collected.
    """

    id: str
    account_id: str
    gateway_id: str
    created_us: int
    duration_us: int
    provider: str
    model: str
    status: int
    success: bool
    cached: bool
    event_id: str
    tokens_in: int | None
    tokens_out: int | None
    tokens: int | None
    cost_nano_usd: int | None
    feedback: float | None
    request_content_type: str
    response_content_type: str
    user_agent: str
    authentication: bool
    metadata_keys: str
    metadata_values: str
    searched: str
    entry: bytes
    payload: bytes | None


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Remarks:
    """What changes of a row with what people say of it; members as in `Row`."""

    feedback: float | None
    metadata_keys: str
    metadata_values: str
    searched: str
    entry: bytes


@dataclass(frozen=True, slots=True)
class Ranges:
    """The smallest and the largest value of each kind; None where no entry has one."""

    cost_nano_usd: tuple[int | None, int | None]
    duration_us: tuple[int | None, int | None]
    tokens_in: tuple[int | None, int | None]
    tokens_out: tuple[int | None, int | None]
    tokens: tuple[int | None, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Serialised entries, and how many satisfy the query in all; their ranges where they were asked for."""

    entries: tuple[bytes, ...]
    total_count: int
    ranges: Ranges | None = None


class EntryStore(Protocol):
    """Keeps entries."""

    async def add(self, rows: Sequence[Row]) -> int:
        """
        Keep entries, all of them or none; return how many were new. They are durable then.

        An entry whose id is known, or came earlier in `rows`, is left as it is.
        """
        ...

    async def list(self, query: Query) -> Page:
        """Find entries."""
        ...

    async def get(self, account_id: str, gateway_id: str, entry_id: str) -> bytes | None:
        """Find an entry of an account, or of one of its gateways."""
        ...

    async def payload(self, account_id: str, gateway_id: str, entry_id: str) -> bytes | None:
        """Find the payload of such an entry."""
        ...

    async def update(
        self, account_id: str, gateway_id: str, entry_id: str, change: Callable[[bytes], Remarks]
    ) -> bytes | None:
        """
        Change what is said of an entry, in one transaction; return it as it is then, None when there is none.

        Args:
            account_id: Whose it is.
            gateway_id: Of which gateway.
            entry_id: Which one.
            change: Makes the new out of the serialised entry; may be called again.
        """
        ...

    async def delete(self, deletion: Deletion) -> int:
        """Delete entries with their payloads; return how many. Recording goes on meanwhile."""
        ...

    async def excess(self, max_entries: int) -> int:
        """Say how many entries are too many."""
        ...

    async def trim(self, count: int) -> int:
        """Delete some of the entries recorded first, at most as many as given; return how many."""
        ...

    async def check(self) -> None:
        """Fail when the store does not answer."""
        ...
