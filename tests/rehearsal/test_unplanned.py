"""What dies under a steady load takes with it what was under way on it, says so clearly, and nothing else."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.rehearsal.judging import counts, demand_nothing_failed, demand_only, demand_right_books
from tests.rehearsal.system import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rehearsal.conftest import Figure
    from tests.rehearsal.outcome import Outcome
    from tests.rehearsal.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPONENTS = ("envoy", "edge", "providers-openai", "auth", "router", "cache", "ledger")
# Until others have heard of an end, on a busy machine. Services are sent a reset at once; clients go on to
# be led to an Envoy that is not there until the cluster has taken it out of the Service, and are refused.
HEARD_S = {"envoy": 4.0}
USUALLY_HEARD_S = 1.0
CUT_S = 30.0
AWAY_S = 5.0
# What a client meets that is still led to an Envoy on a host that is away. Kubernetes itself takes 40 s to
# notice; a cloud's load balancer asks hosts how they do, and is not part of this.
NOT_CONNECTED = (
    "ConnectionTimeoutError: Connection timeout to host",
    "UNAVAILABLE: failed to connect",
    "silence",
)


def under_way(at_s: float, *, heard_s: float) -> Callable[[Outcome], bool]:
    """Return whether a request was under way at a moment, or began before it was known."""
    return lambda one: one.begin_s <= at_s + heard_s and one.end_s >= at_s


async def kill(system: System, component: str, figure: Figure) -> None:
    """Kill one pod's process under a load, and demand that only what was under way on it fails."""
    load = await system.load(*EVERYTHING)
    pod = system.cluster.pods(component)[-1]
    restarts = pod.restarts
    at_s = time.time()
    await pod.kill()
    recovery_s = await load.goes_on(count=20)
    await system.cluster.until(
        lambda: pod.restarts > restarts and pod.ready, timeout_s=90, what=f"{pod.name} ready again"
    )
    figure(f"{component}: ready again after s", round(time.time() - at_s, 1))
    figure(f"{component}: first whole answer to who asked after the kill, s", round(recovery_s, 2))
    outcomes = await load.stop()
    figure(f"{component}: requests", counts(outcomes))
    figure(
        f"{component}: how they failed",
        sorted({(one.kind, one.reason[:60]) for one in outcomes if one.kind != "whole"}),
    )

    failed = [one for one in outcomes if one.kind != "whole"]
    figure(
        f"{component}: last failed request began after s",
        round(max((one.begin_s for one in failed), default=at_s) - at_s, 2),
    )
    was_under_way = under_way(at_s, heard_s=HEARD_S.get(component, USUALLY_HEARD_S))
    demand_only(outcomes, was_under_way, most=sum(map(was_under_way, outcomes)))
    await demand_right_books(system, load)


async def test_the_kill_of_an_adapter_fails_only_what_ran_on_it(system: System, figure: Figure) -> None:
    """Calls that the adapter had in hand end with an error that says so; all others go on."""
    await kill(system, "providers-openai", figure)


@pytest.mark.whole
@pytest.mark.parametrize("component", [name for name in COMPONENTS if name != "providers-openai"])
async def test_a_kill_fails_only_what_ran_on_it(system: System, figure: Figure, component: str) -> None:
    """Likewise for each other workload."""
    await kill(system, component, figure)


@pytest.mark.whole
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_host_that_is_cut_off_fails_only_what_ran_on_it(
    system: System, figure: Figure, number: int
) -> None:
    """Packets to and from one host vanish for half a minute: what runs on it fails, and others take over."""
    node = system.cluster.nodes[number]
    there = sorted(pod.name for pod in system.cluster.pods() if pod.node == node)
    # Patient clients: whoever waits on what has vanished is to be told by us.
    load = await system.load(*EVERYTHING, silence_s=60)
    async with system.cluster.cut(node):
        at_s = time.time()
        await asyncio.sleep(CUT_S)
    back_s = time.time()
    recovery_s = await load.goes_on(count=20)
    outcomes = await load.stop()
    failed = [one for one in outcomes if one.kind != "whole"]
    figure(f"{node} with {', '.join(there)}", counts(outcomes))
    if failed:
        figure(
            f"{node}: last failed request began after s", round(max(one.begin_s for one in failed) - at_s, 1)
        )
        figure(f"{node}: how they failed", sorted({(one.kind, one.reason[:60]) for one in failed}))
    figure(f"{node}: longest whole answer during the cut, s", longest_s(outcomes, at_s, back_s))
    figure(f"{node}: first whole answer after the cut, s", round(recovery_s, 2))

    # Nobody is told of a host that is silent: the first to ask it finds out, and everybody who asked
    # meanwhile waits.
    was_under_way = under_way(at_s, heard_s=6.0)
    envoy_there = any(name.startswith("envoy") for name in there)

    def allowed(one: Outcome) -> bool:
        return was_under_way(one) or (envoy_there and one.reason.startswith(NOT_CONNECTED))

    demand_only(outcomes, allowed, most=len(outcomes) // 3)
    await demand_right_books(system, load)


def longest_s(outcomes: list[Outcome], begin_s: float, end_s: float) -> float:
    """Return how long the longest whole answer took that began between two moments."""
    times = [
        one.end_s - one.begin_s for one in outcomes if one.kind == "whole" and begin_s <= one.begin_s <= end_s
    ]
    return round(max(times, default=0.0), 2)


@pytest.mark.whole
async def test_a_restart_of_postgresql_fails_nothing(system: System, figure: Figure) -> None:
    """Decisions are known, and entries wait in the spool."""
    load = await system.load(*EVERYTHING)
    await system.cluster.host("postgres").stop()
    figure("first whole answer while PostgreSQL is away, s", round(await load.goes_on(count=40), 2))
    await asyncio.sleep(AWAY_S)
    await system.cluster.host("postgres").start()
    figure("first whole answer when it is back, s", round(await load.goes_on(count=40), 2))
    outcomes = await load.stop()
    figure("requests", counts(outcomes))

    demand_nothing_failed(outcomes)
    await demand_right_books(system, load)


@pytest.mark.whole
async def test_a_restart_of_valkey_fails_nothing(system: System, figure: Figure) -> None:
    """What a hard limit of money may not let through without its counters waits; everything else goes on."""
    await system.make_gateway("valkey-hard")
    await system.make_gateway("valkey-soft", mode="soft")
    load = await system.load(*EVERYTHING, gateways=("valkey-hard", "valkey-soft"))
    at_s = time.time()
    await system.cluster.host("valkey").stop()
    await asyncio.sleep(AWAY_S)
    await system.cluster.host("valkey").start()
    back_s = time.time()
    figure("first whole answer when Valkey is back, s", round(await load.goes_on(count=40), 2))
    outcomes = await load.stop()
    figure("Valkey was away for s", round(back_s - at_s, 1))
    figure("requests", counts(outcomes))
    figure("longest whole answer meanwhile, s", longest_s(outcomes, at_s, back_s))

    demand_nothing_failed(outcomes)
    hard, soft = await system.books(load)
    assert [] == hard.faults() + soft.faults()
    assert (hard.logged_nano_usd, 0) == (hard.counted_nano_usd, hard.reserved_nano_usd)
    assert soft.whole_nano_usd == soft.logged_nano_usd
