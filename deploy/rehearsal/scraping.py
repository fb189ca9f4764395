"""
Fetches metrics as Prometheus would: from its own address, under the same policies, at what monitors name.
"""

from __future__ import annotations

import asyncio
import http.client
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.rehearsal import links
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.selectors import of_labels, selects

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.rehearsal.objects import Monitor, Service
    from deploy.rehearsal.pods import PodRecord

__all__ = ["Target", "fetch_all", "targets"]

_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where one pod's metrics are."""

    name: str
    address: str
    port: int
    path: str


def targets(
    monitors: Sequence[Monitor], services: Sequence[Service], pods: Sequence[PodRecord]
) -> list[Target]:
    """
    Return what monitors name.

    Raises:
        RehearsalError: A monitor names nothing.
    """
    found = []
    for monitor in monitors:
        own = list(_of_monitor(monitor, services, [pod for pod in pods if pod.phase == "Running"]))
        if not own:
            raise RehearsalError(f"{monitor.kind}/{monitor.name} has no target")
        found += own
    return found


def _of_monitor(monitor: Monitor, services: Sequence[Service], pods: Sequence[PodRecord]) -> Iterator[Target]:
    for pod in pods:
        for endpoint in monitor.endpoints:
            port: int | str | None = endpoint.port
            if monitor.kind == "PodMonitor":
                there = selects(monitor.selector, pod.labels)
            else:
                behind = [each for each in services if selects(monitor.selector, dict(each.labels))]
                behind = [each for each in behind if selects(of_labels(dict(each.selector)), pod.labels)]
                named = [each.target for service in behind for each in service.ports if each.name == port]
                there, port = bool(named), next(iter(named), None)
            number = port if isinstance(port, int) else {name: n for name, _, n in pod.ports}.get(port or "")
            if there and number is not None:
                yield Target(
                    name=f"{monitor.name}/{pod.name}", address=pod.address, port=number, path=endpoint.path
                )


async def fetch_all(found: Sequence[Target], network: int) -> dict[str, str]:
    """
    Fetch metrics of all targets, one after the other.

    Raises:
        RehearsalError: One does not give them.
    """
    return {target.name: await asyncio.to_thread(_fetch, target, network) for target in found}


def _fetch(target: Target, network: int) -> str:
    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection(target.address, target.port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", target.path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    try:
        status, text = links.in_network(network, get)
    except OSError as error:
        raise RehearsalError(f"{target.name}: {error}") from None
    if status != 200:
        raise RehearsalError(f"{target.name}: status {status}")
    return text
