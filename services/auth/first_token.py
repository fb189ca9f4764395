"""
Makes the first token: the file that the operator reads it from, or the setting that brings it, and its row.

What to do is decided in `core.first_token`. Here is the doing, in an order that a kill at any point leaves
in a state from which the next start goes on: file first, whole and durable, then the row.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from kit import moment
from kit.secret import Secret
from services.auth.core.account import AccountSpec
from services.auth.core.first_token import FirstTokenError, Situation, Verdict, decide
from services.auth.core.token import (
    Credential,
    Grant,
    Owner,
    Permission,
    StoredToken,
    Token,
    TokenSpec,
    digest,
    mint,
    token_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kit.clock import Clock
    from services.auth.store import TokenStore

__all__ = ["TOKEN_FILE", "GivenToken", "TokenFile", "TokenSource", "ensure_first_token"]

TOKEN_FILE = "token"  # noqa: S105 - a file's name
_NAME = "first token"
_MOST_BYTES = 4096  # a token has 59; whatever is longer is something else
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class TokenSource(Protocol):
    """
    Where the first token is for its operator.

    Attributes:
        shown: How messages name it.
        remedy: What they say to an operator who wants to start without what it holds.
    """

    shown: str
    remedy: str

    def read(self) -> Secret | None:
        """Return what it holds, or None when there is nothing."""

    def write(self, text: Secret) -> None:
        """Keep a new token for the operator."""


class GivenToken:
    """
    A first token that the operator brings, by a setting.

    Args:
        text: The token; its shape was checked.
    """

    shown = "HEADRACE_AUTH_FIRST_TOKEN"
    remedy = "set another one (`headrace token generate`)"

    def __init__(self, text: Secret) -> None:
        self._text = text

    def read(self) -> Secret | None:
        """Return the token."""
        return self._text

    def write(self, text: Secret) -> None:
        """Never called: there is always a token."""


class TokenFile:
    """
    The file that holds the first token, for its owner's eyes alone.

    Args:
        path: Where.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = f"The file {path}"
        self.remedy = "move it away"

    def read(self) -> Secret | None:
        """
        Return what the file holds, or None when there is no file.

        Raises:
            FirstTokenError: It cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                text = file.read(_MOST_BYTES).decode("ascii", errors="replace").strip()
                if os.fstat(file.fileno()).st_mode & _OPEN_TO_OTHERS:
                    with suppress(OSError):  # a mounted secret cannot be changed, and need not be
                        os.fchmod(file.fileno(), 0o600)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FirstTokenError(f"The file {self.path} cannot be read: {error.strerror}.") from error
        return Secret(text)

    def write(self, text: Secret) -> None:
        """
        Write the file: wholly or not at all, whenever the process or the machine stops.

        Raises:
            FirstTokenError: It cannot be written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left_over in self.path.parent.glob(f".{self.path.name}.*.tmp"):
                left_over.unlink(missing_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.tmp")
            self._write_durably(temporary, text)
            temporary.replace(self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise FirstTokenError(f"The file {self.path} cannot be written: {error.strerror}.") from error

    def _write_durably(self, path: Path, text: Secret) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{text.reveal()}\n")
            file.flush()
            os.fsync(file.fileno())


async def ensure_first_token(
    store: TokenStore,
    source: TokenSource,
    *,
    account_id: str,
    clock: Clock,
    log: Any,
    make: Callable[[], Credential] = mint,
) -> Verdict:
    """
    See to it that an installation that never had a token has one, and return what was done.

    Raises:
        FirstTokenError: The file is not what it should be, or cannot be read or written; or the account was
            deleted.
    """
    # All of it happens inside one write transaction, so a second process that starts at the same time
    # waits, and then finds file and row.
    async with store.first_token() as transaction:
        # It is the operator's own, so it may use the operator's keys.
        own = AccountSpec(unified=True)
        if not await transaction.ensure_account(account_id, own, at=moment.now(clock)):
            raise FirstTokenError(
                f"The account {account_id!r} was deleted: set HEADRACE_ACCOUNT to another one."
            )
        text = await asyncio.to_thread(source.read)
        name = token_id(text.reveal()) if text else None
        situation = Situation(
            account_id=account_id,
            source=source.shown,
            remedy=source.remedy,
            text=text,
            row=await transaction.find(name) if name else None,
            had_one=await transaction.had_first_token(account_id),
        )
        verdict = decide(situation)
        if verdict is Verdict.MINT:
            credential = make()
            await asyncio.to_thread(source.write, credential.text)
            text, name = credential.text, credential.id
        if verdict in {Verdict.MINT, Verdict.ADOPT} and text is not None and name is not None:
            await transaction.add(_row(text, name, account_id, clock))
    _tell(verdict, source.shown, name, log)
    return verdict


def _row(text: Secret, name: str, account_id: str, clock: Clock) -> StoredToken:
    now = moment.now(clock)
    token = Token(
        id=name,
        owner=Owner(account_id=account_id),
        spec=TokenSpec(name=_NAME, grants=(Grant(account_id=account_id, permissions=tuple(Permission)),)),
        created_at=now,
        updated_at=now,
    )
    return StoredToken(token=token, hash=digest(text.reveal()), bootstrap=True)


def _tell(verdict: Verdict, source: str, name: str | None, log: Any) -> None:
    remedy = "`headrace token create` makes another one"
    match verdict:
        case Verdict.MINT:
            log.info("first token made", source=source, token_id=name)
        case Verdict.ADOPT:
            log.info("first token taken over", source=source, token_id=name)
        case Verdict.REVOKED:
            log.warning("the first token is revoked", source=source, token_id=name, remedy=remedy)
        case Verdict.ROLLED:
            log.warning(
                "the first token was given another secret", source=source, token_id=name, remedy=remedy
            )
        case Verdict.FILE_GONE:
            log.info("the first token's file was taken away", source=source, remedy=remedy)
        case Verdict.READY:
            pass


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
