"""How providers do, as whoever runs the gateway sees it."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

from tests.e2e.calls import call, chat_body

if TYPE_CHECKING:
    import aiohttp

    from tests.fakes.stack import Stack


class Health:
    """Asks a stack for models of a test's own."""

    def __init__(self, session: aiohttp.ClientSession, stack: Stack) -> None:
        self._session = session
        self._stack = stack
        self._mark = f"health-{uuid.uuid4().hex[:8]}"

    async def ask(self, directives: str, **headers: str) -> int:
        """Ask OpenAI for a model that is answered as the directives say; give the status."""
        model = f"openai/{self._mark}+{directives}"
        url = f"{self._stack.openai_base_url}/chat/completions"
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await call(
            self._session, url, chat_body(model, "hi"), token=self._stack.token, headers=names
        )
        return answer.status

    async def rows(self, expected: int, *, timeout_s: float = 15) -> dict[str, dict[str, Any]]:
        """Give what is known of these models, by directives, as soon as so many attempts are known."""
        deadline = time.monotonic() + timeout_s
        while True:
            mine = [row for row in await self._all() if row["model"].startswith(self._mark)]
            counted = sum(row["successes"] + row["failures"] + row["refusals"] for row in mine)
            if counted >= expected:
                return {row["model"].partition("+")[2]: row for row in mine}
            assert time.monotonic() < deadline, f"{counted} of {expected} attempts after {timeout_s} s"
            await asyncio.sleep(0.05)

    async def _all(self) -> list[dict[str, Any]]:
        base = f"{self._stack.base_url}/client/v4/accounts/{self._stack.account}/ai-gateway"
        rows: list[dict[str, Any]] = []
        for page in range(1, 100):
            url = f"{base}/providers/health?provider=openai&per_page=100&page={page}"
            answer = await call(self._session, url, method="GET", token=self._stack.token)
            assert answer.status == 200, answer.body
            rows += answer.json["result"]
            if len(rows) == answer.json["result_info"]["total_count"]:
                break
        return rows


async def test_what_happened_is_shown(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Answers, the client's own errors, the provider's, and refusals for the rate are told apart."""
    health = Health(session, stack)
    statuses = [
        await health.ask(directives)
        for directives in ("words=2", "status=400", *["status=500"] * 5, "status=429+retry-after=60")
    ]
    assert [200, 400, *[500] * 5, 429] == statuses
    rows = await health.rows(8)

    expected = {
        "words=2": (True, True, 1, 0, 0),
        "status=400": (True, True, 1, 0, 0),
        "status=500": (True, False, 0, 5, 0),
        "status=429+retry-after=60": (True, True, 0, 0, 1),
    }
    assert expected == {
        name: (row["shared"], row["circuit"] == "closed", row["successes"], row["failures"], row["refusals"])
        for name, row in rows.items()
    }
    assert 0 < rows["words=2"]["first_byte_ms"] < 15_000
    assert 0.05 == rows["status=429+retry-after=60"]["weight"]


async def test_an_open_circuit_refuses_nobody_who_names_the_model(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    """Who has nothing else to try goes there all the same."""
    health = Health(session, stack)
    for _ in range(5):
        await health.ask("status=503")
    assert "closed" != (await health.rows(5))["status=503"]["circuit"]

    assert 503 == await health.ask("status=503")
    assert 6 == (await health.rows(6))["status=503"]["failures"]


async def test_what_is_too_slow_for_one_is_not_for_all(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A time-out that a request chose itself is its account's own affair, and so is its own key."""
    health = Health(session, stack)
    await health.ask("slow=2000", cf_aig_request_timeout="50")
    rows = await health.rows(1)

    assert (False, 1) == (rows["slow=2000"]["shared"], rows["slow=2000"]["failures"])
