"""What every keeper of the health of providers does: in the memory of one router, and shared by several."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import structlog

from kit.clock import SystemClock
from kit.valkey import Valkey
from services.router.core.engine.health_view import Look
from services.router.core.health import HealthRules, Phase
from services.router.core.health_book import HealthBook, Subject
from services.router.core.health_counts import Counts
from services.router.health_memory import MemoryHealth
from services.router.health_valkey import ValkeyHealth
from tests.fakes.stopped_clock import StoppedClock
from tests.fakes.valkey_cluster import empty_cluster
from tests.fakes.valkey_server import PATIENT, Server, shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.secret import Secret
    from services.router.health_store import HealthStore

# Valkey tells the time itself, so that here a pause is over at once, or not at all.
NO_PAUSE = HealthRules(pause_s=0.0, round_s=3600.0)
LONG_PAUSE = HealthRules(pause_s=3600.0, longest_pause_s=3600.0)
MODEL = ("openai", "gpt", "acme")
SHARED = Subject("", "openai", "gpt")
OWN = Subject("acme", "openai", "gpt")
BAD = Counts(failures=5)
GOOD = Counts(successes=3, first_byte_s=1.5, timed=3)


@dataclass
class Router:
    """One router's keeper."""

    store: HealthStore = field(init=False)
    changes: list[tuple[Subject, Phase]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, subject: Subject, phase: Phase) -> None:
        """Hear of a circuit that opened or closed."""
        self.changes.append((subject, phase))
        self.told.set()

    async def settle(self) -> None:
        """Let what happened be known to all that share it."""
        if isinstance(self.store, ValkeyHealth):
            await self.store.sync()

    async def report(self, *counts: tuple[Subject, Counts]) -> None:
        """Report, and let it be known."""
        self.store.report(counts)
        await self.settle()


@asynccontextmanager
async def sharing(url: Secret, rules: HealthRules) -> AsyncIterator[Router]:
    """Run a keeper that shares what it knows."""
    valkey = Valkey(url, PATIENT, clock=SystemClock())
    router = Router()
    router.store = ValkeyHealth(
        valkey,
        HealthBook(rules),
        clock=SystemClock(),
        draw=lambda: 0.5,
        changed=router.changed,
        log=structlog.get_logger(),
    )
    try:
        await router.settle()
        yield router
    finally:
        await valkey.close()


@asynccontextmanager
async def keeping(kind: str, rules: HealthRules) -> AsyncIterator[Router]:
    """Run a keeper."""
    if kind != "memory":
        url = empty_cluster() if kind == "cluster" else shared_valkey().new_url()
        async with sharing(url, rules) as router:
            yield router
        return
    router = Router()
    router.store = MemoryHealth(
        HealthBook(rules), clock=StoppedClock(), draw=lambda: 0.5, changed=router.changed
    )
    yield router


@pytest.fixture(params=["memory", "valkey", "cluster"])
async def router(request: pytest.FixtureRequest) -> AsyncIterator[Router]:
    async with keeping(request.param, NO_PAUSE) as found:
        yield found


@pytest.fixture(params=["memory", "valkey"])
async def patient(request: pytest.FixtureRequest) -> AsyncIterator[Router]:
    """A router whose pauses last."""
    async with keeping(request.param, LONG_PAUSE) as found:
        yield found


async def test_nothing_is_known_at_first(router: Router) -> None:
    """All are asked as usual."""
    assert (Look(), []) == (router.store.look(*MODEL), router.store.rows("acme", shared=True))


async def test_what_is_reported_is_known(router: Router) -> None:
    """As a success rate, and a time to the first byte."""
    await router.report((SHARED, GOOD), (SHARED, Counts(failures=1)))

    assert Look(success_rate=0.75, first_byte_s=0.5) == router.store.look(*MODEL)


async def test_a_report_counts_at_once(patient: Router) -> None:
    """Who asked a router that was just told does not wait until all know."""
    patient.store.report([(SHARED, BAD)])

    assert "open" == patient.store.look(*MODEL).circuit


async def test_a_circuit_that_is_open_has_no_probes(patient: Router) -> None:
    """As long as its pause lasts."""
    await patient.report((SHARED, BAD))
    found = patient.store.look(*MODEL)
    await patient.settle()

    assert ("open", False) == (found.circuit, patient.store.claim(*MODEL))
    assert [(SHARED, Phase.OPEN)] == patient.changes


async def test_so_many_probes_and_no_more(router: Router) -> None:
    """A round lets through as many as the rules say."""
    await router.report((SHARED, BAD))
    given = []
    for _ in range(10):
        assert "half_open" == router.store.look(*MODEL).circuit
        await router.settle()
        given.append(router.store.claim(*MODEL))

    assert [True] * NO_PAUSE.probes + [False] * (10 - NO_PAUSE.probes) == given


