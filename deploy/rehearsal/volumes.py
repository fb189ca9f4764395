"""
Files of ConfigMaps and Secrets as the kubelet lays them out, so that they change all at once.

A volume holds a directory for each version, a link `..data` to the newest, and a link for each file through
`..data`. A change is a new directory and the renaming of one link: see the kubelet's "atomic writer".
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["make_empty", "used_bytes", "write_files"]

_DATA: Final = "..data"


def write_files(directory: Path, files: Mapping[str, tuple[bytes, int]], group: int | None) -> bool:
    """
    Have a volume hold exactly these files.

    Args:
        directory: The volume, made when it is not there.
        files: Contents and modes by path.
        group: The group that may read them; None for root's.

    Returns:
        Whether anything changed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    current = directory / _DATA
    if current.exists() and _holds(current, files):
        return False
    version = directory / f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{time.monotonic_ns()}"
    version.mkdir()
    version.chmod(0o755)
    for path, (content, mode) in files.items():
        _write(version / path, content, mode, group)
    old = current.resolve() if current.is_symlink() else None
    new_link = directory / f"{_DATA}_tmp"
    new_link.symlink_to(version.name)
    new_link.rename(current)
    wanted = {path.partition("/")[0] for path in files}
    for name in wanted:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"{_DATA}/{name}")
    for link in directory.iterdir():
        if not link.name.startswith("..") and link.name not in wanted:
            link.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _write(path: Path, content: bytes, mode: int, group: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if group is not None:
        # As the kubelet does for a volume with a group: whoever is in it may read.
        os.chown(path, 0, group)
        mode |= 0o440
    path.chmod(mode)


def _holds(current: Path, files: Mapping[str, tuple[bytes, int]]) -> bool:
    there = {str(path.relative_to(current)) for path in current.rglob("*") if path.is_file()}
    return there == set(files) and all((current / path).read_bytes() == files[path][0] for path in files)


def make_empty(directory: Path, group: int | None) -> None:
    """Make the directory of an emptyDir or a claim, which everyone may write to, or the group."""
    if not directory.exists():
        directory.mkdir(parents=True)
        directory.chmod(0o777)
        if group is not None:
            os.chown(directory, 0, group)
            directory.chmod(0o2777)


def used_bytes(directory: Path) -> int:
    """Return how much the files below a directory take."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118 - faster
            except FileNotFoundError:
                continue
    return total
