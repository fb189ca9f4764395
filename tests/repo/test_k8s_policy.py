"""What every pod of the manifests must be, and that settings, Secrets, probes and labels lead somewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kit.config import load
from kit.version import VERSION
from services.edge.config import EdgeConfig
from services.settings import CONFIGS, unknown_settings
from tests.repo.k8s import RENDERED, containers, documents, of_kind, pods
from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from tests.repo.k8s import Pod

K8S = ROOT / "deploy" / "k8s"
# Ours, and those of the images of PostgreSQL, Valkey, the collector and Grafana.
USERS = {65532, 999, 10001, 472}
IDENTITIES = ("runAsUser", "runAsGroup", "fsGroup")
# How long a container may take after drain delay and grace.
AFTERWARDS_S = 15
# What others bring, besides the Secrets of secrets.example.yaml and those of Certificates.
BROUGHT = {"headrace-custom-provider-keys", "headrace-postgres", "headrace-store-ca", "vault-ca"}
_SECRET = re.compile(r"(_URL|_API_KEY|_MASTER_KEY|_TOKEN|_PASSWORD)$")
_NO_SECRET = re.compile(r"_(PUBLIC_URL|BASE_URL)$")

pytestmark = pytest.mark.xdist_group("k8s")  # rendered once
each_rendering = pytest.mark.parametrize("name", RENDERED)


@each_rendering
def test_pods_are_nobody_and_have_no_token(name: str) -> None:
    """A pod is not root, has its own account, no token for the API server and no variables of Services."""
    for pod in pods(name):
        security = pod.spec["securityContext"]

        assert security["runAsNonRoot"] is True, pod.name
        assert {security[each] for each in IDENTITIES if each in security} <= USERS, pod.name
        assert {"type": "RuntimeDefault"} == security["seccompProfile"], pod.name
        assert pod.spec["automountServiceAccountToken"] is False, pod.name
        assert pod.spec["enableServiceLinks"] is False, pod.name
        assert "default" != pod.spec["serviceAccountName"], pod.name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec), pod.name


@each_rendering
def test_volumes_are_bounded_and_the_pods_own(name: str) -> None:
    """No volume is of the node, none grows without end, and no token is for the API server."""
    for pod in pods(name):
        for volume in pod.spec.get("volumes", ()):
            assert "hostPath" not in volume, pod.name
            assert "emptyDir" not in volume or volume["emptyDir"].get("sizeLimit"), pod.name
            for source in volume.get("projected", {}).get("sources", ()):
                # One for somebody else, which the API server does not take.
                assert source.get("serviceAccountToken", {"audience": "none"}).get("audience"), pod.name


@each_rendering
def test_containers_can_do_nothing_to_their_node(name: str) -> None:
    """A container has a read-only root, no capability, no way to get more, and bounds on what it takes."""
    for container in containers(name):
        security, resources = container.spec["securityContext"], container.spec["resources"]

        assert security["allowPrivilegeEscalation"] is False, container.name
        assert security["readOnlyRootFilesystem"] is True, container.name
        assert {"drop": ["ALL"]} == security["capabilities"], container.name
        assert not security.get("privileged"), container.name
        assert {"cpu", "memory", "ephemeral-storage"} == set(resources["requests"]), container.name
        assert {"memory", "ephemeral-storage"} <= set(resources["limits"]), container.name


@each_rendering
def test_bodies_fit_into_the_memory_of_an_edge(name: str) -> None:
    """What bodies may take, by measured factors, is less than a container with an edge may have."""
    found = 0
    for container in containers(name):
        env = {each["name"]: each.get("value", "") for each in container.spec.get("env", ())}
        if not container.is_ours or container.spec["args"] not in (["edge"], ["all"]):
            continue
        found += 1
        edge = load(EdgeConfig, {"HEADRACE_EDGE_BODIES_BYTES": env["HEADRACE_EDGE_BODIES_BYTES"]})
        rest, factor = (192 << 20, 4) if container.spec["args"] == ["edge"] else (512 << 20, 6)
        limit = container.spec["resources"]["limits"]["memory"]
        limit_bytes = int(limit[:-2]) << {"Mi": 20, "Gi": 30}[limit[-2:]]

        assert rest + factor * edge.bodies_bytes + 30 * edge.max_body_bytes <= limit_bytes, container.name
    assert found


@each_rendering
def test_images_are_of_one_version(name: str) -> None:
    """An image is named by an exact version, ours by the one of this repository."""
    tags = {container.name: container.spec["image"].rpartition(":")[2] for container in containers(name)}

    assert {} == {each: tag for each, tag in tags.items() if not re.search(r"\d+\.\d+", tag)}
    assert {VERSION} == {tags[container.name] for container in containers(name) if container.is_ours}


@each_rendering
def test_probes_ask_ports_that_there_are(name: str) -> None:
    """What runs on has three probes, of which none asks a port that the container does not have."""
    for container in containers(name):
        ports = container.spec.get("ports", ())
        known = {port["containerPort"] for port in ports} | {port["name"] for port in ports}
        probes = {kind: container.spec.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness")}

        if container.pod.kind == "Job":
            assert {None} == set(probes.values())
            continue
        for probe in probes.values():
            assert probe, container.name
            asked = probe.get("grpc") or probe.get("httpGet") or probe["tcpSocket"]
            assert asked["port"] in known, container.name


@each_rendering
def test_no_dependency_has_a_pod_killed(name: str) -> None:
    """Only whether a process lives has it started again; what it depends on keeps requests away from it."""
    asked = {
        (probe, container.spec[f"{probe}Probe"]["grpc"]["service"])
        for container in containers(name)
        for probe in ("startup", "readiness", "liveness")
        if "grpc" in container.spec.get(f"{probe}Probe", {})
    }

    assert {("startup", "live"), ("readiness", "ready"), ("liveness", "live")} == asked


def settings(name: str) -> dict[str, dict[str, str]]:
    """Return the settings of each of our containers."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(name, "ConfigMap") if "data" in each}
    return {each.name: each.env(maps) for each in containers(name) if each.is_ours}


