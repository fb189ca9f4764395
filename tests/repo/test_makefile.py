"""Everything that a person or CI does goes through make, and make says what there is."""

from __future__ import annotations

import re

from tests.repo.tree import ROOT

_RULE = re.compile(r"^([A-Za-z0-9_./-]+):(?!=)([^\n]*)$", re.MULTILINE)
# Part of other targets, and of no use alone.
INTERNAL = {"node"}


def rules() -> dict[str, str]:
    """Return what stands after the colon, by target."""
    return {
        target: rest for target, rest in _RULE.findall((ROOT / "Makefile").read_text()) if target[0] != "."
    }


def test_every_target_has_help() -> None:
    """Each target that a person may call is in the help that `make` prints."""
    assert [] == [target for target, rest in rules().items() if "## " not in rest and target not in INTERNAL]


def test_every_target_is_phony() -> None:
    """A directory of a target's name (`proto`, `bench`, `docs`) does not keep it from running."""
    phony = set(
        " ".join(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)).split()
    )

    assert set(rules()) == phony


def test_every_test_directory_has_a_target() -> None:
    """`tests/<dir>` is `make test-<dir>`."""
    directories = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}

    assert {f"test-{name}" for name in directories} <= set(rules())


def test_ci_goes_through_make() -> None:
    """CI calls make and nothing else that builds or tests."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]

    assert ["make check", "make test"] == commands
