"""Two edge processes: what is changed once holds in both at once, and neither asks for what it knows."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from kit.probe import ask
from tests.e2e.calls import chat_body
from tests.fakes.stack import Setup, Stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.e2e.upstreams import Upstreams

BODY = chat_body("openai/gpt-4o-mini", "hello")
COUNTED = "headrace_database_statements_total"
EDGES = 2
CALLERS = 4

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stack(upstreams: Upstreams, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Last uses are stored in the background, which is not what is counted here.
    env = {**upstreams.environment(), "HEADRACE_AUTH_LAST_USE_EVERY_S": "3600"}
    stack = Stack(Setup(workers=EDGES, env=env), tmp_path_factory.mktemp("two"))
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


class Edges:
    """Both edges, each reached on its own socket, and the management API in front of them."""

    def __init__(
        self, stack: Stack, front: aiohttp.ClientSession, edges: list[aiohttp.ClientSession]
    ) -> None:
        self._stack = stack
        self._front = front
        self._edges = edges
        self.accepted: list[list[float]] = [[] for _ in edges]

    async def manage(self, method: str, path: str, body: Any = None) -> Any:
        """Call the management API with the first token."""
        headers = {"authorization": f"Bearer {self._stack.token}"}
        url = f"{self._stack.base_url}/client/v4/accounts/local/tokens{path}"
        async with self._front.request(method, url, json=body, headers=headers) as answer:
            told = await answer.json()
            assert told["success"], told
            return told["result"]

    async def chat(self, index: int, token: str) -> int:
        """Send a request to one edge."""
        headers = {"authorization": f"Bearer {token}"}
        async with self._edges[index].post("/v1/chat/completions", json=BODY, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def until_refused(self, index: int, token: str) -> int:
        """Send one request after the other, and note when each that was answered began."""
        while True:
            began_s = time.monotonic()
            status = await self.chat(index, token)
            if status != 200:
                return status
            self.accepted[index].append(began_s)

    async def last_accepted_after(
        self, token: str, change: Callable[[], Awaitable[Any]]
    ) -> tuple[float, set[int]]:
        """Make a change under load; give how long after its answer one was still let in, and the refusals."""
        callers = [
            asyncio.create_task(self.until_refused(index, token))
            for index in range(len(self._edges))
            for _ in range(CALLERS)
        ]
        async with asyncio.timeout(60):
            while min(map(len, self.accepted)) < 20:  # noqa: ASYNC110 - each edge has decided, and is busy
                await asyncio.sleep(0.01)
            await change()
            answered_s = time.monotonic()
            refusals = set(await asyncio.gather(*callers))
        return max(0.0, max(map(max, self.accepted)) - answered_s), refusals


@pytest.fixture
async def edges(stack: Stack) -> AsyncIterator[Edges]:
    async with AsyncExitStack() as opened:
        front = await opened.enter_async_context(aiohttp.ClientSession())
        sessions = []
        for index in range(EDGES):
            connector = aiohttp.UnixConnector(str(stack.run_dir / f"edge-{index}-http.sock"))
            session = aiohttp.ClientSession("http://edge", connector=connector)
            sessions.append(await opened.enter_async_context(session))
        yield Edges(stack, front, sessions)


def _token(**fields: Any) -> dict[str, Any]:
    return {
        "name": "under load",
        "policies": [
            {
                "effect": "allow",
                "permission_groups": [{"name": "AI Gateway Run"}],
                "resources": {"com.cloudflare.api.account.local": "*"},
            }
        ],
        **fields,
    }


async def test_a_revocation_holds_in_both_within_a_second(
    edges: Edges, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """From the answer to the revocation on, no request under load is let in for longer than a second."""
    made = await edges.manage("POST", "", _token())
    last_s, refusals = await edges.last_accepted_after(
        made["value"], lambda: edges.manage("DELETE", f"/{made['id']}")
    )
    record_testsuite_property("last_accepted_after_revocation_s", round(last_s, 4))

    assert {401} == refusals
    assert last_s < 1


async def test_a_narrowing_holds_in_both_within_a_second(
    edges: Edges, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """The same for a token that may be used from elsewhere alone from now on."""
    made = await edges.manage("POST", "", _token())
    narrowed = _token(condition={"request_ip": {"in": ["192.0.2.0/24"]}})
    last_s, refusals = await edges.last_accepted_after(
        made["value"], lambda: edges.manage("PUT", f"/{made['id']}", narrowed)
    )
    record_testsuite_property("last_accepted_after_narrowing_s", round(last_s, 4))

    assert {403} == refusals
    assert last_s < 1


async def test_requests_like_earlier_ones_ask_no_database(stack: Stack, edges: Edges) -> None:
    """Once both edges know a token and a gateway, hundreds of requests cause no statement at all."""
    made = await edges.manage("POST", "", _token())
    before: dict[str, float] = {}
    async with asyncio.timeout(30):
        # Services that have just started may not follow each other's changes yet, and then ask again.
        while before != (before := await _statements(stack)):
            for index in range(EDGES):
                assert await edges.chat(index, made["value"]) == 200
    answers = await asyncio.gather(*(edges.chat(number % EDGES, made["value"]) for number in range(200)))
    after = await _statements(stack)

    assert {200} == set(answers)
    assert sum(before.values()) > 0
    assert before == after


async def _statements(stack: Stack) -> dict[str, float]:
    """Give how many statements auth and router have made so far."""
    found = {}
    for name in ("auth", "router"):
        text = (await ask(stack.run_dir / f"{name}-admin.sock", "/metrics")).body.decode()
        for line in text.splitlines():
            if line.startswith(f"{COUNTED}{{"):
                series, _, value = line.rpartition(" ")
                found[series] = float(value)
    return found
