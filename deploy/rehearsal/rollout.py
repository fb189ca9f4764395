"""
What to do next about the pods of a workload, as Kubernetes' controllers decide it; pure.

Deployments, as the rolling update does it: new pods come as long as there are at most `replicas + maxSurge`,
old ones go as long as at least `replicas - maxUnavailable` are available; those that are not ready go first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.rehearsal.objects import Strategy

__all__ = ["PodView", "Step", "deployment_step", "share", "stateful_step"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PodView:
    """
    What the decision needs to know of a pod.

    Args:
        name: Its name.
        current: Whether it is of the wanted template.
        ready: Whether it is ready.
        available: Whether it has been ready for `minReadySeconds`.
        deleting: Whether it is about to go.
        ordinal: Its number in a StatefulSet.
    """

    name: str
    current: bool
    ready: bool
    available: bool
    deleting: bool
    ordinal: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """
    What to do now.

    Args:
        create: How many new pods.
        ordinals: Which ones, for a StatefulSet.
        delete: The pods that go.
    """

    create: int = 0
    ordinals: tuple[int, ...] = ()
    delete: tuple[str, ...] = ()


def share(value: int | str, of: int, *, up: bool) -> int:
    """Return a number of pods: a number as it is, a share such as `25%` of the wanted ones rounded."""
    if isinstance(value, int):
        return value
    exact = of * int(value.removesuffix("%")) / 100
    return math.ceil(exact) if up else math.floor(exact)


def deployment_step(strategy: Strategy, replicas: int, pods: Sequence[PodView]) -> Step:
    """Return what to do next for a Deployment; pods that are about to go count no more."""
    pods = [pod for pod in pods if not pod.deleting] if not strategy.recreate else list(pods)
    current = [pod for pod in pods if pod.current]
    old = [pod for pod in pods if not pod.current]
    if strategy.recreate:
        if old:
            return Step(delete=tuple(pod.name for pod in old if not pod.deleting))
        return _to_number(replicas, [pod for pod in current if not pod.deleting])
    surge = share(strategy.max_surge, replicas, up=True)
    unavailable = share(strategy.max_unavailable, replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    if not old or len(current) > replicas:
        return _to_number(replicas, current)
    create = max(0, min(replicas - len(current), replicas + surge - len(pods)))
    # Pods that were never ready are in nobody's way: they go first, and do not count as lost.
    broken = [pod for pod in old if not pod.available]
    spare = sum(pod.available for pod in pods) - (replicas - unavailable)
    not_yet = sum(1 for pod in current if not pod.available)
    removable = max(0, len(pods) - (replicas - unavailable) - not_yet)
    going = [pod.name for pod in broken][:removable]
    good = [pod.name for pod in old if pod.available]
    going += good[: max(0, min(spare, removable - len(going)))]
    return Step(create=create, delete=tuple(going))


def _to_number(replicas: int, pods: Sequence[PodView]) -> Step:
    if len(pods) <= replicas:
        return Step(create=replicas - len(pods))
    in_order = sorted(pods, key=lambda pod: (pod.available, pod.ready))
    return Step(delete=tuple(pod.name for pod in in_order[: len(pods) - replicas]))


def stateful_step(replicas: int, pods: Sequence[PodView], *, parallel: bool) -> Step:
    """
    Return what to do next for a StatefulSet.

    Pods come from the lowest number up and go from the highest down, one after the other, each waiting for
    all others to be available; an update replaces the highest first.
    """
    by_ordinal = {pod.ordinal: pod for pod in pods}
    missing = tuple(number for number in range(replicas) if number not in by_ordinal)
    surplus = sorted((pod for pod in pods if pod.ordinal >= replicas), key=lambda pod: -pod.ordinal)
    if parallel and (missing or surplus):
        return Step(
            create=len(missing), ordinals=missing, delete=tuple(p.name for p in surplus if not p.deleting)
        )
    if any(pod.deleting for pod in pods):
        return Step()
    if missing:
        before = [by_ordinal[number] for number in range(missing[0])]
        return Step(create=1, ordinals=missing[:1]) if all(pod.available for pod in before) else Step()
    if surplus:
        return Step(delete=(surplus[0].name,))
    # The highest of those that are broken or of an old template; it must be back before the next goes.
    outdated = sorted((pod for pod in pods if not pod.current), key=lambda pod: -pod.ordinal)
    if outdated and all(pod.available for pod in pods if pod.ordinal > outdated[0].ordinal):
        return Step(delete=(outdated[0].name,))
    return Step()
