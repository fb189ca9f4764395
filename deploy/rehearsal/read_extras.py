"""
Reads what is not run: budgets, autoscalers, rights, certificates, monitors, ways in.

What of these matters to a rehearsal becomes an object; the rest is read to its end all the same, and noted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal.objects import Autoscaler, Budget, Certificate, Monitor, Object, ScrapeEndpoint
from deploy.rehearsal.selectors import read_selector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deploy.rehearsal.fields import Fields

__all__ = ["EXTRAS"]

Reader = tuple[tuple[str, ...], "Callable[[Fields, dict[str, Any]], Object | None]"]

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def _budget(fields: Fields, base: dict[str, Any]) -> Budget:
    spec = fields.inside("spec")
    spec.no_meaning("pods that are not ready are evicted at once", "unhealthyPodEvictionPolicy")
    selector = spec.maybe("selector", read_selector)
    if not selector:
        spec.fail("selector", "selects everything, or is missing")
    found = Budget(
        **base,
        selector=selector,
        min_available=spec.take("minAvailable"),
        max_unavailable=spec.take("maxUnavailable"),
    )
    if (found.min_available is None) == (found.max_unavailable is None):
        spec.fail("minAvailable", "either this or maxUnavailable must be there")
    spec.finish()
    return found


def _autoscaler(fields: Fields, base: dict[str, Any]) -> Autoscaler:
    spec = fields.inside("spec")
    target = spec.inside("scaleTargetRef")
    target.only("others are not supported", apiVersion="apps/v1")
    kind, name = target.text("kind", one_of=("Deployment", "StatefulSet")), target.text("name")
    target.finish()
    spec.no_meaning(
        "the load of one machine says nothing about how many there should be", "metrics", "behavior"
    )
    found = Autoscaler(
        **base,
        target_kind=kind,
        target=name,
        least=spec.number("minReplicas", 1),
        most=spec.number("maxReplicas"),
    )
    if found.least > found.most:
        spec.fail("minReplicas", "is greater than maxReplicas")
    spec.finish()
    return found


def _duration_s(fields: Fields, name: str) -> float | None:
    text = fields.text(name, "")
    match = _DURATION.fullmatch(text)
    if match is None:
        fields.fail(name, f"{text!r} is no duration such as 24h0m0s")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds) or None


def _certificate(fields: Fields, base: dict[str, Any]) -> Certificate:
    spec = fields.inside("spec")
    issuer = spec.inside("issuerRef")
    issuer.text("kind", "Issuer", one_of=("Issuer", "ClusterIssuer"))
    issuer.only("others are not supported", group="cert-manager.io")
    issuer_name = issuer.text("name")
    issuer.finish()
    spec.no_meaning("a scenario renews certificates when it wants to", "renewBefore", "renewBeforePercentage")
    spec.no_meaning("keys are of one kind here", "privateKey")
    spec.no_meaning("certificates here are for servers and clients", "usages")
    spec.no_meaning(
        "nothing reads them", "subject", "secretTemplate", "revisionHistoryLimit", "additionalOutputFormats"
    )
    found = Certificate(
        **base,
        secret=spec.text("secretName"),
        names=spec.texts("dnsNames"),
        uris=spec.texts("uris"),
        common_name=spec.text("commonName", ""),
        issuer=issuer_name,
        is_ca=spec.flag("isCA", default=False),
        duration_s=_duration_s(spec, "duration"),
    )
    spec.finish()
    return found


def _monitor(list_name: str) -> Callable[[Fields, dict[str, Any]], Monitor]:
    def endpoint(fields: Fields) -> ScrapeEndpoint:
        fields.no_meaning("one look is enough here", "interval", "scrapeTimeout")
        fields.no_meaning(
            "what is done with metrics is not rehearsed", "relabelings", "metricRelabelings", "honorLabels"
        )
        fields.only("metrics are plain", scheme="http")
        port: Any = fields.take("port") or fields.take("portNumber") or fields.take("targetPort")
        if not isinstance(port, int | str):
            fields.fail("port", "is missing")
        return ScrapeEndpoint(port=port, path=fields.text("path", "/metrics"))

    def read(fields: Fields, base: dict[str, Any]) -> Monitor:
        spec = fields.inside("spec")
        spec.no_meaning(
            "what is done with metrics is not rehearsed", "podTargetLabels", "targetLabels", "jobLabel"
        )
        spec.no_meaning(
            "what is fetched is small here", "sampleLimit", "labelLimit", "targetLimit", "bodySizeLimit"
        )
        spec.only("others are not supported", namespaceSelector={"matchNames": [base["namespace"]]})
        selector = spec.maybe("selector", read_selector) or ()
        found = Monitor(**base, selector=selector, endpoints=spec.each(list_name, endpoint))
        spec.finish()
        return found

    return read


def _read_only(reason: str, *members: str) -> Callable[[Fields, dict[str, Any]], None]:
    def read(fields: Fields, base: dict[str, Any]) -> None:
        del base
        fields.no_meaning(reason, *members)

    return read


_NO_API_SERVER: Final = "there is no API server to have rights at"
_ONE_AUTHORITY: Final = "all certificates are of one authority here"
_NO_CONTROLLER: Final = "its controller is not part of the rehearsal; the overlay's own door is"

EXTRAS: Final[Mapping[str, Reader]] = {
    "PodDisruptionBudget": (("policy", "v1"), _budget),
    "HorizontalPodAutoscaler": (("autoscaling", "v2"), _autoscaler),
    "Certificate": (("cert-manager.io", "v1"), _certificate),
    "PodMonitor": (("monitoring.coreos.com", "v1"), _monitor("podMetricsEndpoints")),
    "ServiceMonitor": (("monitoring.coreos.com", "v1"), _monitor("endpoints")),
    "PrometheusRule": (
        ("monitoring.coreos.com", "v1"), _read_only("rules have tests of their own", "spec"),
    ),
    "Issuer": (("cert-manager.io", "v1"), _read_only(_ONE_AUTHORITY, "spec")),
    "ClusterIssuer": (("cert-manager.io", "v1"), _read_only(_ONE_AUTHORITY, "spec")),
    "Role": (("rbac.authorization.k8s.io", "v1"), _read_only(_NO_API_SERVER, "rules")),
    "ClusterRole": (("rbac.authorization.k8s.io", "v1"), _read_only(_NO_API_SERVER, "rules")),
    "RoleBinding": (("rbac.authorization.k8s.io", "v1"), _read_only(_NO_API_SERVER, "roleRef", "subjects")),
    "ClusterRoleBinding": (
        ("rbac.authorization.k8s.io", "v1"), _read_only(_NO_API_SERVER, "roleRef", "subjects"),
    ),
    "PriorityClass": (
        ("scheduling.k8s.io", "v1"),
        _read_only("nodes are never full", "value", "description", "globalDefault", "preemptionPolicy"),
    ),
    "Gateway": (("gateway.networking.k8s.io", "v1"), _read_only(_NO_CONTROLLER, "spec")),
    "HTTPRoute": (("gateway.networking.k8s.io", "v1"), _read_only(_NO_CONTROLLER, "spec")),
    "GRPCRoute": (("gateway.networking.k8s.io", "v1"), _read_only(_NO_CONTROLLER, "spec")),
    "TLSRoute": (
        ("gateway.networking.k8s.io", "v1", "v1alpha2", "v1alpha3"), _read_only(_NO_CONTROLLER, "spec"),
    ),
    "Ingress": (("networking.k8s.io", "v1"), _read_only(_NO_CONTROLLER, "spec")),
}  # fmt: skip
"""Kinds with their group and versions, and what reads them; the document's head has been read before."""
