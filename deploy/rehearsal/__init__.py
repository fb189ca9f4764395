"""
A small, strict Kubernetes on one machine: it runs what rendered manifests say, as processes in network
namespaces.

docs/rehearsal.md says what is real, what is simulated, and what it cannot show.
"""

from __future__ import annotations

from deploy.rehearsal.cluster import OUTSIDE, Cluster
from deploy.rehearsal.errors import ManifestError, RehearsalError
from deploy.rehearsal.handles import Event, Host, HostSpec, Pod, Process
from deploy.rehearsal.images import Image, Images
from deploy.rehearsal.possible import reason_against

__all__ = [
    "OUTSIDE", "Cluster", "Event", "Host", "HostSpec", "Image", "Images", "ManifestError", "Pod", "Process",
    "RehearsalError", "reason_against",
]  # fmt: skip
