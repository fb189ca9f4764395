"""
Planned changes under a steady load: no request fails, no stream is cut, and the books are right afterwards.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.rehearsal.judging import counts, demand_nothing_failed, demand_right_books
from tests.rehearsal.system import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.rehearsal.conftest import Figure
    from tests.rehearsal.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What the short form restarts.
SHORT = ("edge",)


async def restart_in_turn(system: System, names: Iterable[str], figure: Figure) -> None:
    """Restart workloads one after the other under a load, and demand that nobody notices."""
    load = await system.load(*EVERYTHING, words=20)
    for name in names:
        began_s = time.time()
        await system.cluster.restart(name)
        await system.cluster.rolled_out(name, timeout_s=240)
        over = [one for one in load.outcomes() if one.end_s >= began_s]
        figure(
            f"restart of {name}, s, and requests over meanwhile",
            (round(time.time() - began_s, 1), counts(over)),
        )
    await load.goes_on(count=20)
    outcomes = await load.stop()
    figure("requests during all restarts", counts(outcomes))

    demand_nothing_failed(outcomes)
    await demand_right_books(system, load)


async def test_a_rolling_restart_is_not_noticed(system: System, figure: Figure) -> None:
    """No request fails and no stream is cut while an edge and an adapter are replaced."""
    await restart_in_turn(system, SHORT, figure)


@pytest.mark.whole
async def test_a_rolling_restart_of_everything_else_is_not_noticed(system: System, figure: Figure) -> None:
    """Nor while each other workload is replaced in its turn."""
    others = {pod.workload for pod in system.cluster.pods()} - {*SHORT, "otel-collector"}
    await restart_in_turn(system, sorted(others), figure)


@pytest.mark.whole
async def test_a_hot_restart_of_envoy_cuts_no_stream(system: System, figure: Figure) -> None:
    """SIGHUP has a new Envoy take over connections that come, while the old one ends those that it has."""
    load = await system.load(*EVERYTHING)
    for pod in system.cluster.pods("envoy"):
        began_s = time.time()
        await pod.send_signal(signal.SIGHUP)
        figure(
            f"first whole answer after a hot restart of {pod.name}, s", round(await load.goes_on(count=20), 2)
        )
        figure("requests over meanwhile", counts([one for one in load.outcomes() if one.end_s >= began_s]))
    outcomes = await load.stop()

    assert {0} == {pod.restarts for pod in system.cluster.pods("envoy")}
    demand_nothing_failed(outcomes)
    await demand_right_books(system, load)


@pytest.mark.whole
async def test_more_and_fewer_replicas_are_not_noticed(system: System, figure: Figure) -> None:
    """New replicas get their share, and those that go end what they have."""
    load = await system.load(*EVERYTHING)
    for replicas in (3, 2):
        for name in ("providers-openai", "edge", "envoy"):
            await system.cluster.scale(name, replicas)
            await system.cluster.rolled_out(name, timeout_s=240)
    await load.goes_on(count=20)
    outcomes = await load.stop()
    figure("requests while scaling", counts(outcomes))

    demand_nothing_failed(outcomes)
    await demand_right_books(system, load)
