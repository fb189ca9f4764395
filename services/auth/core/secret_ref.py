"""
References to keys that are kept elsewhere: what one looks like, and which account may use which kind.

A reference never names an account: each store puts the account's own name in front of what it says, so that
no reference can point at what is another's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = ["RefKind", "References", "SecretRef", "parse"]

_LONGEST = 512
_ENV = re.compile(r"[A-Z][A-Z0-9_]{0,99}", re.ASCII)
# Nothing with two dots in front: the parent directory, and what Kubernetes keeps beside its files.
_FILE = re.compile(r"(?!\.\.)(?!\.$)[A-Za-z0-9._-]{1,128}", re.ASCII)
_VAULT = re.compile(
    r"(?P<path>(?!\.{1,2}(?:/|#))[A-Za-z0-9._-]+(?:/(?!\.{1,2}(?:/|#))[A-Za-z0-9._-]+)*)"
    r"#(?P<field>[A-Za-z0-9._-]{1,64})",
    re.ASCII,
)


class RefKind(StrEnum):
    """Where a key is kept that is not sealed here."""

    ENV = "env"
    FILE = "file"
    VAULT = "vault"


_SHAPES: Final = {
    RefKind.ENV: "`env:NAME`, of capital letters, digits and underscores",
    RefKind.FILE: "`file:name`, of letters, digits, dots, hyphens and underscores",
    RefKind.VAULT: "`vault:path#field`, as in `vault:openai#api_key`",
}
_NOT_SET_UP: Final = {
    RefKind.ENV: "Only the account of this installation itself may use keys from the environment.",
    RefKind.FILE: "This installation has no directory of keys: the operator sets HEADRACE_AUTH_SECRETS_DIR.",
    RefKind.VAULT: "This installation knows no Vault: the operator sets HEADRACE_AUTH_VAULT_ADDRESS.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """
    A reference, taken apart.

    Attributes:
        name: The variable, the file, or the path in Vault.
        field: Which field of a secret in Vault; empty for the others.
    """

    kind: RefKind
    name: str
    field: str = ""

    @property
    def text(self) -> str:
        """The reference as it is written."""
        return f"{self.kind}:{self.name}" + (f"#{self.field}" if self.field else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """
    Which references this installation can follow.

    Attributes:
        operator_account: The only account whose keys may be in the environment.
        kinds: Those that are set up.
    """

    operator_account: str
    kinds: AbstractSet[RefKind]

    def allowed(self, account_id: str) -> tuple[RefKind, ...]:
        """Return the kinds that an account may use."""
        return tuple(
            kind
            for kind in RefKind
            if kind in self.kinds and (kind is not RefKind.ENV or account_id == self.operator_account)
        )

    def check(self, ref: SecretRef, account_id: str) -> None:
        """
        See that an account may use a reference.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        if ref.kind not in self.allowed(account_id):
            raise GatewayError(Reason.INVALID_REQUEST, _NOT_SET_UP[ref.kind], param="secret_ref")


def parse(text: str) -> SecretRef:
    """
    Return the reference in a text.

    Raises:
        GatewayError: INVALID_REQUEST; it is none.
    """
    kind, _, name = text.partition(":")
    if kind not in set(RefKind):
        message = "A reference to a key begins with `env:`, `file:` or `vault:`."
        raise GatewayError(Reason.INVALID_REQUEST, message, param="secret_ref")
    found = None if len(text) > _LONGEST else _parse_name(RefKind(kind), name)
    if found is None:
        message = f"A reference of this kind is {_SHAPES[RefKind(kind)]}."
        raise GatewayError(Reason.INVALID_REQUEST, message, param="secret_ref")
    return found


def _parse_name(kind: RefKind, name: str) -> SecretRef | None:
    if kind is RefKind.VAULT:
        match = _VAULT.fullmatch(name)
        return SecretRef(kind=kind, name=match["path"], field=match["field"]) if match else None
    pattern = _ENV if kind is RefKind.ENV else _FILE
    return SecretRef(kind=kind, name=name) if pattern.fullmatch(name) else None
