"""Manifests are read strictly: what is not understood is an error that names document and field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy.rehearsal.applying import check
from deploy.rehearsal.errors import ManifestError
from deploy.rehearsal.fields import Notes, quantity
from deploy.rehearsal.objects import Autoscaler, Certificate, Data, Namespace, Policy, Service, Workload
from deploy.rehearsal.read_objects import read_documents
from tests.fakes.tiny_manifests import config_map, deployment, namespace, policy, secret, service

if TYPE_CHECKING:
    from deploy.rehearsal.objects import Object

CONTAINER = ("spec", "template", "spec", "containers", 0)
POD = ("spec", "template", "spec")


def read(*documents: dict[str, Any]) -> list[Object]:
    return read_documents(documents, Notes())


def changed(*path: str | int, value: Any) -> dict[str, Any]:
    """Return a Deployment with one field changed."""
    (document,) = deployment("web")
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ((*CONTAINER, "stdin"), True, "spec.template.spec.containers[0].stdin: the rehearsal does not know"),
        ((*POD, "hostNetwork"), True, "spec.template.spec.hostNetwork: True: pods have networks"),
        ((*POD, "enableServiceLinks"), True, "enableServiceLinks: must be false"),
        ((*POD, "automountServiceAccountToken"), True, "automountServiceAccountToken: must be false"),
        ((*CONTAINER, "securityContext", "privileged"), True, "privileged: True"),
        (
            (*CONTAINER, "securityContext", "capabilities"),
            {"add": ["SYS_ADMIN"]},
            "SYS_ADMIN cannot be given",
        ),
        ((*CONTAINER, "readinessProbe"), {"periodSeconds": 1}, "there must be one of grpc, httpGet"),
        ((*CONTAINER, "image"), 3, "spec.template.spec.containers[0].image: 3 is not of type str"),
        ((*CONTAINER, "resources"), {"limits": {"memory": "64MB"}}, "limits.memory: '64MB' is no quantity"),
        (
            (*CONTAINER, "resources"),
            {"limits": {"nvidia.com/gpu": 1}},
            "nvidia.com/gpu: the rehearsal does not",
        ),
        (
            (*POD, "volumes"),
            [{"name": "x", "hostPath": {"path": "/"}}],
            "spec.volumes[0].(source): there must",
        ),
        (
            ("spec", "strategy", "rollingUpdate"),
            {"maxSurge": 0, "maxUnavailable": 0},
            "cannot be 0 when maxSurge",
        ),
        (("spec", "selector", "matchLabels"), {"app": "other"}, "spec.selector: does not match the labels"),
        (("spec", "replicas"), True, "spec.replicas: True is not of type int"),
        (("apiVersion",), "apps/v2", "apiVersion: 'apps/v2' is not supported for Deployment"),
        (("kind",), "ReplicaSet", "the rehearsal does not know apps/v1 ReplicaSet"),
    ],
)
def test_refused(path: tuple[str | int, ...], value: Any, problem: str) -> None:
    """A field that is unknown, of the wrong type, or asks for what cannot be, is refused by name."""
    with pytest.raises(ManifestError) as refused:
        read(changed(*path, value=value))

    assert problem in str(refused.value)
    assert "/web: " in str(refused.value)


def test_kinds() -> None:
    """Documents become objects in their order, and a namespace has the label of its name."""
    objects = read(
        namespace("tiny"),
        config_map("c", {"a": "b"}),
        *service("web"),
        *deployment("web"),
        policy("web", allow="x"),
    )

    assert [Namespace, Data, Service, Workload, Policy] == [type(each) for each in objects]
    assert {"kubernetes.io/metadata.name": "tiny"} == dict(objects[0].labels)


def test_twice() -> None:
    """The same object twice is a mistake of whoever put the manifests together."""
    with pytest.raises(ManifestError, match=r"ConfigMap/c: metadata\.name: is there twice"):
        read(config_map("c", {}), config_map("c", {}))


def test_secret() -> None:
    """A Secret's values are decoded, also where a renderer has folded them, and never shown."""
    document = secret("word", {"plain": "text"})
    document["data"] = {"folded": "aGVs\nbG8="}
    (found,) = read(document)

    assert isinstance(found, Data)
    assert {"plain": b"text", "folded": b"hello"} == found.data
    assert "hello" not in repr(found)


def test_notes() -> None:
    """What means nothing on one machine is noted once, with the reason and how often it is said."""
    notes = Notes()
    documents = [
        changed(*CONTAINER, "imagePullPolicy", value="Always"),
        changed(*POD, "priorityClassName", value="high"),
    ]
    documents[1]["metadata"]["name"] = "other"
    for document in documents:
        read_documents([document], notes)

    assert [
        "spec.template.spec.containers[].imagePullPolicy (1 document): nothing is pulled",
        "spec.template.spec.priorityClassName (1 document): nodes are alike here, and never full",
    ] == notes.lines()


def test_template_digest() -> None:
    """Templates that differ have different digests; what is beside the template makes no difference."""
    first, same, other = (
        read(document)[0]
        for document in (
            changed("spec", "replicas", value=1),
            changed("spec", "replicas", value=2),
            changed(*CONTAINER, "image", value="tiny:2"),
        )
    )
    assert isinstance(first, Workload)
    assert isinstance(same, Workload)
    assert isinstance(other, Workload)

    assert first.template.digest == same.template.digest != other.template.digest


def test_autoscaler_and_certificate() -> None:
    """An autoscaler says how many there are at least; a certificate says names, identity and life."""
    autoscaler, certificate = read(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2,
                "maxReplicas": 5,
                "metrics": [],
            },
        },
        {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": {"name": "web"},
            "spec": {
                "secretName": "web-tls",
                "duration": "1h30m",
                "dnsNames": ["web"],
                "uris": ["spiffe://x/web"],
                "issuerRef": {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"},
            },
        },
    )

    assert isinstance(autoscaler, Autoscaler)
    assert (2, 5, "web") == (autoscaler.least, autoscaler.most, autoscaler.target)
    assert isinstance(certificate, Certificate)
    assert (5400.0, ("web",), ("spiffe://x/web",)) == (
        certificate.duration_s,
        certificate.names,
        certificate.uris,
    )


@pytest.mark.parametrize(
    ("documents", "problem"),
    [
        (service("web"), "Service/web: spec.selector: selects nothing that is there"),
        (
            [
                *deployment("web"),
                {
                    **service("web")[0],
                    "spec": {"selector": {"app": "web"}, "ports": [{"port": 1, "targetPort": "grpc"}]},
                },
            ],
            "Service/web: spec.ports: Deployment/web has no TCP port grpc",
        ),
        (
            [changed(*POD, "serviceAccountName", value="web")],
            "Deployment/web: spec.template.spec.serviceAccountName: there is no ServiceAccount/web",
        ),
    ],
)
def test_what_is_named_is_there(documents: list[dict[str, Any]], problem: str) -> None:
    """What an object names must be there, or nothing is applied."""
    objects = {(each.kind, each.namespace, each.name): each for each in read(*documents)}

    with pytest.raises(ManifestError) as refused:
        check(objects)
    assert problem == str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("64Mi", 64 * 2**20), ("500m", 0.5), ("2", 2), ("1.5Gi", 1.5 * 2**30), ("1k", 1000), (3, 3)],
)
def test_quantities(text: str | float, value: float) -> None:
    """Quantities are read as Kubernetes writes them."""
    assert value == quantity(text)
