"""
The master keys that auth has: where they come from, and how the file that holds them is changed.

They are in the environment, which is the operator's, or in a file, which may be the operator's or one that
auth made. A file is replaced wholly or not at all, whenever the process or the machine stops, and a key is
in the file before anything is sealed under it.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason
from services.auth.vault.sealing import MasterKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from kit.secret import Secret

__all__ = ["MASTER_KEY_FILE", "KeyRing", "MasterKeyError"]

MASTER_KEY_FILE = "master.key"
_MOST_BYTES = 16_384
_MOST_KEYS = 100
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class MasterKeyError(OSError):
    """
    The master keys cannot be read or written.

    An `OSError`, whose text is one sentence for the operator, so that a start that fails with it says that.
    """


class KeyRing:
    """
    Master keys, newest first.

    Args:
        keys: Those in the environment; empty when they are in a file.
        path: The file. None: they are in the environment.
    """

    def __init__(self, keys: Sequence[MasterKey], path: Path | None) -> None:
        self._keys = tuple(keys)
        self._path = path
        # Files are read and written in threads: what one of them read must not undo what another wrote.
        self._lock = threading.Lock()

    @classmethod
    def of_environment(cls, text: Secret) -> KeyRing:
        """
        Make the ring of what a variable holds.

        Raises:
            MasterKeyError: It holds something else.
        """
        return cls(_parse(text.reveal(), "HEADRACE_MASTER_KEY"), None)

    @classmethod
    def of_file(cls, path: Path) -> KeyRing:
        """
        Make the ring of what a file holds; of nothing, when there is no file.

        Raises:
            MasterKeyError: It holds something else, or cannot be read.
        """
        ring = cls((), path)
        ring.reload()
        return ring

    @property
    def ids(self) -> tuple[str, ...]:
        """Public names of the keys, newest first."""
        return tuple(key.id for key in self._keys)

    @property
    def newest(self) -> MasterKey | None:
        """The newest key, when there is one."""
        return self._keys[0] if self._keys else None

    @property
    def in_file(self) -> bool:
        """Whether the keys are in a file."""
        return self._path is not None

    def get(self, master_key_id: str) -> MasterKey | None:
        """Return a key by its public name."""
        return next((key for key in self._keys if key.id == master_key_id), None)

    def reload(self) -> None:
        """
        Read the file again; where it is gone, keep what is known.

        Raises:
            MasterKeyError: It holds something else, or cannot be read.
        """
        with self._lock:
            self._read()

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
                if os.fstat(file.fileno()).st_mode & _OPEN_TO_OTHERS:
                    with suppress(OSError):  # a mounted secret cannot be changed, and need not be
                        os.fchmod(file.fileno(), 0o600)
        except FileNotFoundError:
            return  # what is in memory may be the last copy
        except OSError as error:
            raise MasterKeyError(f"The file {self._path} cannot be read: {error.strerror}.") from error
        if len(content) > _MOST_BYTES:
            raise MasterKeyError(f"The file {self._path} is too long to be one of master keys.")
        self._keys = _parse(content.decode("ascii", errors="replace"), f"The file {self._path}")

    def add(self, key: MasterKey) -> None:
        """
        Put a new key before all others, durably.

        Raises:
            GatewayError: CONFLICT; the keys are not ours to change.
            MasterKeyError: The file cannot be written.
        """
        with self._lock:
            self._replace((key, *self._keys))

    def retire(self, ids: Iterable[str]) -> None:
        """
        Remove keys from the file.

        Raises:
            GatewayError: CONFLICT; the keys are not ours to change.
            MasterKeyError: The file cannot be written.
        """
        gone = set(ids)
        with self._lock:
            self._replace(tuple(key for key in self._keys if key.id not in gone))

    def _replace(self, keys: tuple[MasterKey, ...]) -> None:
        if self._path is None:
            raise GatewayError(Reason.CONFLICT, FROM_ENVIRONMENT, resource="master_key")
        if not keys:
            raise MasterKeyError(f"The file {self._path} must not be left without a master key.")
        # A link stays what it is; what it points at is replaced.
        path = self._path.resolve()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left_over in path.parent.glob(f".{path.name}.*.tmp"):
                left_over.unlink(missing_ok=True)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
            _write_durably(temporary, keys)
            temporary.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise MasterKeyError(f"The file {self._path} cannot be written: {error.strerror}.") from error
        self._keys = keys


FROM_ENVIRONMENT = (
    "The master key is in HEADRACE_MASTER_KEY, which only the operator can change: put a new key before the "
    "old one there, separated by a space, restart auth, and rotate without making a key."
)


def _parse(text: str, where: str) -> tuple[MasterKey, ...]:
    words = text.split()
    if not words:
        raise MasterKeyError(f"{where} holds no master key: write one with `openssl rand -base64 32`.")
    if len(words) > _MOST_KEYS:
        raise MasterKeyError(f"{where} holds more than {_MOST_KEYS} master keys.")
    found: dict[str, MasterKey] = {}
    for number, word in enumerate(words, start=1):
        try:
            key = MasterKey.decode(word)
        except ValueError as error:
            raise MasterKeyError(f"{where} holds a master key that {error}, number {number}.") from None
        found.setdefault(key.id, key)
    return tuple(found.values())


def _write_durably(path: Path, keys: Iterable[MasterKey]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{key.encode().reveal()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
