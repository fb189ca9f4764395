"""
Make the secrets that `compose.yaml` mounts, in `.compose/`. Run by `make compose-secrets`.

What is there already stays as it is, so that running it again changes nothing. The directory is for its owner
alone; the files in it may be read by all, because the users in the containers are others.
"""

from __future__ import annotations

import argparse
import base64
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).resolve().parent.parent
DIRECTORY: Final = ROOT / ".compose"

# Nothing is evicted, because a counter of a limit would begin with nothing again: a full one only keeps no
# further answers. What a restart loses is asked for again, or counted anew.
VALKEY: Final = """\
requirepass {password}
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
"""


def contents() -> Mapping[str, str]:
    """Return new secrets, by the name of their file."""
    database, valkey = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    return {
        "database-password": database,
        "database-url": f"postgresql://headrace:{database}@postgres:5432/headrace?sslmode=disable",
        "valkey-config": VALKEY.format(password=valkey),
        "valkey-url": f"valkey://default:{valkey}@valkey:6379/0",
        "master-key": base64.b64encode(secrets.token_bytes(32)).decode(),
        "first-token": first_token(),
        "grafana-password": secrets.token_urlsafe(18),
    }


def first_token() -> str:
    """Return a token as auth makes them."""
    sys.path.insert(0, str(ROOT))
    from services.auth.core.token import mint

    return mint().text.reveal()


def write(directory: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files that are not there yet, and return their names; those of a pair only together."""
    directory.mkdir(mode=0o700, exist_ok=True)
    missing = [name for name in files if not (directory / name).exists()]
    groups = [
        {"database-password", "database-url"},
        {"valkey-config", "valkey-url"},
    ]
    for group in groups:
        if 0 < len(group & set(missing)) < len(group):
            there = ", ".join(sorted(group - set(missing)))
            raise SystemExit(f"{directory}: {there} without the other of the pair; remove it or restore both")
    for name in missing:
        path = directory / name
        path.write_text(files[name] if files[name].endswith("\n") else f"{files[name]}\n")
        path.chmod(0o444)
    return missing


def main() -> int:
    """Make what is missing, and say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    given = parser.parse_args()
    made = write(given.directory, contents())
    print(f"made {', '.join(made)}" if made else "everything is there already")
    return 0


if __name__ == "__main__":
    sys.exit(main())
