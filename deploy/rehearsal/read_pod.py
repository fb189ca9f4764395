"""Reads pod templates: every field is acted upon, noted as meaning nothing here, or an error."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal.container import CAPABILITIES
from deploy.rehearsal.pod_spec import (
    Affinity,
    ContainerSpec,
    Env,
    Handler,
    Key,
    PodSpec,
    PodTemplate,
    Port,
    Probe,
    Security,
    Spread,
    VolumeMount,
)  # fmt: skip
from deploy.rehearsal.read_volume import read_volume
from deploy.rehearsal.selectors import read_selector

if TYPE_CHECKING:
    from deploy.rehearsal.fields import Fields

__all__ = ["read_labels", "read_template"]

_TOPOLOGIES: Final = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
_ONE_KERNEL: Final = "pods share this machine's kernel and its defaults"


def read_labels(fields: Fields, name: str = "labels") -> tuple[tuple[str, str], ...]:
    """Return labels, or annotations, in order of their keys."""
    return tuple(sorted(fields.mapping(name).items()))


def read_template(fields: Fields) -> PodTemplate:
    """Return a pod template."""
    raw = {"metadata": fields.take("metadata"), "spec": fields.take("spec")}
    digest = hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()[:10]
    metadata = fields.inside("metadata")
    labels, annotations = read_labels(metadata), read_labels(metadata, "annotations")
    metadata.only("a template's pods get names of their own", name="", creationTimestamp=None)
    metadata.finish()
    spec = fields.inside("spec")
    template = PodTemplate(labels=labels, annotations=annotations, spec=_spec(spec), digest=digest)
    spec.finish()
    return template


def _spec(fields: Fields) -> PodSpec:
    security, fs_group, groups = Security(), None, ()
    if "securityContext" in fields:
        context = fields.inside("securityContext")
        fs_group = context.number("fsGroup") if "fsGroup" in context else None
        groups = tuple(context.take("supplementalGroups") or ())
        context.no_meaning("volumes here are always given to the group", "fsGroupChangePolicy")
        security = _security(context)
        context.finish()
    if fields.take("enableServiceLinks") is not False:
        fields.fail("enableServiceLinks", "must be false: every Service would put variables into every pod")
    if fields.take("automountServiceAccountToken"):
        fields.fail(
            "automountServiceAccountToken", "must be false: there is no API server to give a token for"
        )
    fields.no_meaning(
        "nodes are alike here, and never full", "tolerations", "nodeSelector", "priorityClassName"
    )
    fields.no_meaning("nothing is pulled", "imagePullSecrets")
    fields.no_meaning("nothing is scheduled by another", "schedulerName")
    fields.only(
        "pods have networks and processes of their own", hostNetwork=False, hostPID=False, hostIPC=False
    )
    fields.only("others are not supported", dnsPolicy="ClusterFirst", shareProcessNamespace=False)
    fields.only("others are not supported", os={"name": "linux"})
    dns_options: tuple[str, ...] = fields.maybe("dnsConfig", _dns_options) or ()
    service_account = fields.text("serviceAccountName", "default")
    fields.only("it must be the serviceAccountName", serviceAccount=service_account)
    return PodSpec(
        containers=fields.each("containers", _container),
        init_containers=fields.each("initContainers", _init_container),
        volumes=fields.each("volumes", read_volume),
        service_account=service_account,
        grace_s=fields.number("terminationGracePeriodSeconds", 30),
        restart_policy=fields.text("restartPolicy", "Always", one_of=("Always", "OnFailure", "Never")),
        security=security,
        fs_group=fs_group,
        groups=groups,
        spread=fields.each("topologySpreadConstraints", _spread),
        apart=fields.maybe("affinity", _affinity) or (),
        dns_options=dns_options,
        host_aliases=fields.each("hostAliases", lambda alias: (alias.text("ip"), alias.texts("hostnames"))),
    )


def _dns_options(fields: Fields) -> tuple[str, ...]:
    """Return options as `resolv.conf` has them; a pod's name servers and search path are the cluster's."""
    return fields.each("options", _dns_option)


def _dns_option(fields: Fields) -> str:
    name, value = fields.text("name"), fields.text("value", "")
    return f"{name}:{value}" if value else name


def _spread(fields: Fields) -> Spread:
    fields.text("topologyKey", one_of=_TOPOLOGIES)
    fields.no_meaning("nodes have no taints", "nodeTaintsPolicy", "nodeAffinityPolicy", "minDomains")
    keys = fields.texts("matchLabelKeys")
    if keys not in ((), ("pod-template-hash",)):
        fields.fail("matchLabelKeys", "only pod-template-hash is supported")
    return Spread(
        max_skew=fields.number("maxSkew"),
        required=fields.text("whenUnsatisfiable", one_of=("DoNotSchedule", "ScheduleAnyway"))
        == "DoNotSchedule",
        selector=fields.maybe("labelSelector", read_selector) or (),
        this_template_only=bool(keys),
    )


def _affinity(fields: Fields) -> tuple[Affinity, ...]:
    fields.no_meaning("nodes are alike here", "nodeAffinity")
    return fields.maybe("podAntiAffinity", _anti_affinity) or ()


def _anti_affinity(fields: Fields) -> tuple[Affinity, ...]:
    def term(inner: Fields, *, required: bool) -> Affinity:
        inner.text("topologyKey", one_of=_TOPOLOGIES)
        return Affinity(required=required, selector=inner.maybe("labelSelector", read_selector) or ())

    def weighted(inner: Fields) -> Affinity:
        inner.no_meaning("all preferences weigh the same", "weight")
        found = inner.maybe("podAffinityTerm", lambda one: term(one, required=False))
        return found or Affinity(required=False, selector=())

    return (
        *fields.each(
            "requiredDuringSchedulingIgnoredDuringExecution", lambda inner: term(inner, required=True)
        ),
        *fields.each("preferredDuringSchedulingIgnoredDuringExecution", weighted),
    )


def _security(fields: Fields) -> Security:
    fields.no_meaning(_ONE_KERNEL, "seccompProfile", "seLinuxOptions", "appArmorProfile")
    fields.only("nothing here is privileged", privileged=False, procMount="Default")

    def number(name: str) -> int | None:
        return fields.number(name) if name in fields else None

    drop, add = fields.maybe("capabilities", lambda inner: (inner.texts("drop"), inner.texts("add"))) or (
        (),
        (),
    )
    if set(drop) - {"ALL"}:
        fields.fail("capabilities.drop", "only ALL is supported")
    if unknown := set(add) - set(CAPABILITIES):
        fields.fail("capabilities.add", f"{', '.join(sorted(unknown))} cannot be given here")
    return Security(
        uid=number("runAsUser"),
        gid=number("runAsGroup"),
        non_root=fields.flag("runAsNonRoot") if "runAsNonRoot" in fields else None,
        read_only_root=fields.flag("readOnlyRootFilesystem", default=False),
        privilege_escalation=fields.flag("allowPrivilegeEscalation", default=True),
        drop_all=bool(drop),
        add=add,
    )


def _init_container(fields: Fields) -> ContainerSpec:
    sidecar = fields.text("restartPolicy", "", one_of=("", "Always")) == "Always"
    return _container(fields, sidecar=sidecar)


def _container(fields: Fields, *, sidecar: bool = False) -> ContainerSpec:
    fields.no_meaning("nothing is pulled", "imagePullPolicy")
    fields.no_meaning("the log is a file here", "terminationMessagePolicy", "terminationMessagePath")
    has_args = "args" in fields
    limits, resources = fields.maybe("resources", _resources) or (None, ())
    return ContainerSpec(
        name=fields.text("name"),
        image=fields.text("image"),
        command=fields.texts("command"),
        args=fields.texts("args"),
        has_args=has_args,
        working_dir=fields.text("workingDir", ""),
        env=(*fields.each("envFrom", _env_from), *fields.each("env", _env)),
        ports=fields.each("ports", _port),
        mounts=fields.each("volumeMounts", _mount),
        memory_limit_bytes=limits,
        resources=resources,
        security=fields.maybe("securityContext", _security) or Security(),
        startup=fields.maybe("startupProbe", _probe),
        liveness=fields.maybe("livenessProbe", _probe),
        readiness=fields.maybe("readinessProbe", _probe),
        pre_stop=fields.maybe("lifecycle", lambda inner: inner.maybe("preStop", _handler)),
        sidecar=sidecar,
    )


def _resources(fields: Fields) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    found: dict[str, str] = {}
    memory = None
    for kind in ("requests", "limits"):
        inner = fields.inside(kind)
        for name in ("cpu", "memory", "ephemeral-storage"):
            raw, size = inner.take(name), inner.size(name)
            if raw is not None:
                found[f"{kind}.{name}"] = str(raw)
            if (kind, name) == ("limits", "memory"):
                memory = None if size is None else int(size)
            elif size is not None:
                inner.no_meaning("one machine's CPUs and disk are shared by all pods", name)
        inner.finish()
    return memory, tuple(found.items())


def _port(fields: Fields) -> Port:
    number = fields.number("containerPort")
    fields.only("pods have networks of their own", hostPort=None, hostIP=None)
    return Port(
        name=fields.text("name", ""),
        number=number,
        protocol=fields.text("protocol", "TCP", one_of=("TCP", "UDP")),
    )


def _mount(fields: Fields) -> VolumeMount:
    fields.only("mounts made inside are not seen outside", mountPropagation="None")
    return VolumeMount(
        name=fields.text("name"),
        path=fields.text("mountPath").rstrip("/"),
        sub_path=fields.text("subPath", ""),
        read_only=fields.flag("readOnly", default=False),
    )


def _env_from(fields: Fields) -> Env:
    def reference(kind: str) -> Key | None:
        return fields.maybe(
            f"{kind[0].lower()}{kind[1:]}Ref",
            lambda inner: Key(
                kind=kind, name=inner.text("name"), key="", optional=inner.flag("optional", default=False)
            ),
        )

    found = reference("ConfigMap") or reference("Secret")
    if found is None:
        fields.fail("configMapRef", "neither this nor secretRef is there")
    return Env(name="", source=found, prefix=fields.text("prefix", ""))


def _env(fields: Fields) -> Env:
    source = fields.maybe("valueFrom", _value_from)
    return Env(name=fields.text("name"), value=fields.text("value", ""), source=source)


def _value_from(fields: Fields) -> Key:
    def key(kind: str) -> Key | None:
        return fields.maybe(
            f"{kind[0].lower()}{kind[1:]}KeyRef",
            lambda inner: Key(
                kind=kind,
                name=inner.text("name"),
                key=inner.text("key"),
                optional=inner.flag("optional", default=False),
            ),
        )

    found = key("ConfigMap") or key("Secret") or fields.maybe("fieldRef", _field_reference)
    return found or fields.maybe("resourceFieldRef", _resource_reference) or Key(kind="", name="", key="")


def _field_reference(fields: Fields) -> Key:
    fields.only("others are not supported", apiVersion="v1")
    return Key(kind="field", name="", key=fields.text("fieldPath"))


def _resource_reference(fields: Fields) -> Key:
    fields.no_meaning("a variable's container is the one that it is in", "containerName")
    return Key(kind="resource", name=str(fields.take("divisor") or "1"), key=fields.text("resource"))


def _probe(fields: Fields) -> Probe:
    grace = (
        fields.number("terminationGracePeriodSeconds") if "terminationGracePeriodSeconds" in fields else None
    )
    return Probe(
        initial_delay_s=fields.number("initialDelaySeconds", 0),
        period_s=fields.number("periodSeconds", 10),
        timeout_s=fields.number("timeoutSeconds", 1),
        successes=fields.number("successThreshold", 1),
        failures=fields.number("failureThreshold", 3),
        grace_s=grace,
        handler=_handler(fields),
    )


def _handler(fields: Fields) -> Handler:
    found = [
        handler
        for handler in (
            fields.maybe("grpc", _grpc),
            fields.maybe("httpGet", _http),
            fields.maybe("tcpSocket", lambda inner: Handler(kind="tcp", port=_port_of(inner))),
            fields.maybe("exec", lambda inner: Handler(kind="exec", argv=inner.texts("command"))),
            fields.maybe("sleep", lambda inner: Handler(kind="sleep", seconds=inner.number("seconds"))),
        )
        if handler is not None
    ]
    if len(found) != 1:
        fields.fail("(handler)", "there must be one of grpc, httpGet, tcpSocket, exec")
    return found[0]


def _grpc(fields: Fields) -> Handler:
    return Handler(kind="grpc", port=fields.number("port"), service=fields.text("service", ""))


def _http(fields: Fields) -> Handler:
    headers = fields.each("httpHeaders", lambda inner: (inner.text("name"), inner.text("value")))
    return Handler(
        kind="http",
        port=_port_of(fields),
        path=fields.text("path", "/"),
        https=fields.text("scheme", "HTTP", one_of=("HTTP", "HTTPS")) == "HTTPS",
        headers=headers,
    )


def _port_of(fields: Fields) -> int | str:
    port: Any = fields.take("port")
    if not isinstance(port, int | str):
        fields.fail("port", "is neither a number nor a name")
    return port
