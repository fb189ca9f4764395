"""Checks of one installation's settings, directories and ports."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING, Final

from cli.doctor.finding import Finding, broken, fine, note
from cli.runlock import StartError, check_port, holder
from kit import rundir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cli.config import CliConfig
    from kit.runtime_config import RuntimeConfig

__all__ = ["check_data_dir", "check_disk", "check_ports", "check_run_dir", "check_settings", "check_token"]

_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_LOW_BYTES: Final = 1 << 30
_NONE_BYTES: Final = 64 << 20


def check_settings(env: Mapping[str, str]) -> Iterator[Finding]:
    """See that every setting exists and has a value that it can have."""
    from cli.config import problems

    found = problems(env)
    for problem in found:
        yield broken(
            "settings", problem, "Correct or unset the variable; docs/configuration.md lists all settings."
        )
    if not found:
        count = sum(name.startswith("HEADRACE_") for name in env)
        yield fine("settings", f"{count} HEADRACE_* variables are set, all good" if count else "all defaults")


def check_data_dir(path: Path) -> Finding:
    """See that the data directory can be written."""
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    remedy = f"Make it yours (`sudo chown -R $USER {path}`), or set HEADRACE_DATA_DIR to another place."
    if not existing.is_dir():
        return broken("data directory", f"{existing} is not a directory.", remedy)
    if not os.access(existing, os.W_OK | os.X_OK):
        return broken("data directory", f"{existing} cannot be written by this user.", remedy)
    if existing != path:
        return fine("data directory", f"{path} (will be made)")
    if stat.S_IMODE(path.stat().st_mode) & stat.S_IWOTH:
        text = f"Everybody on this machine can write to {path}."
        return broken("data directory", text, f"Run `chmod 700 {path}`.")
    return fine("data directory", str(path))


def check_token(data_dir: Path) -> Finding:
    """See that the first token's file is there and is its owner's alone."""
    path = data_dir / "token"
    try:
        status = path.stat()
    except FileNotFoundError:
        return fine("token", "none yet; the first start writes one")
    except OSError as error:
        return broken("token", f"{path} cannot be read: {error.strerror}.", f"Check who owns {data_dir}.")
    if stat.S_IMODE(status.st_mode) & _OPEN_TO_OTHERS:
        text = f"Others on this machine can read {path}."
        return broken("token", text, f"Run `chmod 600 {path}`, then make a new token and revoke this one.")
    return fine("token", str(path))


def check_run_dir(runtime: RuntimeConfig) -> Finding:
    """See that sockets can be made where they should be."""
    path = runtime.run_dir
    if not rundir.fits(path):
        return broken(
            "run directory", f"{path} is too long for a Unix socket.", "Set HEADRACE_RUN_DIR to a short one."
        )
    if not path.exists():
        return fine("run directory", f"{path} (will be made)")
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        text = f"{path} is not a directory of this user: whoever made it could answer in our services' place."
        return broken("run directory", text, "Remove it, or set HEADRACE_RUN_DIR to another place.")
    if stat.S_IMODE(status.st_mode) & _OPEN_TO_OTHERS:
        text = f"Others on this machine can reach the sockets in {path}."
        return broken("run directory", text, f"Run `chmod 700 {path}`.")
    return fine("run directory", str(path))


def check_disk(path: Path) -> Finding:
    """See that there is room for logs."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB are free for {path}"
    if free < _NONE_BYTES:
        return broken("disk", f"{text}: the log cannot be written.", "Free some, or move HEADRACE_DATA_DIR.")
    if free < _LOW_BYTES:
        return note("disk", f"{text}: that is little.", "Free some, or move HEADRACE_DATA_DIR.")
    return fine("disk", text)


def check_ports(config: CliConfig, runtime: RuntimeConfig) -> Iterator[Finding]:
    """See that the ports are free, or that it is we who have them."""
    pid = holder(runtime.data_dir)
    for name, port in (("HEADRACE_PORT", config.port), ("HEADRACE_GRPC_PORT", config.grpc_port)):
        about = f"port {port}"
        if pid is not None:
            yield fine(about, f"Headrace's own (process {pid})")
            continue
        try:
            check_port(config.host, port, name)
        except StartError as error:
            text, _, remedy = str(error).partition(". ")
            yield broken(about, f"{text.rstrip('.')}.", remedy or f"Change {name} or HEADRACE_HOST.")
        else:
            yield fine(about, f"free on {config.host}")
