"""`kill -9` of each process in turn, while requests run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.e2e.calls import DONE, call, chat_body
from tests.e2e.log_view import LogView
from tests.e2e.topologies import each_topology_of_its_own

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Launch
    from tests.fakes.stack import Stack, Topology

pytestmark = pytest.mark.timeout(300)

GPT = "openai/gpt-4o-mini+words=6+pace=5"
CLAUDE = "anthropic/claude-haiku-4-5+words=6+pace=5"
LOCAL = "local/smollm2-135m-instruct"
CALLERS = 6
# From an answer to the next question: a process that starts must get at the cores, too.
PAUSE_S = 0.15
REMAINING = "cf-aig-budget-remaining"
# All processes but Envoy, whose death a client sees as a refused connection.
VICTIMS = {
    "split": ["auth", "cache", "edge-0", "engine", "ledger", "providers", "providers-local", "router"],
    "inline": ["engine", "headrace", "providers-local"],
}
# Killed without a client of another provider noticing: a cache that is down is a miss, a ledger's records
# wait, decisions are cached, and the local model is apart.
UNNOTICED = {"auth", "cache", "engine", "ledger", "nothing", "providers-local", "router"}
# Clear errors for what could not be had meanwhile; 500 is none of them.
EXCUSED = {502, 503, 504}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a caller got."""

    event_id: str
    log_id: str | None
    status: int | None
    whole: bool
    streamed: bool
    during: str
    body: bytes


