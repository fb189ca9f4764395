"""
An API server that knows which kinds there are and nothing else: enough for `kubectl apply --dry-run=client`.

kubectl asks a server what kinds it has, and whether an object is there already. This one has all kinds that
the manifests may use, and no object. It listens on loopback only.
"""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KINDS", "running"]

# Group and version, kind, plural, and whether it belongs to a namespace.
KINDS: Final = (
    ("v1", "ConfigMap", "configmaps", True),
    ("v1", "Namespace", "namespaces", False),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", True),
    ("v1", "Secret", "secrets", True),
    ("v1", "Service", "services", True),
    ("v1", "ServiceAccount", "serviceaccounts", True),
    ("apps/v1", "Deployment", "deployments", True),
    ("apps/v1", "StatefulSet", "statefulsets", True),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True),
    ("batch/v1", "Job", "jobs", True),
    ("networking.k8s.io/v1", "Ingress", "ingresses", True),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", True),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", True),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", False),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", False),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", True),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", True),
    ("cert-manager.io/v1", "Certificate", "certificates", True),
    ("cert-manager.io/v1", "Issuer", "issuers", True),
    ("gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes", True),
    ("gateway.networking.k8s.io/v1", "Gateway", "gateways", True),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", True),
    ("monitoring.coreos.com/v1", "PodMonitor", "podmonitors", True),
    ("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules", True),
    ("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", True),
)
_DISCOVERY: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def discovery(*, core: bool) -> dict[str, Any]:
    """Return which kinds there are: those of Kubernetes' core, or all others, as kubectl asks for them."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for group_version, kind, plural, namespaced in KINDS:
        group, _, version = group_version.rpartition("/")
        if bool(group) != core:
            resource = {
                "resource": plural,
                "responseKind": {"group": group, "version": version, "kind": kind},
                "scope": "Namespaced" if namespaced else "Cluster",
                "singularResource": kind.lower(),
                "verbs": ["create", "get", "list", "patch"],
            }
            groups.setdefault(group, {}).setdefault(version, []).append(resource)
    items = [
        {
            "metadata": {"name": group},
            "versions": [
                {"version": version, "resources": resources, "freshness": "Current"}
                for version, resources in versions.items()
            ],
        }
        for group, versions in groups.items()
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in {"/api", "/apis"}:
            self._answer(200, discovery(core=path == "/api"), _DISCOVERY)
        else:
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "NotFound",
                "code": 404,
            }
            self._answer(404, status, "application/json")

    def _answer(self, status: int, content: dict[str, Any], kind: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the overridden one
        """Say nothing: kubectl says what it found."""


@contextmanager
def running() -> Iterator[str]:
    """Run a server while the block runs, and give its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