@each_rendering
def test_settings_exist_and_can_be_read(name: str) -> None:
    """Every HEADRACE_* variable is a setting, and has a value that is one of that setting."""
    values: dict[str, set[str]] = {}
    for env in settings(name).values():
        for key, value in env.items():
            # Files are there when Secrets are; their names need no reading.
            if not key.endswith("_FILE"):
                values.setdefault(key, set()).add(value)
    most = max(map(len, values.values()))
    classes = [each for group in CONFIGS.values() for each in group]

    assert [] == [line for env in settings(name).values() for line in unknown_settings(env)]
    # Every value once, and not every container: reading is slow.
    for index in range(most):
        env = {key: sorted(found)[min(index, len(found) - 1)] for key, found in values.items()}
        for each in classes:
            load(each, env)


@each_rendering
def test_secrets_come_by_reference(name: str) -> None:
    """No variable holds what should be in a Secret."""
    held = {
        f"{container} {key}"
        for container, env in settings(name).items()
        for key in env
        if _SECRET.search(key) and not _NO_SECRET.search(key)
    }

    assert set() == held


@each_rendering
def test_stops_have_time(name: str) -> None:
    """Kubernetes waits for drain delay and grace, and a little longer."""
    known = settings(name)
    for container in containers(name):
        if container.is_ours and container.pod.kind != "Job":
            env = known[container.name]
            takes_s = float(env["HEADRACE_DRAIN_DELAY_S"]) + float(env["HEADRACE_GRACE_S"])

            assert takes_s + AFTERWARDS_S == container.pod.spec["terminationGracePeriodSeconds"], (
                container.name
            )


def test_load_balancers_have_time_to_notice() -> None:
    """Behind a load balancer that checks nodes, an Envoy that stops serves until three checks have failed."""
    balanced = {
        each["spec"]["selector"]["app.kubernetes.io/component"]
        for each in of_kind("overlays/production", "Service")
        if each["spec"].get("externalTrafficPolicy") == "Local"
    }
    env = settings("overlays/production")["envoy:envoy"]
    (envoy,) = [each for each in containers("overlays/production") if each.name == "envoy:envoy"]

    assert {"envoy"} == balanced
    assert float(env["HEADRACE_DRAIN_DELAY_S"]) > 3 * 10
    # Nodes pass connections on to a pod that stops only as long as it is ready.
    assert "/live" == envoy.spec["readinessProbe"]["httpGet"]["path"]
    assert "/ready" == envoy.spec["startupProbe"]["httpGet"]["path"]


@each_rendering
def test_what_pods_mount_is_there(name: str) -> None:
    """Each ConfigMap, Secret, claim and account that a pod names is made here, or is said to be brought."""
    example = {
        each["metadata"]["name"] for each in yaml.safe_load_all((K8S / "secrets.example.yaml").read_text())
    }
    made = {(each["kind"], each["metadata"]["name"]) for each in documents(name)}
    made |= {("Secret", each["spec"]["secretName"]) for each in of_kind(name, "Certificate")}
    missing = {
        f"{pod.name}: {kind} {wanted}"
        for pod in pods(name)
        for kind, wanted in mounted(pod)
        if (kind, wanted) not in made and wanted not in example | BROUGHT
    }

    assert set() == missing


def mounted(pod: Pod) -> set[tuple[str, str]]:
    """Return kinds and names of what a pod names."""
    found = {("ServiceAccount", pod.spec["serviceAccountName"])}
    for volume in pod.spec.get("volumes", ()):
        if "configMap" in volume:
            found.add(("ConfigMap", volume["configMap"]["name"]))
        if "secret" in volume:
            found.add(("Secret", volume["secret"]["secretName"]))
        if "persistentVolumeClaim" in volume:
            found.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    for container in pod.spec["containers"]:
        for source in container.get("envFrom", ()):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in source:
                    found.add((kind, source[key]["name"]))
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                found.add(("Secret", reference["name"]))
    return found


