"""
Metrics that every process has, and the measure of how long its event loop stood still.

A registry is made for each process and handed to whoever counts something; the global one of the Prometheus
client is not used, so that several processes' worth of services can live in one.
"""

from __future__ import annotations

import asyncio
import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from kit.telemetry import names
from kit.version import VERSION

__all__ = ["LoopStall", "new_registry", "statement_counter"]

# Part of a stall can hide inside this gap: one of 100 ms shows as 50 to 100 ms, and one of 150 ms always
# shows as 100 ms or more. Twenty wake-ups a second cost about a thousandth of a core.
_GAP_S = 0.05
_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def new_registry(process: str) -> CollectorRegistry:
    """Return a registry with the metrics of the process itself: memory, CPU, file descriptors, GC."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        names.METRIC_BUILD_INFO,
        "Always 1; the labels say what runs.",
        ["version", "process"],
        registry=registry,
    )
    build.labels(version=VERSION, process=process).set(1)
    return registry


def statement_counter(registry: CollectorRegistry) -> Counter:
    """Return the counter of statements that all services of a process share."""
    return Counter(
        names.METRIC_DATABASE_STATEMENTS,
        "Statements sent to a service's database, but for those that ask whether it answers.",
        ["service", "kind"],
        registry=registry,
    )


class LoopStall:
    """
    Measures how late the event loop runs what was due.

    A timer is due every 50 ms; how much later than that it runs is how long something held the loop.

    Args:
        registry: Takes the histogram of all delays, a gauge of the longest one since the start, and one of
            the tasks that the loop has.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histogram = Histogram(
            names.METRIC_LOOP_STALL,
            "How late a timer ran that was due every 50 ms.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._longest = Gauge(
            names.METRIC_LOOP_STALL_MAX, "Longest delay of that timer since the start.", registry=registry
        )
        self._tasks = Gauge(names.METRIC_LOOP_TASKS, "Tasks that have not ended.", registry=registry)
        self._longest_s = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def start(self) -> None:
        """Begin to measure the running loop."""
        loop = asyncio.get_running_loop()
        # Counted when metrics are asked for, which the loop itself does.
        self._tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
        self._schedule(loop)

    def stop(self) -> None:
        """Stop measuring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def longest_s(self) -> float:
        """The longest delay since the start."""
        return self._longest_s

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not `loop.time()`: uvloop's is read once for each turn of the loop, in whole milliseconds.
        self._due_s = time.monotonic() + _GAP_S
        self._handle = loop.call_later(_GAP_S, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        late_s = max(0.0, time.monotonic() - self._due_s)
        self._histogram.observe(late_s)
        if late_s > self._longest_s:
            self._longest_s = late_s
            self._longest.set(late_s)
        self._schedule(loop)
