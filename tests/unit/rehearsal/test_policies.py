"""Policies become rules about addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy.rehearsal.fields import Fields
from deploy.rehearsal.policies import Allow, Endpoint, allowed
from deploy.rehearsal.read_policy import read_policy

if TYPE_CHECKING:
    from deploy.rehearsal.objects import Policy

WEB = Endpoint(
    name="web", namespace="shop", labels={"app": "web"}, address="10.0.0.1", ports=(("http", "TCP", 8080),)
)
CLIENT = Endpoint(name="client", namespace="shop", labels={"app": "client"}, address="10.0.0.2")
OTHER_WEB = Endpoint(
    name="web2", namespace="other", labels={"app": "web"}, address="10.0.0.3", ports=(("http", "TCP", 9090),)
)
DNS = Endpoint(name="dns", namespace="kube-system", labels={"k8s-app": "kube-dns"}, address="10.0.0.4")
PODS = [WEB, CLIENT, OTHER_WEB, DNS]
NAMESPACES = {name: {"kubernetes.io/metadata.name": name} for name in ("shop", "other", "kube-system")}


def made(**spec: Any) -> Policy:
    fields = Fields({"spec": spec}, "NetworkPolicy/p")
    return read_policy(fields, {"kind": "NetworkPolicy", "name": "p", "namespace": "shop", "labels": ()})


def app(name: str) -> dict[str, Any]:
    return {"matchLabels": {"app": name}}


TO_CLIENT = Allow(network="10.0.0.2/32")
HTTP = {"protocol": "TCP", "port": "http"}


@pytest.mark.parametrize(
    ("policies", "ingress", "egress"),
    [
        pytest.param([], None, None, id="no policy restricts nothing"),
        pytest.param(
            [made(podSelector=app("client"), ingress=[])], None, None, id="a policy for others, too"
        ),
        pytest.param([made(podSelector={}, policyTypes=["Ingress", "Egress"])], [], [], id="deny all"),
        pytest.param([made(podSelector={})], [], None, id="without types, ingress alone"),
        pytest.param(
            [made(podSelector={}, egress=[{}])],
            [],
            [Allow(network="0.0.0.0/0")],
            id="an empty rule is anyone",
        ),
        pytest.param(
            [
                made(podSelector={}),
                made(podSelector={}, ingress=[{"from": [{"podSelector": app("client")}]}]),
            ],
            [TO_CLIENT],
            None,
            id="what any policy allows is allowed",
        ),
        pytest.param(
            [made(podSelector={}, ingress=[{"from": [{"podSelector": app("web")}]}])],
            [Allow(network="10.0.0.1/32")],
            None,
            id="a pod selector means the policy's own namespace",
        ),
        pytest.param(
            [
                made(
                    podSelector={},
                    ingress=[
                        {"from": [{"namespaceSelector": {}, "podSelector": app("web")}], "ports": [HTTP]}
                    ],
                )
            ],
            [Allow(network=f"10.0.0.{n}/32", protocol="TCP", first=8080, last=8080) for n in (1, 3)],
            None,
            id="a port by name is the called pod's own",
        ),
        pytest.param(
            [
                made(
                    podSelector={},
                    policyTypes=["Egress"],
                    egress=[{"to": [{"namespaceSelector": {}, "podSelector": app("web")}], "ports": [HTTP]}],
                )
            ],
            None,
            [
                Allow(network="10.0.0.1/32", protocol="TCP", first=8080, last=8080),
                Allow(network="10.0.0.3/32", protocol="TCP", first=9090, last=9090),
            ],
            id="outwards, a port by name is that of each called pod",
        ),
        pytest.param(
            [
                made(
                    podSelector={},
                    policyTypes=["Egress"],
                    egress=[
                        {
                            "to": [
                                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}},
                                {"ipBlock": {"cidr": "::/0"}},
                            ],
                            "ports": [{"port": 443}, {"protocol": "UDP", "port": 8000, "endPort": 8010}],
                        }
                    ],
                )
            ],
            None,
            [
                Allow(network="0.0.0.0/0", excluded=("10.0.0.0/8",), protocol="TCP", first=443, last=443),
                Allow(network="0.0.0.0/0", excluded=("10.0.0.0/8",), protocol="UDP", first=8000, last=8010),
            ],
            id="networks, with what is left out of them",
        ),
        pytest.param(
            [
                made(
                    podSelector={},
                    policyTypes=["Egress"],
                    egress=[
                        {
                            "to": [
                                {
                                    "namespaceSelector": {
                                        "matchLabels": {"kubernetes.io/metadata.name": "kube-system"}
                                    },
                                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                                }
                            ]
                        }
                    ],
                )
            ],
            None,
            [Allow(network="10.0.0.4/32")],
            id="namespaces by label",
        ),
    ],
)
def test_allowed(policies: list[Policy], ingress: list[Allow] | None, egress: list[Allow] | None) -> None:
    """What policies allow a pod is what Kubernetes' rules say."""
    found = allowed(WEB, policies, PODS, NAMESPACES)

    assert [ingress, egress] == [None if each is None else list(each) for each in found]


def test_only_of_its_namespace() -> None:
    """A policy says nothing of pods in other namespaces."""
    assert (None, None) == allowed(OTHER_WEB, [made(podSelector={})], PODS, NAMESPACES)
