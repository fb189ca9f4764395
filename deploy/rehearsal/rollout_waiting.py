"""Waits for roll-outs, and says why one does not get there, with the log of the pod that holds it up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from deploy.rehearsal.errors import RehearsalError

if TYPE_CHECKING:
    from deploy.rehearsal.controllers import Controllers, Rollout
    from deploy.rehearsal.pods import PodRecord

__all__ = ["wait"]

_LOOK_S: Final = 0.05
_LOG_CHARACTERS: Final = 6000


async def wait(controllers: Controllers, names: list[str], timeout_s: float) -> None:
    """
    Wait until workloads are as wanted.

    Args:
        controllers: Know how far they are.
        names: Which; all of them when it is empty.
        timeout_s: How long.

    Raises:
        RehearsalError: One has failed, or not made it in time.
    """
    for name in names:
        controllers.find(name)
    end_s = time.monotonic() + timeout_s
    while True:
        rollouts = [each for each in controllers.rollouts() if not names or each.name in names]
        for each in rollouts:
            if each.failed:
                raise RehearsalError(_report(each, controllers, each.failed))
        left = [each for each in rollouts if not each.done]
        if not left:
            return
        if time.monotonic() > end_s:
            raise RehearsalError(
                "\n".join(_report(each, controllers, f"not within {timeout_s:g} s") for each in left)
            )
        await asyncio.sleep(_LOOK_S)


def _report(rollout: Rollout, controllers: Controllers, problem: str) -> str:
    pods = [pod for pod in controllers.pods.values() if pod.workload == rollout.name]
    worst = sorted(pods, key=lambda pod: (pod.ready, pod.phase == "Succeeded"))[:1]
    head = f"{rollout.kind}/{rollout.name}: {problem}"
    head += f": {rollout.ready} of {rollout.wanted} ready, {rollout.updated} updated"
    return "\n".join([head, *(_of_pod(pod) for pod in worst)])


def _of_pod(pod: PodRecord) -> str:
    log = pod.log.read_text(errors="replace")[-_LOG_CHARACTERS:] if pod.log.exists() else "(nothing)"
    return f"pod {pod.name}: {pod.phase}: {pod.reason or 'no reason'}; its log ends:\n{log}"
