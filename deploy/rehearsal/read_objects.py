"""Reads documents: which kinds there are, and what each of them holds."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal.errors import ManifestError
from deploy.rehearsal.fields import Fields, Notes
from deploy.rehearsal.objects import Claim, Data, Namespace, Object, Service, ServiceAccount, ServicePort
from deploy.rehearsal.read_extras import EXTRAS
from deploy.rehearsal.read_pod import read_labels
from deploy.rehearsal.read_policy import read_policy
from deploy.rehearsal.read_workload import read_deployment, read_job, read_stateful_set

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["read_documents"]


def read_documents(documents: Sequence[dict[str, Any]], notes: Notes) -> list[Object]:
    """
    Return the objects of manifests, in their order, without those that mean nothing here.

    Raises:
        ManifestError: Something is not understood, or twice there.
    """
    objects: list[Object] = []
    seen: set[tuple[str, str, str]] = set()
    for document in documents:
        found = _read(document, notes)
        if found is None:
            continue
        key = (found.kind, found.namespace, found.name)
        if key in seen:
            raise ManifestError(f"{found.kind}/{found.name}", "metadata.name", "is there twice")
        seen.add(key)
        objects.append(found)
    return objects


def _read(document: dict[str, Any], notes: Notes) -> Object | None:
    kind = str(document.get("kind"))
    name = str((document.get("metadata") or {}).get("name"))
    fields = Fields(document, f"{kind}/{name}", notes=notes)
    version = fields.text("apiVersion")
    fields.text("kind")
    known = _KINDS.get(kind)
    if known is None:
        fields.fail("kind", f"the rehearsal does not know {version} {kind}")
    wanted, read = known
    if version.rpartition("/")[0] != wanted[0] or version.rpartition("/")[2] not in wanted[1:]:
        fields.fail("apiVersion", f"{version!r} is not supported for {kind}")
    base = _metadata(fields, kind)
    found = read(fields, base)
    fields.finish()
    return found


def _metadata(fields: Fields, kind: str) -> dict[str, Any]:
    metadata = fields.inside("metadata")
    base = {
        "kind": kind,
        "name": metadata.text("name"),
        "namespace": metadata.text("namespace", "default"),
        "labels": read_labels(metadata),
    }
    metadata.no_meaning("nobody reads an object's annotations here", "annotations")
    metadata.only("is the server's", creationTimestamp=None)
    metadata.finish()
    return base


def _namespace(fields: Fields, base: dict[str, Any]) -> Namespace:
    fields.only("nothing of it is supported", spec={})
    labels = dict(base["labels"])
    labels["kubernetes.io/metadata.name"] = base["name"]
    return Namespace(**{**base, "namespace": "", "labels": tuple(sorted(labels.items()))})


def _service_account(fields: Fields, base: dict[str, Any]) -> ServiceAccount:
    fields.no_meaning("there is no API server to give a token for", "automountServiceAccountToken")
    fields.no_meaning("nothing is pulled", "imagePullSecrets")
    return ServiceAccount(**base)


def _claim(fields: Fields, base: dict[str, Any]) -> Claim:
    fields.no_meaning("a claim is a directory on this machine's disk", "spec")
    return Claim(**base)


def _config_map(fields: Fields, base: dict[str, Any]) -> Data:
    data = {key: value.encode() for key, value in fields.mapping("data").items()}
    data |= _decoded(fields, "binaryData")
    return Data(**base, data=data, immutable=fields.flag("immutable", default=False))


def _secret(fields: Fields, base: dict[str, Any]) -> Data:
    fields.no_meaning("the keys are looked at instead", "type")
    data = _decoded(fields, "data")
    data |= {key: value.encode() for key, value in fields.mapping("stringData").items()}
    return Data(**base, data=data, immutable=fields.flag("immutable", default=False))


def _decoded(fields: Fields, name: str) -> dict[str, bytes]:
    decoded = {}
    for key, value in fields.mapping(name).items():
        try:
            # Renderers fold long values, and readers pass over the line ends.
            decoded[key] = base64.b64decode(value.replace("\n", ""), validate=True)
        except binascii.Error:
            fields.fail(f"{name}.{key}", "is not base64")
    return decoded


def _service(fields: Fields, base: dict[str, Any]) -> Service:
    spec = fields.inside("spec")
    kind = spec.text("type", "ClusterIP", one_of=("ClusterIP", "LoadBalancer", "NodePort", "ExternalName"))
    cluster_ip = spec.text("clusterIP", "", one_of=("", "None"))
    spec.only("addresses are of version 4 here", ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"])
    spec.only("is not supported", sessionAffinity="None")
    spec.no_meaning(
        "connections keep the client's address in any case", "externalTrafficPolicy", "internalTrafficPolicy"
    )
    spec.no_meaning("there is one load balancer", "loadBalancerClass", "allocateLoadBalancerNodePorts")
    spec.no_meaning("connections go to any ready pod", "trafficDistribution")
    found = Service(
        **base,
        type=kind,
        headless=cluster_ip == "None",
        selector=read_labels(spec, "selector"),
        ports=spec.each("ports", _service_port),
        publish_not_ready=spec.flag("publishNotReadyAddresses", default=False),
        external_name=spec.text("externalName", ""),
    )
    spec.finish()
    return found


def _service_port(fields: Fields) -> ServicePort:
    number = fields.number("port")
    fields.no_meaning("nodes answer on no port of a Service", "nodePort")
    fields.no_meaning("nobody here asks for the protocol by this", "appProtocol")
    target = fields.take("targetPort")
    if target is not None and not isinstance(target, int | str):
        fields.fail("targetPort", "is neither a number nor a name")
    return ServicePort(
        name=fields.text("name", ""),
        port=number,
        target=number if target is None else target,
        protocol=fields.text("protocol", "TCP", one_of=("TCP", "UDP")),
    )


_KINDS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Fields, dict[str, Any]], Object | None]]]] = {
    "Namespace": (("", "v1"), _namespace),
    "ServiceAccount": (("", "v1"), _service_account),
    "ConfigMap": (("", "v1"), _config_map),
    "Secret": (("", "v1"), _secret),
    "Service": (("", "v1"), _service),
    "PersistentVolumeClaim": (("", "v1"), _claim),
    "Deployment": (("apps", "v1"), read_deployment),
    "StatefulSet": (("apps", "v1"), read_stateful_set),
    "Job": (("batch", "v1"), read_job),
    "NetworkPolicy": (("networking.k8s.io", "v1"), read_policy),
    **EXTRAS,
}
