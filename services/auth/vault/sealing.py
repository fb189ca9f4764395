"""
Seals keys: each under a data key of its own, and that under a master key.

A sealed text is a version, a nonce and what AES-256-GCM makes of the content. The account and the config
that it belongs to are sealed with it, so that a row put in another's place does not open. Changing the
master key touches the sealed data keys alone. Must never log, and knows no store.
"""

from __future__ import annotations

import binascii
import hashlib
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kit.secret import Secret

__all__ = ["MasterKey", "Sealed", "SealedFor", "SealingError", "open_sealed", "reseal", "seal"]

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_ID_LABEL: Final = b"headrace master key id 1\0"


class SealingError(Exception):
    """A sealed text does not open: another key, another row, or damage. Says nothing of the content."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """
    A master key and its public name.

    Attributes:
        id: Made from the key, so that the same key has the same name everywhere; tells nothing about it.
    """

    key: bytes = field(repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the key."""
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes")
        object.__setattr__(self, "id", hashlib.sha256(_ID_LABEL + self.key).hexdigest()[:8])

    @classmethod
    def generate(cls) -> MasterKey:
        """Make a new one."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def decode(cls, text: str) -> MasterKey:
        """
        Read one from base64, of either alphabet.

        Raises:
            ValueError: It is none; the message does not hold the text.
        """
        try:
            key = b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is not base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"is {len(key)} bytes long and not {KEY_BYTES}")
        return cls(key)

    def encode(self) -> Secret:
        """Return the key as `decode` reads it."""
        return Secret(b64encode(self.key).decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFor:
    """Whose a sealed text is."""

    account_id: str
    config_id: str

    def bound(self, what: bytes) -> bytes:
        """Return what a text is sealed together with."""
        return b"\0".join((b"headrace vault", what, self.account_id.encode(), self.config_id.encode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """
    A sealed key.

    Attributes:
        secret: The key under its data key.
        data_key: The data key under the master key.
        master_key_id: Public name of that master key.
    """

    secret: bytes = field(repr=False)
    data_key: bytes = field(repr=False)
    master_key_id: str


def seal(secret: Secret, master: MasterKey, owner: SealedFor) -> Sealed:
    """Seal a key under a new data key."""
    data_key = secrets.token_bytes(KEY_BYTES)
    return Sealed(
        secret=_seal(data_key, secret.reveal().encode(), owner.bound(b"secret")),
        data_key=_seal(master.key, data_key, owner.bound(b"data key")),
        master_key_id=master.id,
    )


def open_sealed(sealed: Sealed, master: MasterKey, owner: SealedFor) -> Secret:
    """
    Return the key that was sealed.

    Raises:
        SealingError: It does not open.
    """
    data_key = _open(master.key, sealed.data_key, owner.bound(b"data key"))
    return Secret(_open(data_key, sealed.secret, owner.bound(b"secret")).decode())


def reseal(sealed: Sealed, old: MasterKey, new: MasterKey, owner: SealedFor) -> Sealed:
    """
    Return the same key with its data key under another master key.

    Raises:
        SealingError: It does not open.
    """
    data_key = _open(old.key, sealed.data_key, owner.bound(b"data key"))
    # A data key that does not open its own text must not be made to look well.
    _open(data_key, sealed.secret, owner.bound(b"secret"))
    return Sealed(
        secret=sealed.secret,
        data_key=_seal(new.key, data_key, owner.bound(b"data key")),
        master_key_id=new.id,
    )


def _seal(key: bytes, content: bytes, bound: bytes) -> bytes:
    # Nonces are random: a data key seals once, and a master key far fewer texts than 2**32.
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, content, _VERSION + bound)


def _open(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    if sealed[:1] != _VERSION:
        raise SealingError("It was sealed in a form that this version does not know.")
    nonce, content = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, content, _VERSION + bound)
    except (InvalidTag, ValueError):
        raise SealingError("It does not open with its key.") from None
