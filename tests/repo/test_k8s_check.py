"""What `make k8s-check` finds: each kind of mistake in a manifest is told."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from scripts.k8s_check import COMPONENTS, ambiguous, complaints, dry_run, kustomization
from scripts.k8s_render import K8S, RenderError, render
from scripts.k8s_schemas import VERSIONS, problems
from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("k8s")

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "auth"},
    "spec": {"ports": [{"name": "grpc", "port": 9000}]},
}
CERTIFICATE = {
    "apiVersion": "cert-manager.io/v1",
    "kind": "Certificate",
    "metadata": {"name": "auth"},
    "spec": {
        "secretName": "auth-tls",
        "dnsNames": ["auth"],
        "usages": ["server auth"],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "issuerRef": {"name": "headrace"},
    },
}
RESOURCES = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "resources": ["one.yaml"],
}


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return an object with something else at a path."""
    made = copy.deepcopy(document)
    *ways, last = path.split(".")
    place = made
    for way in ways:
        place = place[way]
    place[last] = value
    return made


def test_what_is_right_is_not_told() -> None:
    """Good objects, of Kubernetes' own kinds and of others', have no problems."""
    assert [] == problems(SERVICE) + problems(CERTIFICATE)


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (SERVICE, "spec.portz", []),
        (SERVICE, "spec.ports", [{"port": "http"}]),
        (SERVICE, "metadata.labelz", {}),
        (CERTIFICATE, "spec.dnsNamez", ["auth"]),
        (CERTIFICATE, "spec.dnsNames", []),
        (CERTIFICATE, "spec.duration", "3d"),
        (CERTIFICATE, "spec.privateKey.rotationPolicy", "Sometimes"),
        (CERTIFICATE, "kind", "Certificat"),
        (SERVICE, "apiVersion", "v2"),
    ],
)
def test_mistakes_are_told(document: dict[str, Any], path: str, value: object) -> None:
    """A field that there is not, a wrong type, a wrong value, an unknown kind: each is a problem."""
    assert problems(changed(document, path, value))


def test_every_version_is_asked() -> None:
    """A mistake is told for each of the newest versions."""
    told = problems(changed(SERVICE, "spec.portz", []))

    assert len(VERSIONS) == len(told)
    assert all(f"Service/auth {version}:" in line for version, line in zip(VERSIONS, told, strict=True))


def test_names_that_are_there_twice() -> None:
    """Two objects of one kind and name would overwrite each other."""
    assert ["Service/auth is there twice"] == complaints([SERVICE, copy.deepcopy(SERVICE)], {})


def workload(kind: str, containers: str, ports: list[dict[str, object]]) -> dict[str, Any]:
    """Return a workload with one container, as far as its ports go."""
    pod = {"spec": {containers: [{"name": "envoy", "ports": ports}]}}
    made = {"kind": kind, "metadata": {"name": "envoy"}, "spec": {"template": pod}}
    return {**made, "spec": {"jobTemplate": {"spec": made["spec"]}}} if kind == "CronJob" else made


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"])
@pytest.mark.parametrize("containers", ["containers", "initContainers"])
def test_container_ports_of_one_number(kind: str, containers: str) -> None:
    """`kubectl apply` knows a container's port by its number alone, and would lose one of two protocols."""
    tcp: dict[str, object] = {"containerPort": 8443}
    udp = {**tcp, "protocol": "UDP"}
    other = {**tcp, "containerPort": 8444}

    assert [] == ambiguous(workload(kind, containers, [tcp, other]))
    assert [f"{kind}/envoy has the port 8443 twice, of which `kubectl apply` keeps one"] == ambiguous(
        workload(kind, containers, [tcp, other, udp])
    )


def test_service_ports_of_one_number() -> None:
    """So it is with a Service, and a check of all that is rendered tells of it."""
    tcp, udp = {"name": "https", "port": 443}, {"name": "http3", "port": 443, "protocol": "UDP"}
    told = "Service/auth has the port 443 twice, of which `kubectl apply` keeps one"

    assert [told] == complaints([changed(SERVICE, "spec.ports", [tcp, udp])], {})
    assert [] == complaints([changed(SERVICE, "spec.ports", [tcp, {**udp, "port": 444}])], {})


def test_policies_may_name_a_number_twice() -> None:
    """Lists that are replaced as a whole lose nothing."""
    ports = [{"port": 53, "protocol": protocol} for protocol in ("TCP", "UDP")]
    spec = {"podSelector": {}, "ingress": [{"ports": ports}]}

    assert [] == ambiguous({"kind": "NetworkPolicy", "metadata": {"name": "dns"}, "spec": spec})


def test_a_field_that_is_gone_does_not_render(tmp_path: Path) -> None:
    """What kustomize only warns of is an error here."""
    (tmp_path / "kustomization.yaml").write_text("commonLabels: {a: b}\n")

    with pytest.raises(RenderError, match="commonLabels"):
        render(tmp_path)


@pytest.mark.parametrize(("kind", "accepted"), [("Service", True), ("Servize", False)])
def test_dry_run(tmp_path: Path, kind: str, *, accepted: bool) -> None:
    """A kind that there is not is refused, as a server would refuse it; what could be applied is accepted."""
    (tmp_path / "kustomization.yaml").write_text(json.dumps(RESOURCES))
    (tmp_path / "one.yaml").write_text(json.dumps({**SERVICE, "kind": kind}))

    assert accepted == (not dry_run(tmp_path))


def test_every_component_goes_into_a_combination(tmp_path: Path) -> None:
    """The components that are checked are those that there are, and a kustomization names them by path."""
    there = {path.parent.name for path in K8S.glob("components/*/kustomization.yaml")}
    made = json.loads(kustomization(COMPONENTS, tmp_path))

    assert there == set(COMPONENTS)
    assert there == {(tmp_path / path).resolve().name for path in made["components"]}
    assert "durable-spool" == COMPONENTS[-1]


def test_generated_manifests_are_up_to_date() -> None:
    """Generating again changes nothing."""
    command = [sys.executable, str(ROOT / "scripts" / "gen_k8s.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr
