"""Reads NetworkPolicies."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from deploy.rehearsal.objects import Peer, Policy, PolicyPort, PolicyRule
from deploy.rehearsal.selectors import read_selector

if TYPE_CHECKING:
    from deploy.rehearsal.fields import Fields

__all__ = ["read_policy"]


def read_policy(fields: Fields, base: dict[str, Any]) -> Policy:
    """Return a policy; a direction that it names without rules is closed."""
    spec = fields.inside("spec")
    types = spec.texts("policyTypes") or ("Ingress", *(("Egress",) if "egress" in spec else ()))
    selector = spec.maybe("podSelector", read_selector)
    if selector is None:
        spec.fail("podSelector", "is missing")
    ingress = spec.each("ingress", lambda rule: _rule(rule, "from"))
    egress = spec.each("egress", lambda rule: _rule(rule, "to"))
    spec.finish()
    return Policy(
        **base,
        selector=selector,
        ingress=ingress if "Ingress" in types else None,
        egress=egress if "Egress" in types else None,
    )


def _rule(fields: Fields, peers: str) -> PolicyRule:
    return PolicyRule(peers=fields.each(peers, _peer), ports=fields.each("ports", _port))


def _peer(fields: Fields) -> Peer:
    block = fields.maybe(
        "ipBlock", lambda inner: (_network(inner, inner.text("cidr")), inner.texts("except"))
    )
    pods = fields.maybe("podSelector", read_selector)
    namespaces = fields.maybe("namespaceSelector", read_selector)
    if block is not None and (pods is not None or namespaces is not None):
        fields.fail("ipBlock", "cannot stand beside a selector")
    network, excluded = block or ("", ())
    if block is not None:
        # Pods have addresses of version 4 only; a rule for version 6 is right, and allows nothing here.
        excluded = tuple(each for each in excluded if ":" not in each)
    return Peer(pods=pods, namespaces=namespaces, block=network, excluded=excluded)


def _network(fields: Fields, text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        fields.fail("cidr", str(error))
    return text


def _port(fields: Fields) -> PolicyPort:
    port: Any = fields.take("port")
    if port is not None and not isinstance(port, int | str):
        fields.fail("port", "is neither a number nor a name")
    return PolicyPort(
        protocol=fields.text("protocol", "TCP", one_of=("TCP", "UDP")),
        port=port,
        end=fields.number("endPort") if "endPort" in fields else None,
    )
