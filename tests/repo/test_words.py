"""Words that must stand in no file, lock files included."""

from __future__ import annotations

import re

from tests.repo.tree import ROOT, files, text

# Put together here, so that this file does not hold them.
HOSTS = tuple(
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))
)
# Where somebody's own machine keeps things.
DIRECTORIES = ("work", "root", "home", "Users", "tmp")
_MACHINE_PATH = re.compile(rf"(?<![\w.}}/*$-])/(?:{'|'.join(DIRECTORIES)})/[\w.-]+")
# A test may hold a path that it reads as text only.
READ_AS_TEXT = {"tests/unit/test_kit_config.py"}
_UNOWNED = re.compile(rf"\b{'TO' + 'DO'}\b(?!\(#\d+\))")


def test_no_download_address() -> None:
    """No file says from which host packages are fetched: that is the machine's to decide."""
    found = [str(path.relative_to(ROOT)) for path in files() if any(host in text(path) for host in HOSTS)]

    assert [] == found


def test_no_path_of_a_machine() -> None:
    """No file names a directory that exists on its author's machine alone."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files()
        if str(path.relative_to(ROOT)) not in READ_AS_TEXT
        for match in _MACHINE_PATH.finditer(text(path))
    ]

    assert [] == found


def test_no_unowned_to_do() -> None:
    """What is left to do names the issue that it is left to."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files()
        if "gen" not in path.relative_to(ROOT).parts
        for match in _UNOWNED.finditer(text(path))
    ]

    assert [] == found
