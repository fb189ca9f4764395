"""
What an operator brings to an overlay: stores, and the Secrets that manifests name and do not hold.

For a rehearsal by hand, `python -m deploy.rehearsal`; scenarios bring their own.
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any, Final

from deploy.rehearsal.handles import HostSpec

__all__ = ["PROVIDER", "STORES", "bring", "new_token"]

_PASSWORD: Final = "rehearsal"  # noqa: S105 - of a store that lives as long as the rehearsal
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"

# In a private network, as policies expect stores to be.
STORES: Final = (
    HostSpec(
        name="postgres.rehearsal",
        address="192.168.77.10",
        image="postgres:18",
        env=(("POSTGRES_USER", "headrace"), ("POSTGRES_PASSWORD", _PASSWORD), ("POSTGRES_DB", "headrace")),
    ),
    HostSpec(name="valkey.rehearsal", address="192.168.77.11", image="valkey/valkey:9"),
)
PROVIDER: Final = HostSpec(name="provider", address="203.0.113.20")
"""The host of the provider's stand-in, which listens on port 8000."""

Document = dict[str, Any]


def new_token() -> str:
    """Return a token of the shape that the gateway takes: `hr_<id>_<secret>`."""
    name = "".join(secrets.choice(_LETTERS) for _ in range(12))
    return f"hr_{name}_{secrets.token_urlsafe(32)}"


def bring(documents: list[Document], namespace: str, token: str) -> list[Document]:
    """
    Return the Secrets that an operator would bring: those that are named and not there.

    Args:
        documents: The manifests.
        namespace: Where they go.
        token: The first token.
    """
    there = {document["metadata"]["name"] for document in documents if document["kind"] == "Secret"}
    text = json.dumps(documents)
    wanted = {
        "headrace-database": {
            "url": f"postgresql://headrace:{_PASSWORD}@postgres.rehearsal:5432/headrace?sslmode=disable"
        },
        "headrace-valkey": {"url": "valkey://valkey.rehearsal:6379/0"},
        "headrace-auth": {
            "master-key": base64.b64encode(secrets.token_bytes(32)).decode(),
            "first-token": token,
        },
        "headrace-provider-keys": {"HEADRACE_PROVIDER_OPENAI_API_KEY": "sk-rehearsal"},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": data,
        }
        for name, data in wanted.items()
        if name not in there and f'"{name}"' in text
    ]
