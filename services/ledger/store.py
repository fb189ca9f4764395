"""Where entries are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ledger.core.query import Query

__all__ = ["EntryStore", "Page", "Row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    An entry as it is kept: what can be searched for, and the whole.

    Attributes:
        model: What is found as the model: the one asked for at the provider, else as the client wrote it.
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
    cost_nano_usd: int | None
    entry: bytes
    payload: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Serialised entries, and how many satisfy the query in all."""

    entries: tuple[bytes, ...]
    total_count: int


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

    async def trim(self, max_entries: int, *, chunk: int) -> int:
        """Delete some of the entries that are too many, those recorded first; return how many."""
        ...

    async def check(self) -> None:
        """Fail when the store does not answer."""
        ...
