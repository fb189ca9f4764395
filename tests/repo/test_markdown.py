"""Documents can be followed and read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.repo.tree import ROOT, files

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = {"README.md": 200, "ARCHITECTURE.md": 300}
REQUIRED = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "proto/README.md",
    "tests/README.md",
    "docs/clients.md",
    "docs/compatibility.md",
    "docs/configuration.md",
    "docs/errors.md",
    "docs/openai-compatibility.md",
    "docs/operations.md",
    "docs/request-lifecycle.md",
    "docs/telemetry.md",
)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in files() if path.suffix == ".md")


def anchors(path: Path) -> set[str]:
    """Return what a link may name after `#`, as code hosts make it of headings."""
    headings = _HEADING.findall(_FENCE.sub("", path.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path) -> list[str]:
    """Return the relative links of a document that lead nowhere."""
    wrong = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_resolve(name: str) -> None:
    """A relative link leads to a file, and to a heading in it where it names one."""
    assert [] == broken(ROOT / name)


@pytest.mark.parametrize(("name", "limit"), LIMITS.items())
def test_length(name: str, limit: int) -> None:
    """What everybody reads first stays short."""
    assert len((ROOT / name).read_text().splitlines()) <= limit


def test_required_documents() -> None:
    """The documents that others link to are there."""
    assert set(REQUIRED) <= set(DOCUMENTS)


def test_paths_in_code_spans_exist() -> None:
    """A file of the repository that a document mentions is there."""
    mentioned = re.compile(r"`((?:kit|services|cli|deploy|scripts|tests|proto|docs|bench)/[\w./-]+\.\w+)`")
    wrong = [
        f"{name}: {path}"
        for name in DOCUMENTS
        for path in mentioned.findall(_FENCE.sub("", (ROOT / name).read_text()))
        if not (ROOT / path).exists()
    ]

    assert [] == wrong


def test_decisions_are_numbered_in_a_row() -> None:
    """Each decision record has the next number, and says context, decision and consequences."""
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(path.name[:4]) for path in records]

    assert list(range(1, len(records) + 1)) == numbers
    for path in records:
        assert ["Context", "Decision", "Consequences"] == re.findall(
            r"^## (.+)$", path.read_text(), re.MULTILINE
        )
