"""
Fail when the protos break those of the newest release tag.

A contract that was not released yet cannot be broken: without a tag, or without git (in an unpacked archive,
say), there is nothing to compare with, which is said.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _git(*arguments: str) -> str:
    found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""


def _against() -> str:
    if shutil.which("git") is None:
        return ""
    if tag := _git("describe", "--tags", "--abbrev=0", "--match", "v*"):
        return f"tag={tag}"
    return ""


def main() -> int:
    """Compare, and return buf's exit code."""
    against = _against()
    if not against:
        print("proto-breaking: no release tag to compare with")
        return 0
    buf = Path(sys.executable).parent / "buf"
    # In a work tree of its own, `.git` is a file; buf wants the repository.
    repository = _git("rev-parse", "--path-format=absolute", "--git-common-dir")
    source = f"{repository}#{against}"
    return subprocess.run([str(buf), "breaking", "--against", source], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
