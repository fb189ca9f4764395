"""Environment, files, nodes and images of pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy.rehearsal.dockerfile import parse, read_dockerfile
from deploy.rehearsal.environment import Facts, MissingReferenceError, environment, expanded
from deploy.rehearsal.errors import ManifestError, RehearsalError
from deploy.rehearsal.fields import Fields
from deploy.rehearsal.images import ROOT, Images, postgres, source
from deploy.rehearsal.objects import Data
from deploy.rehearsal.read_pod import read_template
from deploy.rehearsal.scheduler import Placed, choose
from deploy.rehearsal.volumes import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.rehearsal.pod_spec import ContainerSpec, PodSpec

FACTS = Facts(
    name="web-1", namespace="shop", uid="u", address="10.0.0.1", node="node-1", node_address="10.0.0.254",
    service_account="web", labels={"app": "web"}, annotations={},
)  # fmt: skip
DATA = {("ConfigMap", "c"): Data(kind="ConfigMap", name="c", namespace="shop", data={"A": b"a", "B": b"b"})}


def pod_spec(**spec: Any) -> PodSpec:
    raw = {"metadata": {}, "spec": {"enableServiceLinks": False, "containers": [], **spec}}
    return read_template(Fields(raw, "Pod/web")).spec


def container(**spec: Any) -> ContainerSpec:
    return pod_spec(containers=[{"name": "web", "image": "x", **spec}]).containers[0]


def variables(**spec: Any) -> dict[str, str]:
    found = environment(container(**spec), {"BASE": "base"}, FACTS, lambda kind, name: DATA.get((kind, name)))
    return {name: value for name, value in found.items() if not name.startswith(("KUBERNETES_", "HOSTNAME"))}


def test_options_of_look_ups() -> None:
    """They stand in a pod's `resolv.conf`; other name servers than the cluster's are refused."""
    options = [{"name": "timeout", "value": "1"}, {"name": "edns0"}]

    assert ("timeout:1", "edns0") == pod_spec(dnsConfig={"options": options}).dns_options
    assert () == pod_spec().dns_options
    with pytest.raises(ManifestError, match="nameservers"):
        pod_spec(dnsConfig={"nameservers": ["10.0.0.1"]})


def test_environment() -> None:
    """Variables come from the image, whole ConfigMaps, keys, fields and text, the later over the earlier."""
    found = variables(
        envFrom=[
            {"configMapRef": {"name": "c"}, "prefix": "P_"},
            {"secretRef": {"name": "none", "optional": True}},
        ],
        env=[
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "A"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "BOTH", "value": "$(KEY)-$(IP) $(UNKNOWN) $$(KEY)"},
        ],
    )

    assert {
        "BASE": "base", "P_A": "a", "P_B": "b", "KEY": "a", "IP": "10.0.0.1", "LABEL": "web",
        "BOTH": "a-10.0.0.1 $(UNKNOWN) $(KEY)",
    } == found  # fmt: skip
    assert ("x", "a") == expanded(("x", "$(KEY)"), found)


@pytest.mark.parametrize(
    "spec",
    [
        {"envFrom": [{"secretRef": {"name": "none"}}]},
        {"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "none"}}}]},
    ],
)
def test_missing(spec: dict[str, Any]) -> None:
    """A container waits for what it refers to."""
    with pytest.raises(MissingReferenceError):
        variables(**spec)


def test_files_change_at_once(tmp_path: Path) -> None:
    """
    Files are links through one link, whose exchange changes all of them; what is gone goes, what is new
    comes.
    """
    volume = tmp_path / "volume"
    assert write_files(volume, {"a": (b"1", 0o444), "b/c": (b"1", 0o400)}, None)
    first = str((volume / "..data").readlink())

    assert not write_files(volume, {"a": (b"1", 0o444), "b/c": (b"1", 0o400)}, None)
    assert first == str((volume / "..data").readlink())
    assert write_files(volume, {"a": (b"2", 0o444), "d": (b"2", 0o444)}, None)

    assert "..data/a" == str((volume / "a").readlink())
    assert (b"2", b"2") == ((volume / "a").read_bytes(), (volume / "d").read_bytes())
    assert not (volume / "b").is_symlink()
    assert first != str((volume / "..data").readlink())
    assert not (volume / first).exists()


NODES = ("node-1", "node-2", "node-3")
SPREAD = {
    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "web"}},
}  # fmt: skip
APART = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
        ]
    }
}


def on(*nodes: str, digest: str = "d") -> list[Placed]:
    return [Placed(node=node, labels={"app": "web"}, digest=digest) for node in nodes]


@pytest.mark.parametrize(
    ("spec", "placed", "node"),
    [
        ({}, on("node-1"), "node-2"),
        ({"topologySpreadConstraints": [SPREAD]}, on("node-1", "node-2"), "node-3"),
        ({"topologySpreadConstraints": [{**SPREAD, "matchLabelKeys": ["pod-template-hash"]}]},
         on("node-1") + on("node-2", "node-3", digest="old"), "node-2"),
        ({"affinity": APART}, on("node-1", "node-3"), "node-2"),
        ({"affinity": APART}, on(*NODES), None),
    ],
)  # fmt: skip
def test_nodes(spec: dict[str, Any], placed: list[Placed], node: str | None) -> None:
    """A pod goes where its constraints say, else to the emptiest node, or waits."""
    assert node == choose(pod_spec(**spec), "d", placed, NODES)


DOCKERFILE = """
ARG BASE=x
FROM base AS program
COPY LICENSE .
COPY kit/ kit/
ENV LOST=1

FROM base
ARG BASE
ENV PATH="/app/bin:${PATH}" \\
    KIND=${BASE}
WORKDIR /app
USER 65532:65533
STOPSIGNAL SIGQUIT
ENTRYPOINT ["python", "-m", "services"]
"""


def test_dockerfile() -> None:
    """The last stage says how a container starts, the stage `program` what it holds."""
    found = parse(DOCKERFILE)

    assert (("python", "-m", "services"), "/app", 65532, 65533, 3) == (
        found.entrypoint, found.workdir, found.uid, found.gid, found.stop_signal,
    )  # fmt: skip
    assert {"PATH": "/app/bin:/usr/local/bin:/usr/bin:/bin", "KIND": "x"} == dict(found.env)
    assert ("LICENSE", "kit/") == found.copied


def test_copied(tmp_path: Path) -> None:
    """
    What `.dockerignore` does not let in is not in the image, and a `COPY` of what is not there is found out.
    """
    (tmp_path / "kit").mkdir()
    (tmp_path / "LICENSE").touch()
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / ".dockerignore").write_text("*\n!LICENSE\n!kit/part\n")

    with pytest.raises(RehearsalError, match="copies kit/part, which is not there"):
        read_dockerfile(tmp_path, ROOT / ".venv")
    (tmp_path / "kit" / "part").mkdir()
    places = dict(read_dockerfile(tmp_path, ROOT / ".venv").directories)
    assert str(tmp_path / "kit" / "part") == places["/app/kit/part"]
    assert "/app/kit" not in places


def test_images() -> None:
    """References are found by pattern, whatever the registry's defaults, and none is made up."""
    images = Images({"headrace:*": source(), "postgres:18*": postgres()})

    assert ("/app", 65532) == (images.find("headrace:0.1.0").workdir, images.find("headrace:0.1.0").uid)
    assert images.find("docker.io/library/postgres:18.6@sha256:00") == postgres()
    assert Images.decoded(images.encoded()).find("headrace:1") == images.find("headrace:1")
    with pytest.raises(RehearsalError, match="no image here stands for redis:8"):
        images.find("redis:8")
