"""Who may import whom: the contracts of pyproject.toml hold, and they bite."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.repo.tree import ROOT, module_name, parsed, python_files

CHECKED = ("cli", "deploy", "services", "kit", "gen")
# What modules that decide may import, beside the standard library and their own package.
PURE = {
    "orjson",
    "kit.account",
    "kit.clock",
    "kit.errors",
    "kit.json_edit",
    "kit.moment",
    "kit.secret",
    "kit.sse",
    "kit.tokens",
}
PURE_PACKAGES = (
    "services.auth.core",
    "services.cache.core",
    "services.ledger.core",
    "services.router.core",
    "services.providers.dialects",
    "services.edge.splice",
)


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check a tree's contracts, as `make layers` does."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(program), "--no-logo", "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": "gen", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the code, so that a test can spoil it."""
    for name in CHECKED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold() -> None:
    """Nothing imports what it must not."""
    checked = lint_imports(ROOT)

    assert 0 == checked.returncode, checked.stdout + checked.stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """A line that must not be, and the contract that must notice it."""

    path: str
    line: str
    contract: str


OFFENCES = {
    "service imports service": Offence(
        path="services/cache/server.py",
        line="import services.auth.core.token",
        contract="services meet only over gRPC",
    ),
    "service imports service through the table of settings": Offence(
        path="services/edge/http_server.py",
        line="import services.settings",
        contract="services meet only over gRPC",
    ),
    "kit knows a service": Offence(
        path="kit/ids.py",
        line="import services.auth.config",
        contract="the command line uses services, services use kit, kit uses generated code",
    ),
    "service imports the command line": Offence(
        path="services/router/app.py",
        line="import cli.backoff",
        contract="the command line uses services, services use kit, kit uses generated code",
    ),
    "core calls a service": Offence(
        path="services/router/core/plan.py", line="import grpc", contract="what decides does no I/O"
    ),
    "core knows messages": Offence(
        path="services/cache/core/key.py",
        line="import headrace.cache.v1.cache_service_pb2",
        contract="what decides does no I/O",
    ),
    "dialect reads settings": Offence(
        path="services/providers/dialects/usage.py",
        line="import kit.config",
        contract="what decides does no I/O",
    ),
    "store answers calls": Offence(
        path="services/auth/store_sql.py",
        line="import services.auth.server",
        contract="shape of a service",
    ),
    "module without a layer": Offence(path="services/auth/misc.py", line="", contract="shape of a service"),
    "pipeline knows HTTP": Offence(
        path="services/edge/pipeline/pipeline.py",
        line="import services.edge.http_sink",
        contract="shape of the edge",
    ),
    "dialect knows its adapter": Offence(
        path="services/providers/dialects/native.py",
        line="import services.providers.adapters.openai",
        contract="shape of providers",
    ),
}


@pytest.mark.parametrize("offence", OFFENCES.values(), ids=OFFENCES)
def test_contracts_bite(copy: Path, offence: Offence) -> None:
    """An import that must not be makes `make layers` fail, and so `make check`."""
    path = copy / offence.path
    before = path.read_text() if path.exists() else '"""New."""\n'
    path.write_text(f"{before}\n{offence.line}\n")

    checked = lint_imports(copy)

    broken = [
        line.removesuffix(" BROKEN") for line in checked.stdout.splitlines() if line.endswith(" BROKEN")
    ]
    assert 1 == checked.returncode, checked.stdout + checked.stderr
    assert offence.contract in broken


@pytest.mark.parametrize("package", PURE_PACKAGES)
def test_pure_packages_import_next_to_nothing(package: str) -> None:
    """Modules that decide import the standard library, orjson, and what is pure in kit."""
    wrong = [
        f"{module_name(path)} imports {name}"
        for path in python_files("services")
        if module_name(path).startswith(f"{package}.")
        for name in imported(parsed(path))
        if name.partition(".")[0] not in sys.stdlib_module_names
        and name not in PURE
        and not name.startswith(package)
    ]

    assert [] == wrong


def test_what_is_pure_in_kit_is_pure() -> None:
    """What modules that decide may import from kit imports nothing but the standard library and its like."""
    wrong = [
        f"{module_name(path)} imports {name}"
        for path in python_files("kit")
        if module_name(path) in PURE
        for name in imported(parsed(path))
        if name.partition(".")[0] not in sys.stdlib_module_names and name not in PURE
    ]

    assert [] == wrong


def test_contract_of_purity_names_all_the_rest_of_kit() -> None:
    """A new module of kit is out of bounds for what decides until it is said to be pure."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [pure] = [contract for contract in contracts if contract["id"] == "pure"]
    # kit/rpc/status.py is `kit.rpc`; kit/__init__.py is nobody's to forbid.
    modules = {".".join(module_name(path).split(".")[:2]) for path in python_files("kit")} - {"kit"}

    assert modules - PURE == {name for name in pure["forbidden_modules"] if name.startswith("kit.")}
    assert set(PURE_PACKAGES) == set(pure["source_modules"])


def imported(tree: ast.Module) -> set[str]:
    """Return the modules that a module imports; of `from kit import errors`, `kit.errors`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "kit":
            found |= {f"kit.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found