async def test_probes_that_go_well_close_it(router: Router) -> None:
    """With a small share at first."""
    await router.report((SHARED, BAD))
    await router.report((SHARED, GOOD))
    found = router.store.look(*MODEL)

    assert "closed" == found.circuit
    assert pytest.approx(0.1, abs=0.05) == found.weight
    assert [Phase.OPEN, Phase.CLOSED] == [phase for _, phase in router.changes]


async def test_looking_costs_no_probe(router: Router) -> None:
    """A simulated request takes none away from real ones."""
    await router.report((SHARED, BAD))
    for _ in range(10):
        router.store.look(*MODEL)
    await router.settle()

    assert router.store.claim(*MODEL)


async def test_what_an_account_saw_itself_comes_first(patient: Router) -> None:
    """Its own key may do when the operator's does not, and the other way round."""
    await patient.report((SHARED, BAD), (OWN, GOOD))

    other = patient.store.look("openai", "gpt", "other").circuit
    assert ("closed", "open") == (patient.store.look(*MODEL).circuit, other)


async def test_what_an_account_does_concerns_no_other(patient: Router) -> None:
    """Nor does it see it."""
    await patient.report((OWN, BAD))

    others = [patient.store.look("openai", "gpt", account).circuit for account in ("", "other")]
    assert ("open", ["closed", "closed"]) == (patient.store.look(*MODEL).circuit, others)
    assert [] == patient.store.rows("other", shared=True)


async def test_models_do_not_concern_each_other(patient: Router) -> None:
    """Another model of the provider is asked as usual."""
    await patient.report((SHARED, BAD))

    assert "closed" == patient.store.look("openai", "other", "acme").circuit


async def test_what_is_shown(router: Router) -> None:
    """Rows are in order, an account's own and, when they are asked for, the operator's."""
    key = Subject("acme", "openai", "", "0192")
    await router.report((SHARED, GOOD), (OWN, Counts(refusals=2)), (key, BAD))
    rows = router.store.rows("acme", shared=True)

    assert [key, SHARED, OWN] == [row.subject for row in rows]
    assert [(0, 5, 0), (3, 0, 0), (0, 0, 2)] == [(row.successes, row.failures, row.refusals) for row in rows]
    assert ["half_open", "closed", "closed"] == [row.look.circuit for row in rows]
    assert [key, OWN] == [row.subject for row in router.store.rows("acme", shared=False)]
    assert [] == router.store.rows("acme", shared=True, provider="anthropic")


async def test_a_pause_is_shown(patient: Router) -> None:
    """Whoever looks sees for how long a circuit is still open."""
    await patient.report((SHARED, BAD))
    (row,) = patient.store.rows("acme", shared=True)

    assert pytest.approx(3600.0, abs=10) == row.retry_after_s


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Router, Router]]:
    """Two routers that share what they know."""
    url = shared_valkey().new_url()
    async with sharing(url, NO_PAUSE) as one, sharing(url, NO_PAUSE) as two:
        yield one, two


async def test_what_one_router_hears_another_knows(pair: tuple[Router, Router]) -> None:
    """Both show the same."""
    one, two = pair
    await one.report((SHARED, Counts(successes=1, failures=2)))
    await two.report((SHARED, Counts(successes=2, failures=1)))
    await one.settle()

    assert (0.5, 0.5) == (one.store.look(*MODEL).success_rate, two.store.look(*MODEL).success_rate)
    assert one.store.rows("acme", shared=True) == two.store.rows("acme", shared=True)


async def test_failures_that_two_routers_saw_add_up(pair: tuple[Router, Router]) -> None:
    """Each saw too few by itself. Whoever notices tells of the change, once."""
    one, two = pair
    one.store.report([(SHARED, Counts(failures=3))])
    two.store.report([(SHARED, Counts(failures=2))])
    await one.settle()
    await two.settle()
    await one.settle()

    assert ["half_open"] * 2 == [each.store.look(*MODEL).circuit for each in pair]
    assert [(SHARED, Phase.OPEN)] == [*one.changes, *two.changes]


async def test_two_routers_that_write_at_once_lose_nothing(pair: tuple[Router, Router]) -> None:
    """What one writes between another's read and write is built upon."""
    subjects = [Subject("", "openai", f"m{number}") for number in range(700)]
    for each in pair:
        each.store.report([(subject, Counts(successes=1)) for subject in subjects])
    await asyncio.gather(*[each.settle() for each in pair])
    for each in pair:
        await each.settle()

    for each in pair:
        assert {2} == {row.successes for row in each.store.rows("", shared=True)}


async def test_two_routers_share_the_probes(pair: tuple[Router, Router]) -> None:
    """Whichever router is asked, and however often, a round lets no more through than it may."""
    one, two = pair
    await one.report((SHARED, BAD))
    given = {id(one): 0, id(two): 0}
    for _ in range(8):
        for each in pair:
            each.store.look(*MODEL)
            await each.settle()
            given[id(each)] += each.store.claim(*MODEL)

    assert NO_PAUSE.probes == sum(given.values())
    assert all(given.values())


