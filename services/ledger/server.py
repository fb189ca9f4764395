"""The ledger's servicer: decode, keep or find, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.ledger.v1 import ledger_service_pb2 as pb
from headrace.ledger.v1 import log_entry_pb2
from headrace.ledger.v1.ledger_service_pb2_grpc import LedgerServiceServicer
from kit.errors import GatewayError, Reason
from services.ledger import convert

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.pricing.pricer import Pricer
    from services.ledger.metrics import LedgerMetrics
    from services.ledger.store import EntryStore, Row

__all__ = ["LedgerServicer"]


class LedgerServicer(LedgerServiceServicer):
    """
    Answers `headrace.ledger.v1.LedgerService`.

    Args:
        store: The entries.
        pricer: Sets costs.
        metrics: Counts.
    """

    def __init__(self, *, store: EntryStore, pricer: Pricer, metrics: LedgerMetrics) -> None:
        self._store = store
        self._pricer = pricer
        self._metrics = metrics

    async def Record(self, request: AsyncIterator[pb.RecordRequest], context: Any) -> pb.RecordResponse:
        """Record entries, each message in one transaction."""
        answer = pb.RecordResponse()
        async for batch in request:
            if any(convert.wants_price(entry) for entry in batch.entries):
                await self._pricer.ready()
            rows = [convert.row(entry, self._pricer) for entry in batch.entries]
            new = await self._store.add(rows)
            answer.recorded_count += new
            answer.duplicate_count += len(rows) - new
            unpriced = sum(_unpriced(row) for row in rows)
            self._metrics.recorded.inc(new)
            # Which of a batch are known already is not told. Batches come again as a whole, when an
            # acknowledgement was lost.
            if new == len(rows):
                self._metrics.used(rows)
            self._metrics.duplicates.inc(len(rows) - new)
            self._metrics.unpriced.inc(unpriced)
        return answer

    async def List(self, request: pb.ListRequest, context: Any) -> pb.ListResponse:
        """List entries."""
        return convert.listed(await self._store.list(convert.query(request)))

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        """Find one entry."""
        found = await self._store.get(*convert.owner(request))
        if found is None:
            raise GatewayError(Reason.NOT_FOUND, "There is no such log.", resource="log", id=request.id)
        return pb.GetResponse(entry=log_entry_pb2.LogEntry.FromString(found))

    async def GetPayload(self, request: pb.GetPayloadRequest, context: Any) -> pb.GetPayloadResponse:
        """Find the bodies of one entry."""
        found = await self._store.payload(*convert.owner(request))
        if found is None:
            message = "There is no such log, or its bodies were not collected."
            raise GatewayError(Reason.NOT_FOUND, message, resource="payload", id=request.id)
        return pb.GetPayloadResponse(payload=log_entry_pb2.Payload.FromString(found))

    async def UpdateEntry(self, request: pb.UpdateEntryRequest, context: Any) -> pb.UpdateEntryResponse:
        """Change what is said of an entry."""
        found = await self._store.update(*convert.owner(request), convert.change(request))
        if found is None:
            raise GatewayError(Reason.NOT_FOUND, "There is no such log.", resource="log", id=request.id)
        return pb.UpdateEntryResponse(entry=log_entry_pb2.LogEntry.FromString(found))

    async def DeleteEntries(self, request: pb.DeleteEntriesRequest, context: Any) -> pb.DeleteEntriesResponse:
        """Delete entries."""
        deleted = await self._store.delete(convert.deletion(request))
        return pb.DeleteEntriesResponse(deleted_count=deleted)


def _unpriced(row: Row) -> bool:
    """Whether something was used and what it cost is not known."""
    used = row.tokens_in is not None or row.tokens_out is not None
    return used and row.cost_nano_usd is None
