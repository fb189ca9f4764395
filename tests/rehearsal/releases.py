"""
Releases to upgrade between: source trees, each with the manifests of its own version.

Where there is a tag, or a revision is named, the older release is that. Until there is one that knows of
Kubernetes, the newer release is made up: this tree with another version and one more migration, which adds
a column.
"""

from __future__ import annotations

import copy
import io
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from deploy.rehearsal.images import ROOT
from kit.version import VERSION
from scripts.k8s_render import render
from tests.rehearsal.manifests import OVERLAY

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Release", "pair"]

Document = dict[str, Any]

_PARTS: Final = (
    "gen",
    "kit",
    "services",
    "deploy",
    "cli",
    "requirements",
    "LICENSE",
    "Dockerfile",
    ".dockerignore",
)
_MIGRATION: Final = '''\
"""
A note.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    """Change the tables."""
    op.add_column("entries", sa.Column("note", sa.Text(), nullable=True))
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """
    A release.

    Attributes:
        name: What it is called in what is printed.
        version: Its version, which is its image's tag.
        tree: Its source.
        rendered: Its manifests.
        migrates: Whether it was made up with one more migration.
    """

    name: str
    version: str
    tree: Path
    rendered: list[Document]
    migrates: bool = False


def pair(work: Path, revision: str | None) -> tuple[Release, Release]:
    """
    Return an older and a newer release.

    Args:
        work: Where trees are put.
        revision: Git's name of the older one; None for the newest tag, if there is one.
    """
    revision = revision or _newest_tag()
    if revision is not None:
        tree = _checked_out(revision, work / "before")
        if (tree / OVERLAY.relative_to(ROOT)).is_dir():
            version = _version(tree)
            before = Release(
                name=revision, version=version, tree=tree, rendered=render(tree / OVERLAY.relative_to(ROOT))
            )
            rendered = render(OVERLAY)
            if version == VERSION:
                return before, _made_up(work / "next", rendered)
            return before, Release(name="this tree", version=VERSION, tree=ROOT, rendered=rendered)
    rendered = render(OVERLAY)
    before = Release(name=f"this tree as {VERSION}", version=VERSION, tree=ROOT, rendered=rendered)
    return before, _made_up(work / "next", rendered)


def _made_up(tree: Path, rendered: list[Document]) -> Release:
    """Return this tree as the release after it: another version, and one more migration."""
    tree.mkdir(parents=True)
    for part in _PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / part)
    major, minor, _ = VERSION.split(".")
    version = f"{major}.{int(minor) + 1}.0"
    _replace(tree / "kit" / "version.py", f'"{VERSION}"', f'"{version}"')
    _add_migration(tree / "services" / "ledger")
    return Release(
        name=f"this tree as {version}, with one more migration",
        version=version,
        tree=tree,
        rendered=[_of_version(document, version) for document in rendered],
        migrates=True,
    )


def _add_migration(service: Path) -> None:
    versions = service / "migrations" / "versions"
    before = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
    revision = f"{int(before) + 1:04}"
    (versions / f"{revision}_note.py").write_text(_MIGRATION.format(revision=revision, before=before))
    [tables] = [path for path in service.glob("*.py") if f'head="{before}"' in path.read_text()]
    _replace(tables, f'head="{before}"', f'head="{revision}"')


def _of_version(document: Document, version: str) -> Document:
    """Return a manifest as the other version has it: the image's tag, and the name of the migration's Job."""
    document = copy.deepcopy(document)
    template = document.get("spec", {}).get("template")
    for container in template["spec"]["containers"] if template else ():
        if container["image"].endswith(f"headrace:{VERSION}"):
            container["image"] = container["image"].replace(f":{VERSION}", f":{version}")
    if document["kind"] == "Job":
        name = document["metadata"]["name"]
        document["metadata"]["name"] = name.replace(VERSION.replace(".", "-"), version.replace(".", "-"))
    return document


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new))


def _newest_tag() -> str | None:
    done = subprocess.run(
        ["git", "tag", "--list", "--sort=-version:refname", "v*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return next(iter(done.stdout.split()), None)


def _checked_out(revision: str, tree: Path) -> Path:
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")
    return tree


def _version(tree: Path) -> str:
    found = re.search(r'^VERSION: Final = "([^"]+)"', (tree / "kit" / "version.py").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]
