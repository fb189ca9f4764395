"""Every service has what every service has, and is known wherever all are named."""

from __future__ import annotations

import importlib
import inspect

import pytest

from deploy.envoy.render import FrontDoor
from kit.runtime_config import RuntimeConfig
from services.__main__ import TARGETS
from services.settings import CONFIGS, SHARED
from tests.repo.tree import ROOT, SERVICES, parsed

README_LINES = 60


@pytest.mark.parametrize("name", SERVICES)
def test_files(name: str) -> None:
    """A service has its README, its composition root and its settings."""
    directory = ROOT / "services" / name

    assert [] == [file for file in ("README.md", "app.py", "config.py") if not (directory / file).is_file()]


@pytest.mark.parametrize("name", SERVICES)
def test_readme(name: str) -> None:
    """A README fits on a screen, and says what the service owns, never does, calls and is called by."""
    page = (ROOT / "services" / name / "README.md").read_text()

    assert len(page.splitlines()) <= README_LINES
    assert [] == [word for word in ("owns", "never", "calls", "called by") if word not in page.lower()]


@pytest.mark.parametrize("name", SERVICES)
def test_package_docstring(name: str) -> None:
    """The package itself says what the service is."""
    tree = parsed(ROOT / "services" / name / "__init__.py")

    assert isinstance(importlib.import_module(f"services.{name}").__doc__, str)
    assert len(tree.body) == 1, "a docstring and nothing else"


@pytest.mark.parametrize("name", SERVICES)
def test_composition_root(name: str) -> None:
    """`app.py` offers `build`, which takes the runtime alone."""
    app = importlib.import_module(f"services.{name}.app")

    assert ["runtime"] == list(inspect.signature(app.build).parameters)


def test_lists_of_services_agree() -> None:
    """Folders, targets, owners of settings, addresses and Envoy's clusters name the same services."""
    folders = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
    addresses = {
        field.removesuffix("_address")
        for field in RuntimeConfig.__dataclass_fields__
        if field.endswith("_address") and field != "providers_local_address"
    }

    assert set(SERVICES) == folders
    assert set(SERVICES) == set(TARGETS)
    assert set(SERVICES) == set(CONFIGS) - SHARED
    # Nobody calls the edge but clients, so it has no address that others look up.
    assert set(SERVICES) - {"edge"} == addresses
    assert set(SERVICES) - {"edge"} <= set(FrontDoor.__dataclass_fields__)
