"""The `headrace` command line."""

from __future__ import annotations

import services  # noqa: F401 - puts the generated stubs on the path, wherever the command is started
