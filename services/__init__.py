"""
The services of Headrace, one package each. They never import each other.

The generated stubs are the package `headrace` under `gen/`, which is a source root of its own. This is the
one place that puts it on the path: whoever runs services imports this package first.
"""

from __future__ import annotations

import sys
from pathlib import Path

_GENERATED = str(Path(__file__).resolve().parent.parent / "gen")
if _GENERATED not in sys.path:
    sys.path.append(_GENERATED)