async def test_routers_that_take_probes_at_once_share_them() -> None:
    """Those that ask at the same moment do not both get the last one."""
    url = shared_valkey().new_url()
    async with AsyncExitStack() as stack:
        routers = [await stack.enter_async_context(sharing(url, NO_PAUSE)) for _ in range(6)]
        await routers[0].report((SHARED, BAD))
        await asyncio.gather(*[each.settle() for each in routers])
        given = 0
        for _ in range(3):
            for each in routers:
                each.store.look(*MODEL)
            await asyncio.gather(*[each.settle() for each in routers])
            given += sum(each.store.claim(*MODEL) for each in routers)

    assert NO_PAUSE.probes == given


async def test_a_router_that_starts_later_knows() -> None:
    """It reads what is there before it answers."""
    url = shared_valkey().new_url()
    async with sharing(url, NO_PAUSE) as first:
        await first.report((SHARED, BAD), (OWN, GOOD))
        async with sharing(url, NO_PAUSE) as later:
            assert first.store.rows("acme", shared=True) == later.store.rows("acme", shared=True)


async def test_routers_share_by_themselves() -> None:
    """A circuit that opens is shared soon, whatever the interval, and what is left is shared at the end."""
    url = shared_valkey().new_url()
    async with sharing(url, NO_PAUSE) as router:
        assert isinstance(router.store, ValkeyHealth)
        async with router.store.running(3600.0):
            router.store.report([(SHARED, BAD)])
            async with asyncio.timeout(20):
                await router.told.wait()
            router.store.report([(OWN, GOOD)])
        async with sharing(url, NO_PAUSE) as later:
            assert [SHARED, OWN] == [row.subject for row in later.store.rows("acme", shared=True)]


async def test_without_valkey_each_goes_on_by_itself() -> None:
    """Circuits stay as they were, open and close, and let probes through; all is shared once it is back."""
    server = Server()
    url = server.new_url()
    try:
        async with sharing(url, NO_PAUSE) as router:
            await router.report((SHARED, BAD))
            server.stop()
            await router.settle()
            assert "half_open" == router.store.look(*MODEL).circuit
            assert [True, True, True, False] == [router.store.claim(*MODEL) for _ in range(4)]

            other = Subject("", "openai", "other")
            await router.report((other, BAD))
            assert "half_open" == router.store.look("openai", "other", "acme").circuit
            assert [SHARED, other] == [subject for subject, _ in router.changes]

            server.start()
            await router.report((SHARED, Counts(refusals=1)))
            async with sharing(url, NO_PAUSE) as later:
                rows = later.store.rows("", shared=True)
            # What was there is lost with Valkey, but for what is heard of again; circuits are as they were.
            assert [("gpt", "half_open"), ("other", "half_open")] == [
                (row.subject.model, row.look.circuit) for row in rows
            ]
    finally:
        server.remove()


@asynccontextmanager
async def looking_into(url: Secret) -> AsyncIterator[Valkey]:
    """Look at what is there."""
    valkey = Valkey(url, PATIENT, clock=SystemClock())
    try:
        yield valkey
    finally:
        await valkey.close()


async def test_a_state_that_nobody_can_read_is_written_anew() -> None:
    """By who knows something of it; to all others it is as good as none."""
    url = shared_valkey().new_url()
    async with looking_into(url) as valkey, sharing(url, NO_PAUSE) as router:
        await router.report((SHARED, GOOD))
        await valkey.execute("HSET", "hr:h:{health}:states", '["","openai","gpt",""]', "{broken")
        async with sharing(url, NO_PAUSE) as other:
            assert Look() == other.store.look(*MODEL)
            await router.report((SHARED, Counts(failures=1)))
            await other.settle()
            assert 0.75 == other.store.look(*MODEL).success_rate


async def test_what_is_in_valkey_goes_by_itself() -> None:
    """Nothing is left behind in Valkey for ever."""
    url = shared_valkey().new_url()
    async with looking_into(url) as valkey, sharing(url, NO_PAUSE) as router:
        await router.report((SHARED, GOOD))
        left = await valkey.pipeline([("PTTL", key) for key in await valkey.execute("KEYS", "*")])

    assert 2 == len(left)
    assert all(0 < each <= 900_000 for each in left)


async def test_what_is_too_old_goes_with_the_next_that_is_written() -> None:
    """And is not read again by a router that begins anew."""
    url = shared_valkey().new_url()
    async with looking_into(url) as valkey, sharing(url, NO_PAUSE) as router:
        await router.report((SHARED, GOOD))
        await valkey.execute("ZADD", "hr:h:{health}:changes", 1, '["","openai","gpt",""]')
        await router.report((OWN, GOOD))
        kept = await valkey.execute("HKEYS", "hr:h:{health}:states")

    assert [b'["acme","openai","gpt",""]'] == kept
