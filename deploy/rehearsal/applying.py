"""
Checks that the objects of manifests fit together, before any of them is applied; and issues certificates.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from deploy.rehearsal.errors import ManifestError
from deploy.rehearsal.objects import (
    Autoscaler,
    Budget,
    Certificate,
    Data,
    Monitor,
    Object,
    Service,
    ServiceAccount,
    Workload,
)  # fmt: skip
from deploy.rehearsal.selectors import of_labels, selects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.certificates import Authority
    from deploy.rehearsal.selectors import Selector

__all__ = ["Key", "check", "issue"]

Key = tuple[str, str, str]
"""Kind, namespace and name."""


def check(objects: Mapping[Key, Object]) -> None:
    """
    Check that what objects name is there.

    Raises:
        ManifestError: Something is not, or selects nothing.
    """
    for found in objects.values():
        if isinstance(found, Autoscaler):
            _named(found, objects, "spec.scaleTargetRef", found.target_kind, found.target)
        elif isinstance(found, Workload):
            for volume in found.template.spec.volumes:
                if volume.kind == "claim":
                    path = "spec.template.spec.volumes"
                    _named(found, objects, path, "PersistentVolumeClaim", volume.claim)
            account = found.template.spec.service_account
            if account != "default":
                _named(
                    found, objects, "spec.template.spec.serviceAccountName", ServiceAccount.__name__, account
                )
        elif isinstance(found, Budget | Monitor):
            _selects_something(found, found.selector, objects)
        elif isinstance(found, Service) and found.selector:
            _selects_something(found, of_labels(dict(found.selector)), objects)
            _ports(found, objects)


def _named(found: Object, objects: Mapping[Key, Object], path: str, kind: str, name: str) -> None:
    if (kind, found.namespace, name) not in objects:
        raise ManifestError(f"{found.kind}/{found.name}", path, f"there is no {kind}/{name}")


def _selected(found: Object, selector: Selector, objects: Mapping[Key, Object]) -> list[Workload]:
    return [
        each
        for each in objects.values()
        if isinstance(each, Workload)
        and each.namespace == found.namespace
        and selects(selector, dict(each.template.labels))
    ]


def _selects_something(found: Object, selector: Selector, objects: Mapping[Key, Object]) -> None:
    if isinstance(found, Monitor) and found.kind == "ServiceMonitor":
        there = any(
            isinstance(each, Service) and selects(selector, dict(each.labels)) for each in objects.values()
        )
    else:
        there = bool(_selected(found, selector, objects))
    if not there:
        raise ManifestError(f"{found.kind}/{found.name}", "spec.selector", "selects nothing that is there")


def _ports(service: Service, objects: Mapping[Key, Object]) -> None:
    """Check that a port by name is one of every pod that the Service selects."""
    for workload in _selected(service, of_labels(dict(service.selector)), objects):
        spec = workload.template.spec
        names = {
            (port.name, port.protocol)
            for each in (*spec.containers, *spec.init_containers)
            for port in each.ports
        }
        for port in service.ports:
            if isinstance(port.target, str) and (port.target, port.protocol) not in names:
                problem = f"{workload.kind}/{workload.name} has no {port.protocol} port {port.target}"
                raise ManifestError(f"Service/{service.name}", "spec.ports", problem)


def issue(certificates: Iterable[Certificate], authority: Authority) -> Sequence[Data]:
    """
    Return the Secrets of certificates, all signed by one authority; that of an authority holds its
    certificate.
    """
    made = []
    for each in certificates:
        lifetime = timedelta(days=90) if each.duration_s is None else timedelta(seconds=each.duration_s)
        if each.is_ca:
            data = {"ca.crt": authority.pem, "tls.crt": authority.pem}
        else:
            data = authority.issue(dns=each.names, uri=each.uris, lifetime=lifetime)
        made.append(Data(kind="Secret", name=each.secret, namespace=each.namespace, data=data))
    return made
