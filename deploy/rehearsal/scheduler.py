"""Which node a pod goes to; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.rehearsal.selectors import Selector, selects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.rehearsal.pod_spec import PodSpec

__all__ = ["Placed", "choose"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A pod that has a node; `digest` tells templates apart."""

    node: str
    labels: Mapping[str, str]
    digest: str


def choose(spec: PodSpec, digest: str, placed: Sequence[Placed], nodes: Sequence[str]) -> str | None:
    """
    Return the node for a pod, or None when there is none that its constraints allow.

    Pods spread as the constraints say; what those leave open goes to the node with the fewest pods. Every
    node is a zone of its own.

    Args:
        spec: What the pod is.
        digest: Its template.
        placed: The pods of its namespace that have a node.
        nodes: The nodes that may be used.
    """
    best: tuple[int, int, str] | None = None
    for node in nodes:
        penalty = _penalty(spec, digest, placed, nodes, node)
        if penalty is not None:
            found = (penalty, sum(pod.node == node for pod in placed), node)
            best = found if best is None else min(best, found)
    return None if best is None else best[2]


def _penalty(
    spec: PodSpec, digest: str, placed: Sequence[Placed], nodes: Sequence[str], node: str
) -> int | None:
    """Return how much is against a node, None when it is not allowed."""
    penalty = 0
    for rule in spec.spread:
        counts = _counts(rule.selector, placed, nodes, digest if rule.this_template_only else None)
        skew = counts[node] + 1 - min(counts.values())
        if skew > rule.max_skew and rule.required:
            return None
        penalty += counts[node] - min(counts.values())
    for apart in spec.apart:
        there = _counts(apart.selector, placed, nodes, None)[node]
        if there and apart.required:
            return None
        penalty += there
    return penalty


def _counts(
    selector: Selector, placed: Sequence[Placed], nodes: Sequence[str], digest: str | None
) -> dict[str, int]:
    return {
        node: sum(
            pod.node == node and selects(selector, pod.labels) and digest in (None, pod.digest)
            for pod in placed
        )
        for node in nodes
    }
