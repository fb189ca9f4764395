"""Fail when a check changed files, in CI only: on a person's machine uncommitted work is normal."""

from __future__ import annotations

import os
import subprocess
import sys

if os.environ.get("CI") == "true":
    dirty = subprocess.run(
        ["git", "status", "--porcelain"], check=True, capture_output=True, text=True
    ).stdout
    if dirty:
        sys.exit(f"the checks left changes behind:\n{dirty}")
