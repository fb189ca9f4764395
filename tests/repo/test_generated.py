"""What is generated is up to date, and nothing that should be in it is missing."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import pytest

from cli.config import CliConfig
from kit.config import describe
from services.settings import CONFIGS, DYNAMIC_SETTINGS
from tests.repo.tree import CODE, ROOT, parsed, python_files

REFERENCE = ROOT / "docs" / "configuration.md"
_VARIABLE = re.compile(r"HEADRACE_[A-Z0-9_]+[A-Z0-9]")
CLASSES = (CliConfig, *(cls for group in CONFIGS.values() for cls in group))


@pytest.mark.parametrize("script", ["gen_protos.py", "gen_config_docs.py", "gen_provider_docs.py"])
def test_up_to_date(script: str) -> None:
    """Generating again changes nothing."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr


def settings() -> set[str]:
    """Return every variable that a config class declares."""
    return {name for cls in CLASSES for entry in describe(cls) for name in entry.names}


def test_every_setting_is_documented() -> None:
    """Each variable has its row in the reference, families of variables included."""
    page = REFERENCE.read_text()
    documented = {entry.env for cls in CLASSES for entry in describe(cls) if f"| `{entry.env}` |" in page}
    families = [f"| `{family.prefix}<SLUG>{family.suffix}` |" for family in DYNAMIC_SETTINGS]

    assert {entry.env for cls in CLASSES for entry in describe(cls)} == documented
    assert [] == [family for family in families if family not in page]


def test_every_setting_says_what_it_does() -> None:
    """A setting's documentation is a sentence."""
    assert [] == [
        entry.env for cls in CLASSES for entry in describe(cls) if not entry.doc.rstrip(")").endswith(".")
    ]


def test_no_setting_goes_around_the_config_classes() -> None:
    """A variable that code names is declared by a config class, so that it is checked and documented."""
    known = settings()
    wrong = {
        f"{path.relative_to(ROOT)}:{node.lineno} {variable}"
        for path in python_files(*CODE)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for variable in _VARIABLE.findall(node.value)
        if variable not in known and not _is_family(variable) and not _is_prefix(variable)
    }

    assert set() == wrong


def _is_family(variable: str) -> bool:
    return any(
        variable.startswith(family.prefix) and variable.endswith(family.suffix) for family in DYNAMIC_SETTINGS
    )


def _is_prefix(variable: str) -> bool:
    # `HEADRACE_PROVIDER_` and the like, without what is appended to them.
    prefixes = {getattr(cls, "PREFIX", "") for cls in CLASSES} | {
        family.prefix for family in DYNAMIC_SETTINGS
    }
    return f"{variable}_" in prefixes


@pytest.mark.parametrize("package", ["cli", "services"])
def test_generated_code_is_found(package: str) -> None:
    """Whoever starts a program from the repository need not say where generated code is."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}.__main__, headrace.auth.v1.auth_service_pb2"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
