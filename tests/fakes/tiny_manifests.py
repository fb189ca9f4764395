"""Manifests of pods that are there at once: a web server of a few lines, behind the image `tiny:1`."""

from __future__ import annotations

from typing import Any

__all__ = ["NAMESPACE", "SERVER", "config_map", "deployment", "namespace", "policy", "secret", "service"]

NAMESPACE = "tiny"

SERVER = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        unready = self.path == '/ready' and os.path.exists('/scratch/unready')
        self.send_response(503 if unready else 200)
        self.end_headers()
        self.wfile.write(os.environ['GREETING'].encode())
http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()
"""

Document = dict[str, Any]


def _document(version: str, kind: str, name: str, **members: Any) -> Document:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **members}


def namespace(name: str) -> Document:
    """Return a Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config_map(name: str, data: dict[str, str]) -> Document:
    """Return a ConfigMap."""
    return _document("v1", "ConfigMap", name, data=data)


def secret(name: str, data: dict[str, str]) -> Document:
    """Return a Secret."""
    return _document("v1", "Secret", name, stringData=data)


def service(name: str, **spec: str) -> list[Document]:
    """Return a Service of the pods of this name."""
    ports = [{"name": "http", "port": 8000, "targetPort": "http"}]
    return [_document("v1", "Service", name, spec={"selector": {"app": name}, "ports": ports, **spec})]


def deployment(name: str, *, replicas: int = 1, code: str = SERVER) -> list[Document]:
    """Return a Deployment that runs Python code, with a greeting, a Secret's files and a place to write."""
    container: Document = {
        "name": name,
        "image": "tiny:1",
        "args": [code],
        "env": [
            {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "greeting", "key": "greeting"}}}
        ],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": "http"},
            "periodSeconds": 1,
            "failureThreshold": 1,
        },
        "resources": {"limits": {"memory": "64Mi"}},
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "secret", "mountPath": "/secret", "readOnly": True},
        ],
    }
    spec: Document = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532, "runAsNonRoot": True},
        "containers": [container],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "secret", "secret": {"secretName": "word"}},
        ],
    }
    labels = {"app": name}
    return [
        _document(
            "apps/v1",
            "Deployment",
            name,
            spec={
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        )
    ]


def policy(name: str, *, allow: str) -> Document:
    """Return a NetworkPolicy: these pods take calls of those alone."""
    return _document(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        spec={
            "podSelector": {"matchLabels": {"app": name}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": {"app": allow}}}],
                    "ports": [{"protocol": "TCP", "port": "http"}],
                }
            ],
        },
    )
