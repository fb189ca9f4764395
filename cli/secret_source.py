"""Where a command takes a secret from: never from its arguments, which other processes can read."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cli.rpc import fail

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["secret_body"]

_SCHEMES = ("vault:", "file:", "env:")


def secret_body(*, from_file: Path | None, from_env: str, ref: str) -> dict[str, str]:
    """
    Give the members of a body that say what a key is; end the program when there is none.

    Args:
        from_file: File on this machine that holds it.
        from_env: Variable of this process that holds it.
        ref: Where the server finds it.
    """
    if sum((from_file is not None, bool(from_env), bool(ref))) > 1:
        fail("--from-file, --from-env and --ref do not go together.", status=2)
    if ref:
        if not ref.startswith(_SCHEMES):
            fail(f"--ref {ref}: begin with one of {', '.join(_SCHEMES)}.", status=2)
        return {"secret_id": ref}
    secret = _read(from_file, from_env).strip()
    if not secret:
        fail("The key is empty.", status=2)
    return {"secret": secret}


def _read(from_file: Path | None, from_env: str) -> str:
    if from_env:
        found = os.environ.get(from_env)
        if found is None:
            fail(f"--from-env: the variable {from_env} is not set.", status=2)
        return found
    if from_file is not None:
        try:
            return from_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            fail(f"--from-file: {from_file} cannot be read: {reason}.", status=2)
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass("Key (not shown): ")
    return sys.stdin.read()