@dataclass(slots=True, kw_only=True)
class Load:
    """Requests that go on while processes are killed."""

    stack: Stack
    session: aiohttp.ClientSession
    models: tuple[str, ...] = (GPT, CLAUDE)
    during: str = "nothing"
    outcomes: list[Outcome] = field(default_factory=list)
    _stopping: bool = False
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    async def run_caller(self) -> None:
        """Ask one question after the other until told to stop."""
        while not self._stopping:
            await self._ask(next(self._numbers))
            await asyncio.sleep(PAUSE_S)

    def stop(self) -> None:
        """Let callers finish the question they are at."""
        self._stopping = True

    async def _ask(self, number: int) -> None:
        event_id = f"{self._run}-{number}"
        streamed = number % 2 == 0
        during = self.during
        status, log_id, body = None, None, b""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.session.post(
                f"{self.stack.openai_base_url}/chat/completions",
                json=chat_body(self.models[number // 2 % len(self.models)], event_id, stream=streamed),
                headers={"authorization": f"Bearer {self.stack.token}", "cf-aig-event-id": event_id},
            ) as response:
                status, log_id = response.status, response.headers.get("cf-aig-log-id")
                async for piece in response.content.iter_any():
                    body += piece
        self.outcomes.append(
            Outcome(
                event_id=event_id,
                log_id=log_id,
                status=status,
                whole=DONE.encode() in body if streamed else body.endswith(b"}"),
                streamed=streamed,
                during=during if during == self.during else f"{during}, then {self.during}",
                body=body,
            )
        )


async def back_again(stack: Stack, name: str, killed: int, *, timeout_s: float = 30) -> float:
    """
    Wait until a killed process runs again and the whole is ready.

    Returns:
        How long it took.
    """
    began = time.monotonic()
    while True:
        process = (await asyncio.to_thread(stack.processes)).get(name)
        if process and process.pid != killed and await asyncio.to_thread(stack.is_ready):
            return time.monotonic() - began
        assert time.monotonic() - began < timeout_s, f"{name} does not come back:\n{stack.log_end()}"
        await asyncio.sleep(0.05)


@each_topology_of_its_own
async def test_kill_each_process_while_requests_run(
    launch: Launch,
    topology: Topology,
    session: aiohttp.ClientSession,
    record_property: Callable[[str, object], None],
) -> None:
    """It comes back; meanwhile callers get answers or clear errors; each answer has exactly one log entry."""
    stack = await asyncio.to_thread(launch, topology, local_model=True)
    load = Load(stack=stack, session=session)
    names = sorted(name for name in stack.processes() if name != "envoy")
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(load.run_caller())
        await asyncio.sleep(1)
        for name in names:
            load.during = name
            took_s = await back_again(stack, name, await asyncio.to_thread(stack.kill, name))
            record_property(f"{topology}: {name} ready again after s", round(took_s, 2))
            await asyncio.sleep(0.5)
        load.during = "nothing"
        await asyncio.sleep(1)
        load.stop()
    for name, counts in tally(load.outcomes).items():
        record_property(f"{topology}: answers while {name} was killed", counts)

    assert names == VICTIMS[topology]
    judge(load.outcomes)
    await assert_one_entry_each(LogView(session, stack), load.outcomes)


def tally(outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    """Count the outcomes by what was killed meanwhile."""
    counts: dict[str, Counter[str]] = {}
    for one in outcomes:
        kind = (
            "whole" if one.status == 200 and one.whole else "broken" if one.status == 200 else str(one.status)
        )
        counts.setdefault(one.during, Counter())[kind] += 1
    return {name: dict(counter) for name, counter in counts.items()}


def judge(outcomes: list[Outcome]) -> None:
    """Require of every outcome what the design says of the process that was killed meanwhile."""
    for one in outcomes:
        if one.status == 200:
            # Never a truncated answer presented as complete: an error event, or a connection that broke.
            assert one.whole or b"[DONE]" not in one.body, one
        elif one.status is not None:
            assert one.status in EXCUSED, one
            assert b'"message"' in one.body, one
    by_victim = tally(outcomes)
    for name in UNNOTICED & by_victim.keys():
        assert set(by_victim[name]) == {"whole"}, (name, by_victim[name])
    assert all("whole" in counts for name, counts in by_victim.items() if "then" not in name), by_victim


async def assert_one_entry_each(logs: LogView, outcomes: list[Outcome]) -> None:
    """Require exactly one entry for every request that was answered, and none twice for any."""
    answered = {one.event_id: one.log_id for one in outcomes if one.status == 200 and one.whole}
    newest = await logs.with_all(answered.values(), among=len(outcomes) + 200)
    entries = Counter(entry["event_id"] for entry in newest)

    assert {event_id: entries[event_id] for event_id in answered} == dict.fromkeys(answered, 1)
    assert [event_id for event_id, count in entries.items() if count > 1] == []


async def test_a_killed_ledger_loses_nothing(launch: Launch, session: aiohttp.ClientSession) -> None:
    """Answers that were given while the ledger was away are in the log when it is back, once each."""
    stack = await asyncio.to_thread(launch, "split")
    url = f"{stack.openai_base_url}/chat/completions"
    ids = []
    for round_number in range(2):
        killed = await asyncio.to_thread(stack.kill, "ledger")
        for number in range(10):
            answer = await call(session, url, chat_body(GPT, f"{round_number}-{number}"), token=stack.token)
            assert answer.status == 200
            ids.append(answer.log_id)
        await back_again(stack, "ledger", killed)
    entries = await LogView(session, stack).with_all(ids, among=100)

    assert sorted(entry["id"] for entry in entries) == sorted(ids)


async def test_what_a_stream_used_survives_its_edge(launch: Launch, session: aiohttp.ClientSession) -> None:
    """
    An edge that dies in a stream leaves an entry that says what was used by then, and what that costs.

    Limits are told the same by its next life: what was reserved is not held until it runs out.
    """
    stack = await asyncio.to_thread(launch, "split", envoy=False)
    rule = {"limitType": "cost", "limit": 1, "window": 86_400, "technique": "fixed", "mode": "hard"}
    made = await call(
        session,
        f"{stack.base_url}/client/v4/accounts/local/ai-gateway/gateways",
        {
            "id": "limited",
            "cache_invalidate_on_update": False,
            "cache_ttl": 0,
            "collect_logs": True,
            "rate_limiting_interval": 0,
            "rate_limiting_limit": 0,
            "spend_limits": {"enabled": True, "rules": [{"id": "all", **rule}]},
        },
        token=stack.token,
    )
    assert made.status == 200, made.body
    url = f"{stack.gateway_url('limited')}/compat/chat/completions"
    logs = LogView(session, stack, gateway="limited")
    priced = "openai/gpt-4o-mini"
    before = await call(session, url, chat_body(priced, "hi", max_tokens=6), token=stack.token)
    words = killed = 0
    async with session.post(
        url,
        json=chat_body(priced, "hi", stream=True),
        headers={"authorization": f"Bearer {stack.token}", "x-fake": "words=5000; pace=10"},
    ) as response:
        log_id = response.headers["cf-aig-log-id"]
        assert response.status == 200, await response.read()
        with contextlib.suppress(aiohttp.ClientError):
            async for line in response.content:
                words += b'"content":"' in line
                if words == 150 and not killed:
                    killed = await asyncio.to_thread(stack.kill, "edge-0")
    await back_again(stack, "edge-0", killed)
    entry = await logs.entry(log_id, timeout_s=30)
    first = await logs.entry(before.log_id, timeout_s=30)

    assert not entry["success"]
    assert entry["usage_metadata"]["estimated"]
    assert 0 < entry["tokens_out"] <= words
    assert entry["cost"] > 0
    gone = 0.0
    # Each of these reserves as much as the first one did, and costs the same.
    for asked in range(1, 100):
        after = await call(session, url, chat_body(priced, "hi", max_tokens=6), token=stack.token)
        gone = float(before.headers[REMAINING]) - float(after.headers[REMAINING])
        if gone == pytest.approx(entry["cost"] + asked * first["cost"], abs=1e-9):
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail(f"{gone} dollars are gone, of which {entry['cost']} are the stream's")


async def test_a_killed_envoy_comes_back(launch: Launch, session: aiohttp.ClientSession) -> None:
    """When the front door dies it is opened again."""
    stack = await asyncio.to_thread(launch, "inline")
    await back_again(stack, "envoy", await asyncio.to_thread(stack.kill, "envoy"))
    answer = await call(
        session, f"{stack.openai_base_url}/chat/completions", chat_body(GPT, "hi"), token=stack.token
    )

    assert answer.status == 200


async def test_one_of_two_edges_is_enough(launch: Launch, session: aiohttp.ClientSession) -> None:
    """With two edges, requests that begin after one has died are all answered."""
    stack = await asyncio.to_thread(launch, "split", workers=2)
    url = f"{stack.openai_base_url}/chat/completions"
    await asyncio.to_thread(stack.kill, "edge-1")
    answers = [await call(session, url, chat_body(GPT, str(n)), token=stack.token) for n in range(40)]

    assert Counter(answer.status for answer in answers) == {200: 40}


async def test_the_local_models_process_is_apart(launch: Launch, session: aiohttp.ClientSession) -> None:
    """A local model that dies takes no other provider with it, and answers again when it is back."""
    stack = await asyncio.to_thread(launch, "split", local_model=True)
    url = f"{stack.openai_base_url}/chat/completions"
    killed = await asyncio.to_thread(stack.kill, "providers-local")
    other = await call(session, url, chat_body(GPT, "hi"), token=stack.token)
    meanwhile = await call(session, url, chat_body(LOCAL, "hi", max_tokens=4), token=stack.token)
    await back_again(stack, "providers-local", killed)
    again = await call(session, url, chat_body(LOCAL, "hi", max_tokens=4), token=stack.token)

    assert other.status == 200
    assert meanwhile.status in {200, *EXCUSED}
    assert again.status == 200
