"""Secrets that a file names and this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cli.manifest.models import Secret as Source

__all__ = ["read_secret"]


def read_secret(source: Source, directory: Path, env: Mapping[str, str]) -> Secret:
    """
    Read a secret; white space around it does not count.

    Args:
        source: Where it is.
        directory: What paths start from.
        env: The environment.

    Raises:
        ValueError: It is not there; the message says so.
    """
    if source.env is not None:
        found = env.get(source.env, "").strip()
        if not found:
            raise ValueError(f"the variable {source.env} is not set")
        return Secret(found)
    path = directory / str(source.file)
    try:
        found = path.read_text().strip()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} cannot be read: it is not UTF-8") from None
    if not found:
        raise ValueError(f"{path} is empty")
    return Secret(found)
