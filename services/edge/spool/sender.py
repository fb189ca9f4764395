"""
Sends serialised entries to the ledger, in messages that gRPC takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from headrace.ledger.v1 import ledger_service_pb2
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headrace.ledger.v1 import ledger_service_pb2_grpc

__all__ = ["LedgerSender"]

_ENTRIES_TAG = b"\x0a"  # field 1 of RecordRequest, length-delimited


class LedgerSender:
    """
    What a spool is given as `send`.

    Args:
        stub: The ledger.
    """

    def __init__(self, stub: ledger_service_pb2_grpc.LedgerServiceAsyncStub) -> None:
        self._stub = stub

    async def __call__(self, entries: Sequence[bytes]) -> None:
        """
        Record entries; returns when the ledger has acknowledged all of them.

        Raises:
            GatewayError: It has not.
        """
        request = _request(entries)

        async def requests() -> AsyncIterator[ledger_service_pb2.RecordRequest]:
            yield request

        answer = await self._stub.Record(requests())
        acknowledged = answer.recorded_count + answer.duplicate_count
        if acknowledged != len(entries):
            raise GatewayError(Reason.INTERNAL, f"The ledger answered for {acknowledged} of {len(entries)}.")


def _request(entries: Sequence[bytes]) -> ledger_service_pb2.RecordRequest:
    """Put serialised entries into a message without making an object of each on the way."""
    parts: list[bytes] = []
    for entry in entries:
        parts += (_ENTRIES_TAG, _varint(len(entry)), entry)
    try:
        return ledger_service_pb2.RecordRequest.FromString(b"".join(parts))
    except DecodeError as error:
        raise GatewayError(Reason.INVALID_REQUEST, "An entry is not a LogEntry.") from error


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
