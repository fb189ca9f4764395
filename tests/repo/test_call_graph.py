"""
Who calls whom is the same in three places: ARCHITECTURE.md's table, the allow-lists, and the code's stubs.
"""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.repo.protos import rpcs
from tests.repo.tree import ROOT, SERVICES, parsed, python_files, text

if TYPE_CHECKING:
    from collections.abc import Mapping

ARCHITECTURE = ROOT / "ARCHITECTURE.md"
# `edge` | `AuthService` | `Authenticate`, `Watch` | `edge` | `cache`, `ledger`
_ROW = re.compile(r"^\| `([a-z]+)` \| `([A-Za-z]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
# Who can call at all. The empty name is that of a caller who gives none.
CALLERS = frozenset({"cli", "external", *SERVICES})
ANYONE = "anyone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """A row of the table: some RPCs of one gRPC service, and who may call them."""

    callee: str
    service: str
    rpcs: tuple[str, ...]
    callers: frozenset[str]
    unused: frozenset[str]


def arrows() -> list[Arrow]:
    """Return the rows of ARCHITECTURE.md's table."""
    return [
        Arrow(
            callee=callee,
            service=service,
            rpcs=tuple(_CODE.findall(names)),
            callers=frozenset(_CODE.findall(callers)),
            unused=frozenset(_CODE.findall(unused)),
        )
        for callee, service, names, callers, unused in _ROW.findall(ARCHITECTURE.read_text())
    ]


def bindings(service: str) -> list[tuple[str, Mapping[str, frozenset[str]] | frozenset[str]]]:
    """Return (full name of the gRPC service, allow-list) for each binding in a service's `app.py`."""
    app = importlib.import_module(f"services.{service}.app")
    found = []
    for node in ast.walk(parsed(ROOT / "services" / service / "app.py")):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Binding":
            given: dict[str | None, Any] = {keyword.arg: keyword.value for keyword in node.keywords}
            # A name in the module, so that the list can be found and read without building the service.
            found.append((given["service"].value, getattr(app, given["callers"].id)))
    return found


def allowed(callers: Mapping[str, frozenset[str]] | frozenset[str], rpc: str) -> frozenset[str]:
    """Return who may call an RPC, as `kit.service.Binding` reads an allow-list."""
    return callers if isinstance(callers, frozenset) else callers.get(rpc, frozenset())


def test_table_has_every_rpc_once() -> None:
    """Each RPC of the protos stands in one row of the table for each service that offers it."""
    listed = [(arrow.callee, arrow.service, rpc) for arrow in arrows() for rpc in arrow.rpcs]

    assert {(service.rpartition(".")[2], rpc) for service, rpc in rpcs()} == {row[1:] for row in listed}
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("name", SERVICES)
def test_allow_lists_are_the_table(name: str) -> None:
    """A service accepts those callers that the table names, and no other."""
    offered = {
        (service.rpartition(".")[2], rpc): allowed(callers, rpc)
        for service, callers in bindings(name)
        for full_name, rpc in rpcs()
        if full_name == service
    }
    documented = {
        (arrow.service, rpc): CALLERS | {""} if ANYONE in arrow.callers else arrow.callers | arrow.unused
        for arrow in arrows()
        if arrow.callee == name
        for rpc in arrow.rpcs
    }

    assert documented == offered


def test_callers_are_those_in_the_code() -> None:
    """Who the table says calls a service holds a stub of it, and nobody else does."""
    documented = {
        (arrow.service, caller) for arrow in arrows() for caller in arrow.callers if caller != ANYONE
    }

    assert documented == set(stubs())


def test_unused_permissions_are_unused() -> None:
    """Whoever may call a service but is said not to holds no stub of it."""
    unused = {(arrow.service, caller) for arrow in arrows() for caller in arrow.unused}
    called = {(arrow.service, caller) for arrow in arrows() for caller in arrow.callers}

    assert set() == (unused - called) & set(stubs())


def stubs() -> list[tuple[str, str]]:
    """Return (gRPC service, caller) for each stub that code makes."""
    names = {service.rpartition(".")[2] for service, _ in rpcs()}
    found = []
    for path in python_files("services", "cli"):
        parts = path.relative_to(ROOT).parts
        caller = "cli" if parts[0] == "cli" else parts[1]
        found += [(name, caller) for name in names if f"{name}Stub(" in text(path)]
    return found
