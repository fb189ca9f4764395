"""What all pods share, as their kubelets are given it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from deploy.rehearsal.control_groups import Limits
    from deploy.rehearsal.images import Images
    from deploy.rehearsal.network import Network
    from deploy.rehearsal.objects import Data
    from deploy.rehearsal.pods import PodRecord
    from deploy.rehearsal.starter import Starter

__all__ = ["Surroundings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """
    What all pods share.

    Args:
        starter: Starts containers.
        network: Plugs pods in.
        images: What stands for images.
        limits: Control groups.
        find: Returns a ConfigMap or Secret by namespace, kind and name.
        files: Lays out a pod's `/etc`.
        starting: Lets so many containers start at the same time.
        event: Tells what happened: kind, subject, message.
        changed: Called after every change of a pod.
    """

    starter: Starter
    network: Network
    images: Images
    limits: Limits
    find: Callable[[str, str, str], Data | None]
    files: Callable[[PodRecord], None]
    starting: asyncio.Semaphore
    event: Callable[[str, str, str], None]
    changed: Callable[[PodRecord], None]
