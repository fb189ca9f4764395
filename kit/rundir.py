"""
Where the sockets of this machine's processes live.

The run directory is `<data dir>/run`, unless that path is too long for a Unix socket; then it is a short
directory under the system's temporary one, always the same for the same data directory and user.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

# sockaddr_un.sun_path holds 104 bytes on macOS (108 on Linux), the last of them zero.
_SOCKET_PATH_MAX_BYTES = 103
# Of an Envoy that hands over to another one: a short name of ours, and a number that may have twenty digits.
_LONGEST_NAME_BYTES = len("/h_udp_parent_18446744071563472880")
_PROBE_S = 0.5
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def resolve(data_dir: Path) -> Path:
    """Return the run directory that belongs to a data directory. Touches nothing."""
    data_dir = data_dir.absolute()
    wanted = data_dir / "run"
    if fits(wanted):
        return wanted
    key = f"{os.getuid()}:{data_dir}".encode(errors="surrogateescape")
    return Path(tempfile.gettempdir()) / f"headrace-{hashlib.sha256(key).hexdigest()[:12]}"


def fits(run_dir: Path) -> bool:
    """Tell whether every socket's path in this directory is short enough."""
    return len(os.fsencode(run_dir.absolute())) + _LONGEST_NAME_BYTES <= _SOCKET_PATH_MAX_BYTES


def prepare(run_dir: Path) -> None:
    """
    Make the run directory, readable by its owner alone.

    Raises:
        PermissionError: it exists and is not ours, or is not a directory: whoever made it could answer
            in the place of our services.
        OSError: it cannot be made.
    """
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = run_dir.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{run_dir} is not a directory")
    if status.st_uid != os.getuid():
        raise PermissionError(f"{run_dir} belongs to another user")
    if stat.S_IMODE(status.st_mode) & _OPEN_TO_OTHERS:
        run_dir.chmod(0o700)


def claim(path: Path) -> None:
    """
    Make way for a Unix socket: remove the file that a killed process left.

    Raises:
        OSError: somebody answers on it.
    """
    if not path.is_socket():
        return  # absent, or something that is not ours to remove and that binding will complain about
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError:  # a full backlog, say: somebody is there, if not well
            pass
    raise OSError(errno.EADDRINUSE, "another process answers on this socket", str(path))
