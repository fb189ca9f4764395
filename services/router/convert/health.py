"""The health of providers, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf import duration_pb2

from headrace.router.v1 import router_service_pb2 as pb
from services.router.core.health_book import Subject
from services.router.core.health_counts import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.router.core.health_book import HealthRow

__all__ = ["reported", "shown"]

# An edge counts fewer between two reports; names of models come from clients.
_MOST: Final = 4_000
_LONGEST: Final = 256
_MOST_ATTEMPTS: Final = 1_000_000
_LONGEST_S: Final = 86_400.0


def reported(message: pb.ReportHealthRequest) -> Iterator[tuple[Subject, Counts]]:
    """Return what a report says of models, and of keys. What makes no sense is passed over."""
    for row in message.counts[:_MOST]:
        names = (row.account_id, row.provider, row.model, row.key)
        if not row.provider or any(len(name) > _LONGEST for name in names):
            continue
        counts = _counts(row)
        yield Subject(row.account_id, row.provider, row.model), counts
        if row.key:
            yield Subject(row.account_id, row.provider, "", row.key), counts


def shown(rows: Iterable[HealthRow]) -> pb.GetHealthResponse:
    """Return what is known."""
    return pb.GetHealthResponse(health=[_row(row) for row in rows])


def _counts(row: pb.AttemptCount) -> Counts:
    successes = _number(row.successes)
    return Counts(
        successes=successes,
        failures=_number(row.failures),
        refusals=_number(row.refusals),
        first_byte_s=_seconds(row.first_byte),
        timed=min(_number(row.timed), successes),
        retry_after_s=_seconds(row.retry_after),
    )


def _number(given: int) -> int:
    return min(max(given, 0), _MOST_ATTEMPTS)


def _seconds(given: duration_pb2.Duration) -> float:
    return min(max(given.seconds + given.nanos / 1e9, 0.0), _LONGEST_S * _MOST_ATTEMPTS)


def _row(row: HealthRow) -> pb.ProviderHealth:
    subject, seen = row.subject, row.look
    return pb.ProviderHealth(
        provider=subject.provider,
        model=subject.model,
        key=subject.key,
        shared=not subject.account_id,
        circuit=seen.circuit,
        retry_after=_duration(row.retry_after_s),
        success_rate=seen.success_rate,
        first_byte=_duration(seen.first_byte_s),
        weight=seen.weight,
        successes=row.successes,
        failures=row.failures,
        refusals=row.refusals,
    )


def _duration(seconds: float | None) -> duration_pb2.Duration | None:
    if seconds is None:
        return None
    message = duration_pb2.Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message
