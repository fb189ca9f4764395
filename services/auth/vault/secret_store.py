"""
What a store of keys is, and the ones that are on this machine: sealed rows, files, the environment.

Each is asked for one key of one account, and has no way to name another's. `hashicorp` has one more.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from typing import TYPE_CHECKING, Final, Protocol

from kit.secret import Secret
from services.auth.core.secret_ref import RefKind, parse
from services.auth.vault.config import ENV_SECRET_PREFIX
from services.auth.vault.master_keys import MasterKeyError
from services.auth.vault.sealing import SealingError, open_sealed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.auth.core.secret_ref import SecretRef
    from services.auth.vault.master_keys import KeyRing
    from services.auth.vault.store_sql import StoredKey

__all__ = [
    "EnvironmentStore",
    "FileStore",
    "KeyUnreadableError",
    "ReferencedStore",
    "SealedStore",
    "SecretStore",
]

_MOST_BYTES: Final = 65_536
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class KeyUnreadableError(Exception):
    """A key cannot be had now. Its text says why, for the log; it holds no secret."""


class SecretStore(Protocol):
    """Gives the key that a config stands for."""

    async def read(self, key: StoredKey) -> Secret:
        """
        Return a key.

        Raises:
            KeyUnreadableError: It cannot be had now.
        """
        ...


class SealedStore:
    """
    Keys that are sealed in auth's own database.

    Args:
        ring: The master keys.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def read(self, key: StoredKey) -> Secret:
        """Open a sealed key."""
        if key.sealed is None:
            raise KeyUnreadableError("there is no sealed key")
        name = key.sealed.master_key_id
        if self._ring.get(name) is None:
            # Another process may have rotated since this one read the file.
            try:
                await asyncio.to_thread(self._ring.reload)
            except MasterKeyError as error:
                raise KeyUnreadableError(str(error)) from error
        master = self._ring.get(name)
        if master is None:
            raise KeyUnreadableError(f"auth does not have the master key {name}")
        try:
            return open_sealed(key.sealed, master, key.owner)
        except SealingError as error:
            raise KeyUnreadableError(str(error)) from error


class ReferencedStore:
    """
    Keys that are elsewhere, by the kind of their reference.

    Args:
        stores: Those that are set up.
    """

    def __init__(self, stores: Mapping[RefKind, ReferenceReader]) -> None:
        self._stores = stores

    async def read(self, key: StoredKey) -> Secret:
        """Return the key that a reference names for its account."""
        ref = parse(key.config.secret_ref)
        store = self._stores.get(ref.kind)
        if store is None:
            raise KeyUnreadableError(f"references of the kind {ref.kind} are not set up any more")
        return await store.get(ref, key.config.account_id)


class ReferenceReader(Protocol):
    """Reads what references of one kind name."""

    async def get(self, ref: SecretRef, account_id: str) -> Secret:
        """
        Return a key of an account.

        Raises:
            KeyUnreadableError: It cannot be had now.
        """
        ...


class EnvironmentStore:
    """
    Keys in auth's environment, for the operator's own account.

    Args:
        env: The environment.
        operator_account: The only account that may have them.
    """

    def __init__(self, env: Mapping[str, str], operator_account: str) -> None:
        self._secrets = {
            name.removeprefix(ENV_SECRET_PREFIX): Secret(value.strip())
            for name, value in env.items()
            if name.startswith(ENV_SECRET_PREFIX) and value.strip()
        }
        self._operator_account = operator_account

    async def get(self, ref: SecretRef, account_id: str) -> Secret:
        """Return what a variable holds."""
        if account_id != self._operator_account:
            raise KeyUnreadableError("keys in the environment are for the account HEADRACE_ACCOUNT alone")
        found = self._secrets.get(ref.name)
        if found is None:
            raise KeyUnreadableError(f"{ENV_SECRET_PREFIX}{ref.name} is not set for auth")
        return found


class FileStore:
    """
    Keys in files, each account's in a directory of its own.

    Args:
        directory: Has the accounts' directories.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.expanduser().absolute()

    async def get(self, ref: SecretRef, account_id: str) -> Secret:
        """Return what a file holds, as it is now."""
        return await asyncio.to_thread(self._read, ref.name, account_id)

    def _read(self, name: str, account_id: str) -> Secret:
        if not _ACCOUNT.fullmatch(account_id):
            raise KeyUnreadableError("the account's id is no name of a directory")
        where = f"the file {account_id}/{name} in HEADRACE_AUTH_SECRETS_DIR"
        try:
            directory = (self._directory / account_id).resolve(strict=True)
            # Kubernetes mounts links to links; what counts is that none leads out of the account's directory.
            path = (directory / name).resolve(strict=True)
            if not path.is_relative_to(directory):
                raise KeyUnreadableError(f"{where} leads out of the account's directory")
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise KeyUnreadableError(f"{where} is not a file")
                content = file.read(_MOST_BYTES + 1)
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "its links go round in a circle"
            raise KeyUnreadableError(f"{where} cannot be read: {reason}") from error
        return key_of(content, where)


def key_of(content: bytes, where: str) -> Secret:
    """
    Return the key that some bytes are, without the line's end.

    Raises:
        KeyUnreadableError: They are none.
    """
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise KeyUnreadableError(f"{where} is not text in UTF-8") from None
    if not text.strip() or "\0" in text or len(content) > _MOST_BYTES:
        raise KeyUnreadableError(f"{where} is empty or no key")
    return Secret(text)
