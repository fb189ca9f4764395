"""The RPCs of the protos, from the generated descriptors."""

from __future__ import annotations

import importlib

from tests.repo.tree import ROOT

__all__ = ["rpcs"]


def rpcs() -> list[tuple[str, str]]:
    """Return (full name of the service, name of the RPC) for each RPC."""
    found = []
    for path in sorted((ROOT / "proto").rglob("*.proto")):
        name = ".".join(path.relative_to(ROOT / "proto").with_suffix("").parts)
        descriptor = importlib.import_module(f"{name}_pb2").DESCRIPTOR
        for service in descriptor.services_by_name.values():
            found += [(service.full_name, method.name) for method in service.methods]
    return found
