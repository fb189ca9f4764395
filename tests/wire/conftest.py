"""Comparison with goldens, and their renewal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


class Goldens:
    """
    Compares what came out with what is on file.

    Args:
        update: Write to the file instead.
    """

    def __init__(self, *, update: bool) -> None:
        self._update = update

    def check(self, path: Path, found: bytes) -> None:
        """Compare bytes with a golden file."""
        if self._update:
            path.write_bytes(found)
        assert path.exists(), f"no golden {path.name}; make it with UPDATE_GOLDENS=1"
        assert path.read_bytes() == found


@pytest.fixture
def goldens() -> Goldens:
    """Goldens, to be compared with or, with UPDATE_GOLDENS=1, to be written."""
    return Goldens(update=os.environ.get("UPDATE_GOLDENS") == "1")
