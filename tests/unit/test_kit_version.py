"""The version stands in two places, which must agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

from kit.version import VERSION


def test_version_is_the_projects() -> None:
    """What `headrace version` says is what pyproject.toml says."""
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())

    assert project["project"]["version"] == VERSION
