"""What auth is told of stored keys, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason
from services.providers.key_reports import ACTIVE, INVALID, LIMITED, KeyReports
from tests.fakes.stopped_clock import StoppedClock

if TYPE_CHECKING:
    from headrace.auth.v1 import credential_pb2


class Auth:
    """Hears reports, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.heard: list[dict[str, int]] = []
        self.clock = StoppedClock()
        self.reports = KeyReports(self.hear, self.clock)

    async def hear(self, request: credential_pb2.ReportKeysRequest) -> None:
        if self.away:
            raise GatewayError(Reason.SERVICE_UNAVAILABLE, "away")
        self.heard.append({report.id: report.status for report in request.reports})


async def test_many_at_once() -> None:
    """What was noted since the last time is sent in one message, the latest of each key."""
    auth = Auth()
    auth.reports.note("a", ACTIVE)
    auth.reports.note("b", LIMITED)
    auth.reports.note("a", INVALID)
    await auth.reports.flush()
    await auth.reports.flush()

    assert [{"a": INVALID, "b": LIMITED}] == auth.heard


async def test_the_same_again_is_not_told_at_once() -> None:
    """A key that goes on being taken is told of now and then, and one that changes at once."""
    auth = Auth()
    for status in (ACTIVE, ACTIVE, LIMITED):
        auth.reports.note("a", status)
        await auth.reports.flush()
        auth.clock.advance(5)
    assert [{"a": ACTIVE}, {"a": LIMITED}] == auth.heard

    auth.clock.advance(30)
    auth.reports.note("a", LIMITED)
    await auth.reports.flush()
    assert [{"a": ACTIVE}, {"a": LIMITED}, {"a": LIMITED}] == auth.heard


async def test_auth_that_is_away_is_told_later() -> None:
    """What could not be sent goes with the next, and what was noted meanwhile is newer."""
    auth = Auth()
    auth.away = True
    auth.reports.note("a", ACTIVE)
    auth.reports.note("b", ACTIVE)
    await auth.reports.flush()
    auth.reports.note("a", INVALID)
    auth.away = False
    await auth.reports.flush()

    assert [{"a": INVALID, "b": ACTIVE}] == auth.heard


async def test_what_is_left_goes_out_at_the_end() -> None:
    """A process that stops sends what it still has."""
    auth = Auth()
    async with auth.reports.sending(3600):
        auth.reports.note("a", ACTIVE)

    assert [{"a": ACTIVE}] == auth.heard


async def test_reports_are_bounded() -> None:
    """While auth is away no more than so many keys are waited with."""
    auth = Auth()
    for number in range(10_100):
        auth.reports.note(str(number), ACTIVE)
    await auth.reports.flush()

    assert [10_000] == [len(heard) for heard in auth.heard]


async def test_what_is_waited_with_can_be_sent() -> None:
    """What could not be sent and what came meanwhile are together no more than auth takes at once."""
    heard: list[int] = []

    async def send(request: credential_pb2.ReportKeysRequest) -> None:
        heard.append(len(request.reports))
        if len(heard) == 1:
            for number in range(10_000):
                reports.note(f"b{number}", ACTIVE)
            raise GatewayError(Reason.SERVICE_UNAVAILABLE, "away")

    reports = KeyReports(send, StoppedClock())
    for number in range(10_000):
        reports.note(f"a{number}", ACTIVE)
    await reports.flush()
    await reports.flush()

    assert [10_000, 10_000] == heard
