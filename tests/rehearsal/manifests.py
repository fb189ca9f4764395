"""
What the rehearsal applies: the rendered overlay, with the Secrets that an operator brings.

What cert-manager would make of the Certificates is made here, so that a scenario can renew it, spoil it and
change its authority. Nothing else is changed: what runs is what the overlay says.
"""

from __future__ import annotations

import base64
import copy
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from deploy.certificates import Authority
from deploy.rehearsal.images import ROOT
from services.auth.core.token import mint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["FRONT_DOOR_NAME", "NAMESPACE", "OVERLAY", "TOKEN", "Manifests", "secret", "shortened"]

OVERLAY: Final = ROOT / "deploy" / "k8s" / "tests" / "rehearsal"
NAMESPACE: Final = "headrace"
FRONT_DOOR_NAME: Final = "ai.example.com"
TOKEN: Final = mint().text.reveal()
"""The first token, which the operator brings."""

_TWICE: Final = frozenset({"envoy", "edge", "providers-openai"})

Document = dict[str, Any]


def shortened(rendered: Sequence[Document], *, replicas: int = 1) -> list[Document]:
    """
    Return the part of an overlay that the short form runs, to start in seconds.

    It is without the adapters that nobody asks; the objects are as they were otherwise.

    Args:
        rendered: The whole.
        replicas: Of what not every request passes.
    """
    kept = []
    for document in rendered:
        component = document["metadata"].get("labels", {}).get("app.kubernetes.io/component", "")
        if component.startswith("providers-") and component != "providers-openai":
            continue
        each = copy.deepcopy(document)
        if each["kind"] == "HorizontalPodAutoscaler" and component not in _TWICE:
            each["spec"]["minReplicas"] = replicas
        if each["kind"] == "Deployment" and "replicas" in each["spec"]:
            each["spec"]["replicas"] = replicas
        kept.append(each)
    return kept


def secret(name: str, data: Mapping[str, bytes | str]) -> Document:
    """Return a Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "type": "Opaque",
        "data": {
            key: base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
            for key, value in data.items()
        },
    }


@dataclass(slots=True, kw_only=True)
class Manifests:
    """
    An overlay with its Secrets.

    Attributes:
        rendered: What `kubectl kustomize` made of it.
        internal: Who signs the certificates between services.
        public: Who signs what clients are shown.
        master_key: What stored keys are sealed under.
    """

    rendered: Sequence[Document]
    internal: Authority = field(default_factory=Authority.new)
    public: Authority = field(default_factory=lambda: Authority.new("public"))
    master_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def applied(self) -> list[Document]:
        """Return what is applied when the Secrets are there: all but what is cert-manager's."""
        return [
            each for each in self.rendered if each["kind"] not in {"Certificate", "Issuer", "ClusterIssuer"}
        ]

    @property
    def documents(self) -> list[Document]:
        """Return all that is applied at first."""
        return [*self.without_brought(), *self.brought()]

    def without_brought(self) -> list[Document]:
        """Return what is applied, with what cert-manager makes of it."""
        return [*self.applied, *(secret(name, data) for name, data in self.issued().items())]

    def brought(self) -> list[Document]:
        """Return the Secrets that an operator brings."""
        return [
            secret(
                "headrace-database",
                {"url": "postgresql://headrace:rehearsal@postgres.rehearsal:5432/headrace"},
            ),
            secret("headrace-valkey", {"url": "valkey://valkey.rehearsal:6379/0"}),
            secret(
                "headrace-auth",
                {"master-key": base64.b64encode(self.master_key), "first-token": TOKEN},
            ),
            secret("headrace-provider-keys", {"HEADRACE_PROVIDER_OPENAI_API_KEY": "sk-rehearsal"}),
        ]

    def issued(
        self,
        *,
        by: Authority | None = None,
        trusted: Iterable[Authority] | None = None,
        lifetime: timedelta = timedelta(days=3),
    ) -> dict[str, dict[str, bytes]]:
        """
        Return what cert-manager would make of the Certificates: data of Secrets by name.

        Args:
            by: Who signs those between services; `internal` unless given.
            trusted: Authorities that their `ca.crt` names; who signs unless given.
            lifetime: How long they are good for.
        """
        made = {}
        trusted = None if trusted is None else tuple(trusted)
        for each in self.rendered:
            spec = each.get("spec", {})
            if each["kind"] != "Certificate" or spec.get("isCA"):
                continue
            public = spec["secretName"] == "front-door-tls"
            authority = self.public if public else by or self.internal
            made[spec["secretName"]] = authority.issue(
                dns=spec.get("dnsNames", ()),
                uri=spec.get("uris", ()),
                lifetime=lifetime,
                trusted=None if public else trusted,
            )
        return made

    def changed(self, rendered: Sequence[Document]) -> Manifests:
        """Return another rendering with the same authorities."""
        return replace(self, rendered=rendered)
