"""A whole Headrace on PostgreSQL: what requests cost it, and what goes on while it is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kit.telemetry import names
from tests.e2e.calls import Answer, call, chat_body
from tests.e2e.log_view import LogView
from tests.fakes.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Launch
    from tests.fakes.stack import Stack

pytestmark = pytest.mark.timeout(300)

MODEL = "openai/gpt-4o-mini+words=3"


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL that may be stopped."""
    server = Postgres()
    yield server
    server.remove()


async def _ask(session: aiohttp.ClientSession, stack: Stack) -> Answer:
    url = f"{stack.openai_base_url}/chat/completions"
    return await call(session, url, chat_body(MODEL, "hello"), token=stack.token)


async def _decision_reads(stack: Stack) -> float:
    """How many statements were needed so far to know who asks and what is to be done."""
    connector = aiohttp.UnixConnector(str(stack.run_dir / "headrace-admin.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as admin,
        admin.get("http://localhost/metrics") as answer,
    ):
        text = await answer.text()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == names.METRIC_DATABASE_STATEMENTS
        and sample.labels["kind"] == "read"
        and sample.labels["service"] in {"auth", "router"}
    )


async def test_requests_go_on_without_the_database(
    server: Postgres, launch: Launch, session: aiohttp.ClientSession
) -> None:
    """
    What is known is not asked for again, so its loss is not noticed; entries come when it is back.

    A token that nobody knows yet cannot be looked up meanwhile, which is a 503 and not a 401.
    """
    stack = launch("inline", envoy=False, HEADRACE_DATABASE_URL=server.url)
    assert 200 == (await _ask(session, stack)).status
    before = await _decision_reads(stack)
    steady = [await _ask(session, stack) for _ in range(20)]
    assert [200] * 20 == [answer.status for answer in steady]
    assert before == await _decision_reads(stack) > 0

    await asyncio.to_thread(server.stop)
    during = [await _ask(session, stack) for _ in range(10)]
    url = f"{stack.openai_base_url}/chat/completions"
    stranger = await call(session, url, chat_body(MODEL, "hello"), token="hr_aaaaaaaaaaaa_" + "a" * 43)
    assert [200] * 10 == [answer.status for answer in during]
    assert 503 == stranger.status, stranger.body

    await asyncio.to_thread(server.start)
    await asyncio.to_thread(stack.wait_ready)
    logs = LogView(session, stack)
    found = [await logs.entry(answer.log_id, timeout_s=60) for answer in (*steady, *during)]
    assert [200] * 30 == [entry["status_code"] for entry in found]
