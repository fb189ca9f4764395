"""
Measures everything, prints it and writes it to `build/bench.json`: `make bench`.

`make bench A="--only translation"` measures a part.

Budgets are those of the design: CPU of all our processes together, Envoy apart.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.table import Table

from bench import load, subjects, translation
from tests.fakes.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.subjects import Subject
    from tests.fakes.stack import Topology

# Milliseconds of CPU.
BUDGETS = {
    ("split", "request"): 1.3,
    ("inline", "request"): 0.5,
    ("split", "token"): 0.14,
    ("inline", "token"): 0.06,
    ("split", "hit"): 0.8,
}
# What `--only` may name beside subjects: the dialects alone, in this process.
_TRANSLATION = "translation"
_TOPOLOGIES: tuple[Topology, ...] = ("split", "inline")
_SUBJECTS = ("direct", "envoy", "plain", *_TOPOLOGIES)
_TOKENS = (20, 220)
_STREAMS = 16


@dataclass(slots=True)
class Figures:
    """What was measured of one subject; CPU in milliseconds, latency in milliseconds, memory in MB."""

    cpu_ms: dict[str, float] = field(default_factory=dict)
    envoy_cpu_ms: dict[str, float] = field(default_factory=dict)
    cpu_by_process_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    rss_mb: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure, print a table and write `build/bench.json`."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="requests of each measurement")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        choices=[_TRANSLATION, *_SUBJECTS],
        help="what to measure; all by default",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench.json"), help="where figures are written"
    )
    arguments = parser.parse_args()
    only = arguments.only or [_TRANSLATION, *_SUBJECTS]
    console = Console(width=140)
    costs: list[translation.Cost] = []
    # First of all: nothing that was started disturbs it.
    if _TRANSLATION in only:
        console.print("measuring the dialects alone …")
        costs = translation.measure(translation.Effort())
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="hr-bench-") as temporary:
        for subject in _subjects(Path(temporary), only):
            console.print(f"measuring {subject.name} …")
            found[subject.name] = asyncio.run(_measure(subject, arguments.requests))
    if costs:
        console.print(translation.table(costs))
    if found:
        _print(console, found)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "cores": os.cpu_count(),
        "budgets_ms": {"/".join(k): v for k, v in BUDGETS.items()},
        "figures": found,
        "translation": costs,
    }
    arguments.out.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    console.print(f"written to {arguments.out}")


def _subjects(directory: Path, only: list[str]) -> Iterator[Subject]:
    if not set(_SUBJECTS) & set(only):
        return
    ports = free_ports(3)
    with ExitStack() as stack:
        base = stack.enter_context(subjects.upstream(ports[0]))
        made: dict[str, Callable[[], AbstractContextManager[Subject]]] = {
            "direct": lambda: subjects.direct(base),
            "envoy": lambda: subjects.envoy(ports[0], ports[1], directory),
            "plain": lambda: subjects.plain_proxy(base, ports[2]),
            **{name: partial(subjects.headrace, name, base, directory) for name in _TOPOLOGIES},
        }
        for name, make in made.items():
            if name in only:
                with make() as subject:
                    yield subject
                    if name in _TOPOLOGIES:
                        yield subjects.translated(subject)


async def _measure(subject: Subject, count: int) -> Figures:
    figures = Figures()
    plain = load.Target(url=subject.url, model=subject.model, headers=subject.headers)
    await load.run(plain, count=300, in_flight=8)
    figures.latency_ms["1"] = _quantiles(await load.run(plain, count=count // 8, in_flight=1))
    await _count(figures, "request", subject, plain, count, in_flight=32)
    if subject.caches:
        cached = replace(plain, headers=(*subject.headers, ("cf-aig-cache-ttl", "600")))
        await load.run(cached, count=20, in_flight=1)
        await _count(figures, "hit", subject, cached, count, in_flight=32)
    await _measure_tokens(figures, subject)
    figures.rss_mb = {name: round(size, 1) for name, size in subject.rss_mb().items()}
    return figures


async def _measure_tokens(figures: Figures, subject: Subject) -> None:
    """Take the cost of a token from streams of two lengths, so that the cost of a request drops out."""
    totals: list[dict[str, float]] = []
    for tokens in _TOKENS:
        target = load.Target(
            url=subject.url,
            model=f"{subject.model}-tokens-{tokens}",
            stream=True,
            headers=subject.headers,
        )
        before = await _settled(subject)
        await load.run(target, count=_STREAMS * 4, in_flight=_STREAMS)
        after = await _settled(subject)
        totals.append({name: after[name] - before.get(name, 0.0) for name in after})
    tokens_between = (_TOKENS[1] - _TOKENS[0]) * _STREAMS * 4
    each = {name: (totals[1][name] - totals[0][name]) * 1000 / tokens_between for name in totals[1]}
    _keep(figures, "token", each)


async def _count(
    figures: Figures, what: str, subject: Subject, target: load.Target, count: int, *, in_flight: int
) -> None:
    before = await _settled(subject)
    seconds = await load.run(target, count=count, in_flight=in_flight)
    after = await _settled(subject)
    figures.latency_ms[str(in_flight) if what == "request" else what] = _quantiles(seconds)
    _keep(figures, what, {name: (after[name] - before.get(name, 0.0)) * 1000 / count for name in after})


def _keep(figures: Figures, what: str, each: dict[str, float]) -> None:
    figures.cpu_by_process_ms[what] = {name: round(value, 4) for name, value in each.items()}
    figures.cpu_ms[what] = round(sum(value for name, value in each.items() if name != "envoy"), 4)
    figures.envoy_cpu_ms[what] = round(each.get("envoy", 0.0), 4)


async def _settled(subject: Subject) -> dict[str, float]:
    """Wait until what follows a request (recording it) is done, then read the CPU used."""
    await asyncio.sleep(1.0)
    return subject.cpu_s()


def _quantiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(cuts[49] * 1000, 3), "p99": round(cuts[98] * 1000, 3)}


def _print(console: Console, found: dict[str, Figures]) -> None:
    base = found.get("plain proxy")
    table = Table(title="CPU in ms, ours (Envoy apart); x is the ratio to the plain proxy; latency in ms")
    for column in (
        "",
        "request",
        "x",
        "token",
        "x",
        "cache hit",
        "envoy/request",
        "p50 at 1",
        "p50 at 32",
        "p99 at 32",
    ):
        table.add_column(column, justify="right" if column else "left")
    for name, figures in found.items():
        table.add_row(
            name,
            _cell(name, "request", figures),
            _ratio(figures, base, "request"),
            _cell(name, "token", figures),
            _ratio(figures, base, "token"),
            _cell(name, "hit", figures),
            f"{figures.envoy_cpu_ms.get('request', 0):.3f}",
            f"{figures.latency_ms['1']['p50']:.2f}",
            f"{figures.latency_ms['32']['p50']:.2f}",
            f"{figures.latency_ms['32']['p99']:.2f}",
        )
    console.print(table)
    for name, figures in found.items():
        for what, each in figures.cpu_by_process_ms.items():
            if len(each) > 2:
                console.print(f"{name} {what}: " + ", ".join(f"{who} {ms:.3f}" for who, ms in each.items()))
        if figures.rss_mb:
            console.print(
                f"{name} memory, MB: " + ", ".join(f"{who} {mb:.0f}" for who, mb in figures.rss_mb.items())
            )


def _cell(name: str, what: str, figures: Figures) -> str:
    value = figures.cpu_ms.get(what)
    if value is None:
        return ""
    budget = BUDGETS.get((name, what))
    if budget is None:
        return f"{value:.3f}"
    colour = "green" if value <= budget else "red"
    return f"[{colour}]{value:.3f}[/] of {budget}"


def _ratio(figures: Figures, base: Figures | None, what: str) -> str:
    if base is None or not base.cpu_ms.get(what):
        return ""
    return f"{figures.cpu_ms[what] / base.cpu_ms[what]:.1f}"


if __name__ == "__main__":
    began = time.monotonic()
    main()
    Console().print(f"took {time.monotonic() - began:.0f} s")
