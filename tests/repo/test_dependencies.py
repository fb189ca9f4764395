"""Everything that is installed is named, locked and hashed."""

from __future__ import annotations

import re
import tomllib

import pytest

from kit.version import VERSION
from tests.repo.tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
_ENTRY = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==(\S+)")
LOCKS = ("run", "dev", "uv")


def locked(name: str) -> dict[str, tuple[str, int]]:
    """
    Return (version, number of hashes) of each package in a lock file.

    Raises:
        AssertionError: a line pins no version.
    """
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            entry = _ENTRY.match(line)
            assert entry is not None, line
            found[normal(entry[1])] = (entry[2], line.count("--hash=sha256:"))
    return found


def normal(requirement: str) -> str:
    """Return the name in a requirement, in the one spelling that all spellings come down to."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_hashes(name: str) -> None:
    """Each line of a lock file pins a version and what its files must be."""
    found = locked(name)

    assert found
    assert [] == [package for package, (_, hashes) in found.items() if not hashes]


def test_what_runs_is_locked() -> None:
    """Each dependency of the project is in both lock files, in the same version."""
    wanted = {normal(requirement) for requirement in PROJECT["project"]["dependencies"]}
    run, dev = locked("run"), locked("dev")

    assert set() == wanted - set(run)
    assert {package: run[package] for package in run} == {package: dev.get(package) for package in run}


def test_what_develops_is_locked() -> None:
    """Each package that only development needs is in the development lock file, and is asked for once."""
    wanted = {normal(requirement) for requirement in PROJECT["dependency-groups"]["dev"]}

    assert set() == wanted - set(locked("dev"))
    assert set() == wanted & {normal(requirement) for requirement in PROJECT["project"]["dependencies"]}


def test_what_is_kept_out_is_out() -> None:
    """Packages that are left out on purpose are in no lock file."""
    excluded = {normal(name) for name in PROJECT["tool"]["uv"]["exclude-dependencies"]}

    assert set() == excluded & (set(locked("run")) | set(locked("dev")))


def test_version() -> None:
    """The version is the same for whoever asks the package and whoever asks the program."""
    assert VERSION == PROJECT["project"]["version"]
