"""
Keeps pods as workloads say: makes, replaces and removes them, and says how far a roll-out is.

`rollout` decides; this carries it out.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.kubelet import Kubelet
from deploy.rehearsal.pods import PodRecord
from deploy.rehearsal.rollout import PodView, deployment_step, stateful_step
from deploy.rehearsal.scheduler import Placed, choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from deploy.rehearsal.objects import Autoscaler, Workload
    from deploy.rehearsal.surroundings import Surroundings

__all__ = ["Controllers", "Rollout", "described"]

_TICK_S: Final = 0.25  # for what depends on time alone, such as minReadySeconds
_JOB_BACK_OFF_S: Final = 10.0
_OVER: Final = ("Gone", "Succeeded", "Failed")
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(kw_only=True, slots=True)
class Managed:
    """A workload, and what its controller remembers of it."""

    workload: Workload
    replicas: int
    restarts: int = 0
    progress_s: float = 0.0
    progress: tuple[int, int] = (-1, -1)
    failures: int = 0
    not_before_s: float = 0.0
    outcome: str = ""

    @property
    def digest(self) -> str:
        """What its pods are told apart by."""
        base = self.workload.template.digest
        return f"{base}-{self.restarts}" if self.restarts else base


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """How far a workload is."""

    kind: str
    name: str
    wanted: int
    updated: int
    ready: int
    total: int
    done: bool
    failed: str = ""


class Controllers:
    """
    All workloads and their pods.

    Args:
        around: What pods need.
        directory: Where pods' directories are made.
        usable: Returns the nodes that pods may go to.
    """

    def __init__(self, around: Surroundings, directory: Path, usable: Callable[[], list[str]]) -> None:
        self._around = around
        self._directory = directory
        self._usable = usable
        self._managed: dict[tuple[str, str, str], Managed] = {}
        self._kubelets: dict[str, Kubelet] = {}
        self._deleting: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self.pods: dict[str, PodRecord] = {}

    # What is wanted

    def check(self, workload: Workload) -> None:
        """
        Check that a workload may be applied over what is there.

        Raises:
            RehearsalError: A job would change, which cannot be.
        """
        there = self._managed.get((workload.kind, workload.namespace, workload.name))
        if there is not None and workload.kind == "Job" and there.workload.template != workload.template:
            raise RehearsalError(f"Job/{workload.name}: a job cannot be changed; give the new one a new name")

    def apply(self, workload: Workload, autoscaler: Autoscaler | None) -> None:
        """Want a workload as it is now."""
        key = (workload.kind, workload.namespace, workload.name)
        replicas = 1 if workload.replicas is None else workload.replicas
        if autoscaler is not None:
            replicas = min(max(replicas, autoscaler.least), autoscaler.most)
        there = self._managed.get(key)
        if there is None:
            self._managed[key] = Managed(workload=workload, replicas=replicas, progress_s=time.monotonic())
        else:
            there.workload, there.replicas = workload, replicas
            there.progress_s = time.monotonic()
        self.wake()

    def find(self, name: str) -> Managed:
        """
        Return a workload by name.

        Raises:
            RehearsalError: There is none.
        """
        for managed in self._managed.values():
            if managed.workload.name == name:
                return managed
        raise RehearsalError(
            f"there is no workload {name}; there are {', '.join(key[2] for key in self._managed)}"
        )

    def restart(self, name: str) -> None:
        """Replace all pods of a workload, as its strategy says."""
        managed = self.find(name)
        managed.restarts += 1
        managed.progress_s = time.monotonic()
        self.wake()

    def scale(self, name: str, replicas: int) -> None:
        """Want another number of pods."""
        managed = self.find(name)
        managed.replicas = replicas
        managed.progress_s = time.monotonic()
        self.wake()

    def remove(self, kind: str, name: str) -> None:
        """Want a workload no more; its pods go."""
        managed = self.find(name)
        key = (kind, managed.workload.namespace, name)
        if key not in self._managed:
            raise RehearsalError(f"there is no {kind}/{name}")
        del self._managed[key]
        for pod in self._own(managed):
            _ = self.delete(pod.name)

    def wake(self) -> None:
        """Look at everything again soon."""
        self._wake.set()

    # What is

    def kubelet(self, name: str) -> Kubelet:
        """
        Return who runs a pod.

        Raises:
            RehearsalError: There is no such pod, or it has no node yet.
        """
        if name not in self._kubelets:
            raise RehearsalError(f"there is no running pod {name}")
        return self._kubelets[name]

    @property
    def kubelets(self) -> Iterable[Kubelet]:
        """Who runs pods."""
        return list(self._kubelets.values())

    def rollouts(self) -> list[Rollout]:
        """Return how far each workload is."""
        return [self._rollout(managed) for managed in self._managed.values()]

    def delete(self, name: str, grace_s: float | None = None) -> asyncio.Task[None]:
        """Delete a pod, as its grace allows; the task ends when it is gone."""
        pod = self.pods[name]
        pod.deleting = True
        self._around.changed(pod)
        task = asyncio.create_task(self._end(pod, grace_s))
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)
        return task

    async def run(self) -> None:
        """Carry out what is wanted, for ever."""
        while True:
            self._wake.clear()
            for managed in list(self._managed.values()):
                self._reconcile(managed)
            for pod in list(self.pods.values()):
                if pod.node is None and pod.phase == "Pending" and not pod.deleting:
                    self._place(pod)
            # Several changes at the same moment are looked at together.
            await asyncio.sleep(0.01)
            try:
                await asyncio.wait_for(self._wake.wait(), _TICK_S)
            except TimeoutError:
                continue

    # One workload

    def _own(self, managed: Managed) -> list[PodRecord]:
        workload = managed.workload
        return [
            pod
            for pod in self.pods.values()
            if (pod.kind, pod.namespace, pod.workload) == (workload.kind, workload.namespace, workload.name)
            and pod.phase != "Gone"
        ]

    def _reconcile(self, managed: Managed) -> None:
        if managed.workload.kind == "Job":
            self._reconcile_job(managed)
            return
        own = self._own(managed)
        views = [self._view(pod, managed) for pod in own if pod.phase not in _OVER]
        if managed.workload.kind == "StatefulSet":
            step = stateful_step(managed.replicas, views, parallel=managed.workload.parallel)
            for ordinal in step.ordinals:
                self._create(managed, f"{managed.workload.name}-{ordinal}", ordinal)
        else:
            step = deployment_step(managed.workload.strategy, managed.replicas, views)
            for _ in range(step.create):
                suffix = "".join(secrets.choice(_LETTERS) for _ in range(5))
                self._create(
                    managed, f"{managed.workload.name}-{managed.workload.template.digest}-{suffix}", 0
                )
        for name in step.delete:
            _ = self.delete(name)
        rollout = self._rollout(managed)
        if (rollout.updated, rollout.ready) != managed.progress:
            managed.progress = (rollout.updated, rollout.ready)
            managed.progress_s = time.monotonic()

    def _reconcile_job(self, managed: Managed) -> None:
        if managed.outcome:
            return
        own = self._own(managed)
        workload = managed.workload
        if any(pod.phase == "Succeeded" for pod in own):
            managed.outcome = "Complete"
            self._around.event("Complete", f"job/{workload.name}", "")
            return
        failed = [pod for pod in own if pod.phase == "Failed"]
        restarts = sum(state.restarts for pod in own for state in pod.containers.values())
        if len(failed) > managed.failures:
            managed.failures = len(failed)
            managed.not_before_s = time.monotonic() + _JOB_BACK_OFF_S * 2 ** (len(failed) - 1)
        deadline = workload.active_deadline_s
        if len(failed) + restarts > workload.backoff_limit or (
            deadline is not None and time.monotonic() - managed.progress_s > deadline
        ):
            managed.outcome = "Failed"
            self._around.event("Failed", f"job/{workload.name}", f"after {len(failed) + restarts} failures")
            for pod in own:
                if pod.phase not in _OVER:
                    _ = self.delete(pod.name)
        elif not any(pod.phase not in _OVER for pod in own) and time.monotonic() >= managed.not_before_s:
            suffix = "".join(secrets.choice(_LETTERS) for _ in range(5))
            self._create(managed, f"{workload.name}-{suffix}", 0)

    def _view(self, pod: PodRecord, managed: Managed) -> PodView:
        ready = pod.ready and pod.phase == "Running"
        for_s = time.monotonic() - pod.ready_since_s if pod.ready_since_s is not None else 0.0
        return PodView(
            name=pod.name,
            current=pod.digest == managed.digest,
            ready=ready,
            available=ready and for_s >= managed.workload.min_ready_s,
            deleting=pod.deleting,
            ordinal=pod.ordinal,
        )

    def _rollout(self, managed: Managed) -> Rollout:
        workload = managed.workload
        wanted, failed = managed.replicas, ""
        alive = [pod for pod in self._own(managed) if pod.phase not in _OVER]
        views = [view for view in (self._view(pod, managed) for pod in alive) if not view.deleting]
        updated = [view for view in views if view.current]
        ready = sum(view.available for view in updated)
        done = len(updated) == wanted == len(views) and ready == wanted
        if workload.kind == "Job":
            done, wanted = managed.outcome == "Complete", 1
            failed = "it failed" if managed.outcome == "Failed" else ""
        elif not done and time.monotonic() - managed.progress_s > workload.progress_deadline_s:
            failed = f"no progress for {workload.progress_deadline_s} s"
        return Rollout(
            kind=workload.kind, name=workload.name, wanted=wanted, updated=len(updated), ready=ready,
            total=len(views), done=done, failed=failed,
        )  # fmt: skip

    # One pod

    def _create(self, managed: Managed, name: str, ordinal: int) -> None:
        workload = managed.workload
        stateful = workload.kind == "StatefulSet"
        labels = dict(workload.template.labels)
        more = {
            "StatefulSet": {
                "statefulset.kubernetes.io/pod-name": name,
                "controller-revision-hash": managed.digest,
            },
            "Job": {"batch.kubernetes.io/job-name": workload.name, "job-name": workload.name},
        }.get(workload.kind, {"pod-template-hash": managed.digest})
        directory = self._directory / "pods" / f"{name}.{secrets.token_hex(3)}"
        directory.mkdir(parents=True)
        self.pods[name] = pod = PodRecord(
            name=name, namespace=workload.namespace, kind=workload.kind, workload=workload.name,
            template=workload.template, digest=managed.digest, labels={**labels, **more}, directory=directory,
            claims=self._directory / "claims",
            claim_names={claim: f"{claim}-{name}" for claim in workload.claims},
            ordinal=ordinal, subdomain=workload.service_name if stateful else "", hostname=name,
        )  # fmt: skip
        self._around.event("Created", f"pod/{name}", "")
        self._place(pod)

    def _place(self, pod: PodRecord) -> None:
        placed = [
            Placed(node=other.node.name, labels=other.labels, digest=other.digest)
            for other in self.pods.values()
            if other.node is not None and other.phase not in _OVER and other.namespace == pod.namespace
        ]
        node = choose(pod.template.spec, pod.digest, placed, self._usable())
        if node is None:
            if not pod.reason:
                pod.reason = "Unschedulable: no node that its constraints allow"
                self._around.event("FailedScheduling", f"pod/{pod.name}", pod.reason)
            self._around.changed(pod)
            return
        pod.node, pod.reason = self._around.network.nodes[node], ""
        self._around.event("Scheduled", f"pod/{pod.name}", node)
        kubelet = self._kubelets[pod.name] = Kubelet(pod, self._around)
        kubelet.start()
        self._around.changed(pod)

    async def _end(self, pod: PodRecord, grace_s: float | None) -> None:
        kubelet = self._kubelets.get(pod.name)
        if kubelet is not None:
            await kubelet.stop(grace_s)
            if self._kubelets.get(pod.name) is kubelet:
                del self._kubelets[pod.name]
        pod.phase = "Gone"
        self._around.changed(pod)
        if self.pods.get(pod.name) is pod:
            del self.pods[pod.name]
        self.wake()


def described(rollout: Rollout) -> dict[str, Any]:
    """Return a roll-out as JSON has it."""
    return {name: getattr(rollout, name) for name in Rollout.__slots__}