@each_rendering
def test_selectors_find_pods(name: str) -> None:
    """A workload, a Service and a budget select pods by name and component, and each finds some."""
    labels = [pod.labels for pod in pods(name)]

    def finds(selector: dict[str, str]) -> int:
        assert {"app.kubernetes.io/name", "app.kubernetes.io/component"} <= set(selector)
        return sum(selector.items() <= dict(each).items() for each in labels)

    assert [] == [pod.name for pod in pods(name) if pod.kind != "Job" and finds(dict(pod.selector)) != 1]
    assert [] == [
        each["metadata"]["name"] for each in of_kind(name, "Service") if not finds(each["spec"]["selector"])
    ]
    assert [] == [
        each["metadata"]["name"]
        for each in of_kind(name, "PodDisruptionBudget")
        if not finds(each["spec"]["selector"]["matchLabels"])
    ]


@each_rendering
def test_services_lead_to_ports(name: str) -> None:
    """Each port of a Service is one of the pods that it selects."""
    for service in of_kind(name, "Service"):
        selected = service["spec"]["selector"].items()
        ports = {
            port["name"]
            for pod in pods(name)
            if selected <= dict(pod.labels).items()
            for container in pod.spec["containers"]
            for port in container.get("ports", ())
        }
        targets = {port["targetPort"] for port in service["spec"]["ports"]}

        assert targets <= ports, service["metadata"]["name"]


def test_the_page_says_how_to_listen_on_ipv6() -> None:
    """What the README has for IPv6 leaves no process of ours listening on addresses of IPv4 alone."""
    block = re.search(r"IPv6 first\n.*?```yaml\n(.*?)```", (K8S / "README.md").read_text(), re.DOTALL)
    env = settings("tests/ipv6")

    assert block
    assert (K8S / "tests" / "ipv6" / "kustomization.yaml").read_text().endswith(block[1])
    assert "[::]:8080" == env["edge:edge"]["HEADRACE_EDGE_LISTEN_HTTP"]
    assert [] == [
        f"{name} {key}" for name, each in env.items() for key, at in each.items() if "0.0.0.0" in at
    ]


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/production"])
def test_migration_is_of_this_version(name: str) -> None:
    """The Job's name changes with the version, and its settings do not change with anything else."""
    (job,) = of_kind(name, "Job")

    assert f"migrate-{VERSION.replace('.', '-')}" == job["metadata"]["name"]
    assert [] == [
        source
        for container in job["spec"]["template"]["spec"]["containers"]
        for source in container.get("envFrom", ())
    ]


@pytest.mark.parametrize("name", ["overlays/minimal", "overlays/production", "tests/all-components"])
def test_no_secret_is_in_the_manifests(name: str) -> None:
    """Nothing but the overlay for development holds a Secret."""
    assert [] == of_kind(name, "Secret")


def test_secrets_for_development_say_so() -> None:
    """What is no secret because it is in the repository is marked as that."""
    marks = {each["metadata"]["annotations"]["headrace/for"] for each in of_kind("overlays/dev", "Secret")}

    assert {"development"} == marks


def test_roll_out_keeps_everything() -> None:
    """A Deployment never has less pods than it should while it is replaced."""
    for each in of_kind("tests/all-components", "Deployment"):
        if each["metadata"]["labels"]["app.kubernetes.io/name"] != "headrace":
            continue
        name = each["metadata"]["name"]
        if not name.startswith(("edge", "envoy", "auth", "router", "cache", "ledger", "providers-")):
            continue
        assert {"maxUnavailable": 0, "maxSurge": 1} == each["spec"]["strategy"]["rollingUpdate"], name
        assert each["spec"]["revisionHistoryLimit"]


def test_stores_for_development_are_those_of_compose() -> None:
    """Both ways to run everything on one machine run the same PostgreSQL and the same Valkey."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    ours = {
        pod.component: pod.spec["containers"][0]["image"]
        for pod in pods("overlays/dev")
        if pod.component in {"postgres", "valkey"}
    }

    assert {name: compose[name]["image"] for name in ("postgres", "valkey")} == ours


def test_every_component_is_explained() -> None:
    """A component says what it is for."""
    directories = [path.parent for path in K8S.glob("components/*/kustomization.yaml")]

    assert [] == [path.name for path in directories if not (path / "README.md").exists()]


def test_certificates_name_the_caller() -> None:
    """A certificate names a component's Service, and the name by which allow-lists know it."""
    found: dict[str, Any] = {
        each["spec"]["secretName"]: each["spec"] for each in of_kind("overlays/production", "Certificate")
    }
    ours = [container.pod for container in containers("overlays/production") if container.is_ours]
    serving = {pod.component for pod in ours if pod.kind != "Job"}

    assert "edge" in serving
    for component in serving:
        identity = "providers" if component.startswith("providers-") else component
        certificate = found[f"{component}-tls"]
        assert [f"spiffe://headrace/{identity}"] == certificate["uris"]
        assert {component, f"{component}.headrace.svc.cluster.local"} <= set(certificate["dnsNames"])
