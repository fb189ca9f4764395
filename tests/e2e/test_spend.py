"""A hard budget of one dollar: two edges, two routers, one Valkey, clients that leave, a router that dies."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from kit.clock import SystemClock
from kit.valkey import Valkey
from tests.e2e.calls import call
from tests.fakes.postgres import shared_postgres
from tests.fakes.upstream_shapes import INPUT_TOKENS
from tests.fakes.valkey_server import PATIENT, Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.e2e.conftest import Launch
    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

pytestmark = pytest.mark.timeout(300)

CLIENTS = 64
LOOK_S = 0.5
WORDS = 400
NANO = 1_000_000_000
# Listed for gpt-4o, in billionths of a dollar a token.
IN_NANO, OUT_NANO = 2_500, 10_000
COST_NANO = INPUT_TOKENS * IN_NANO + WORDS * OUT_NANO
BUDGET = "budget"
RULE = {
    "id": "all",
    "limitType": "cost",
    "limit": 1,
    "window": 30 * 86_400,
    "technique": "fixed",
    "mode": "hard",
}
GATEWAY = {
    "id": BUDGET,
    "authentication": True,
    "cache_invalidate_on_update": False,
    "cache_ttl": 0,
    "collect_logs": True,
    "collect_payloads": False,
    # Who leaves has used what was on its way, and all of it is counted.
    "on_disconnect": "drain",
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
    "spend_limits": {"enabled": True, "rules": [RULE]},
}


@pytest.fixture
def valkey() -> Iterator[Server]:
    server = Server()
    yield server
    server.remove()


class Spenders:
    """Clients of both edges, who go on until the budget is used up."""

    def __init__(
        self,
        stacks: tuple[Stack, Stack],
        token: str,
        marker: str,
        is_quiet: Callable[[], Awaitable[bool]],
    ) -> None:
        self._stacks = stacks
        self._token = token
        self._marker = marker
        self._is_quiet = is_quiet
        self._look: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._rng = random.Random(7)
        self.asked = 0
        self.statuses: dict[int, int] = {}
        self.left = 0

    async def run(self, session: aiohttp.ClientSession, at_half: Callable[[], object]) -> None:
        """Spend until nobody gets anything any more; do something in the middle of it."""
        self._at_half: Callable[[], object] | None = at_half
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._keep_looking())
            await asyncio.gather(*(self._client(session, number) for number in range(CLIENTS)))
            looking.cancel()

    async def _keep_looking(self) -> None:
        """Tell refused clients from time to time whether anything is under way that may give budget back."""
        while True:
            told, self._look = self._look, asyncio.get_running_loop().create_future()
            told.set_result(await self._is_quiet())
            await asyncio.sleep(LOOK_S)

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        """
        Ask until refused though nothing was under way before.

        Somebody else may have been served in between: then that one goes on. So the last to leave leaves no
        budget that is enough for a request.
        """
        quiet = False
        while True:
            stack = self._stacks[(number + self.asked) % 2]
            self.asked += 1
            if self.asked == 80 and self._at_half is not None:
                half, self._at_half = self._at_half, None
                await asyncio.to_thread(half)
            leaves = self._rng.random() < 0.1
            status = await self._ask(session, stack, 0.05 if leaves else 60)
            if status == 429 and quiet:
                return
            quiet = status == 429 and await self._look
            if status == 503:
                await asyncio.sleep(0.2)

    async def _ask(self, session: aiohttp.ClientSession, stack: Stack, timeout_s: float) -> int:
        body = {
            "model": "openai/gpt-4o",
            "messages": [{"role": "user", "content": self._marker}],
            "max_tokens": WORDS,
        }
        try:
            async with session.post(
                f"{stack.gateway_url(BUDGET)}/compat/chat/completions",
                json=body,
                headers={
                    "authorization": f"Bearer {self._token}",
                    "x-fake": f"words={WORDS}; slow=30",
                },
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as answer:
                await answer.read()
                self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
                return answer.status
        except (TimeoutError, aiohttp.ClientConnectionError):
            self.left += 1
            return 0


class Api:
    """The management API at one stack."""

    def __init__(self, session: aiohttp.ClientSession, stack: Stack, token: str) -> None:
        self._session = session
        self._base = f"{stack.base_url}/client/v4/accounts/local/ai-gateway/gateways"
        self._token = token

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make a call that must succeed."""
        answer = await call(self._session, f"{self._base}{path}", body, method=method, token=self._token)
        assert answer.status == 200, answer.body
        return answer.json

    async def logged_nano_usd(self) -> int:
        """Give the sum of all costs in the log."""
        total = 0
        for page in range(1, 200):
            found = await self.call("GET", f"/{BUDGET}/logs?per_page=50&page={page}")
            if not found["result"]:
                return total
            total += sum(round(entry["cost"] * NANO) for entry in found["result"] if entry["cost"])
        raise AssertionError("there is no end of the log")


async def _reserved(url: Any) -> int:
    """Give what is reserved in all counters."""
    valkey = Valkey(url, PATIENT, clock=SystemClock())
    total = 0
    for key in await valkey.execute("KEYS", "hr:c:*"):
        if await valkey.execute("TYPE", key) == b"hash":
            total += sum(int(value or 0) for value in await valkey.execute("HMGET", key, "r", "q"))
    await valkey.close()
    return total


async def test_a_hard_budget_is_never_overspent(
    launch: Launch,
    upstreams: Upstreams,
    valkey: Server,
    session: aiohttp.ClientSession,
    record_property: Callable[[str, object], None],
) -> None:
    """
    Not by a cent: what is reserved is never less than what is used, where the request bounds its answer.

    In the end nothing is reserved, and the log's sum is what the provider counted itself.
    """
    url, database = valkey.new_url(), shared_postgres().new_database()
    env: Any = {
        "HEADRACE_DATABASE_URL": database,
        "HEADRACE_ROUTER_VALKEY_URL": url.reveal(),
        "HEADRACE_VALKEY_TIMEOUT_S": "2",
    }
    one = launch("split", envoy=False, **env)
    other = launch("split", envoy=False, **env)
    api = Api(session, other, one.token)
    await api.call("POST", "", GATEWAY)
    marker = f"spend-{uuid.uuid4()}"

    async def is_quiet() -> bool:
        return all(each.finished for each in upstreams.received(marker)) and not await _reserved(url)

    spenders = Spenders((one, other), one.token, marker, is_quiet)
    await spenders.run(session, lambda: one.kill("router"))
    async with asyncio.timeout(60):
        while not all(each.finished for each in upstreams.received(marker)):  # noqa: ASYNC110 - another loop's
            await asyncio.sleep(0.1)
        counted = len(upstreams.received(marker)) * COST_NANO
        while await _reserved(url):  # noqa: ASYNC110 - Valkey tells nobody
            await asyncio.sleep(0.1)
        while await api.logged_nano_usd() < counted:  # noqa: ASYNC110 - recording is off the client's path
            await asyncio.sleep(0.2)
    record_property("hard_budget_of_1_usd_spent", counted / NANO)

    assert counted == await api.logged_nano_usd()
    # Not under by much: what a request reserves, and what a router that dies may hold against the budget.
    assert 0.95 * NANO <= counted <= NANO
    assert spenders.left > 0
    assert {200, 429} <= spenders.statuses.keys() <= {200, 429, 503}
