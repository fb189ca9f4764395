"""
Decides what to do about the first token when auth starts.

The token is in two places, a file for the operator and a row for us, and a process can be killed between
the two. (A setting may take the place of the file.) The file is written first, so a file without its row is
completed, and a row without its file means that the operator took the file away. A token is made only where
there never was one: what an operator revoked or moved does not come back by itself.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from services.auth.core.token import digest, token_id

if TYPE_CHECKING:
    from kit.secret import Secret
    from services.auth.core.token import StoredToken

__all__ = ["FirstTokenError", "Situation", "Verdict", "decide"]


class FirstTokenError(OSError):
    """
    What the first token is read from is not what it should be.

    An `OSError`, whose text is one sentence for the operator, so that a start that fails with it says that.
    """


class Verdict(Enum):
    """What to do."""

    MINT = auto()
    """Make a token, write the file, add the row."""
    ADOPT = auto()
    """Add the row for the token in the file."""
    READY = auto()
    """Nothing: file and row are there."""
    REVOKED = auto()
    """Nothing, but say it: the token in the file was revoked."""
    ROLLED = auto()
    """Nothing, but say it: the token was given another secret than the one in the file."""
    FILE_GONE = auto()
    """Nothing, but say it: the file was taken away; the row stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """
    What was found at the start.

    Attributes:
        account_id: Account whose first token it is.
        source: What the text is from, for messages: a file, or a setting.
        remedy: What an operator does who wants to start without it.
        text: What it holds. None: there is no file.
        row: The row for the id in that text.
        had_one: Whether this account ever had a first token, revoked or not.
    """

    account_id: str
    source: str
    remedy: str
    text: Secret | None
    row: StoredToken | None
    had_one: bool


def decide(situation: Situation) -> Verdict:
    """
    Return what to do.

    Raises:
        FirstTokenError: only a person can tell what is right.
    """
    if situation.text is None:
        return Verdict.FILE_GONE if situation.had_one else Verdict.MINT
    text = situation.text.reveal()
    if token_id(text) is None:
        raise FirstTokenError(
            f"{situation.source} does not hold a token of Headrace: {situation.remedy} and start again."
        )
    if situation.row is None:
        return Verdict.ADOPT
    token = situation.row.token
    good = hmac.compare_digest(digest(text), situation.row.hash)
    if not good and token.updated_at == token.created_at:
        raise FirstTokenError(
            f"{situation.source} does not hold the token that was made as {token.id}: "
            f"restore it, or {situation.remedy} and start again."
        )
    owner = token.owner
    if owner.account_id != situation.account_id:
        whose = f"the account {owner.account_id!r}" if owner.account_id else f"the user {owner.user_id!r}"
        raise FirstTokenError(
            f"{situation.source} holds a token that belongs to {whose}, "
            f"but HEADRACE_ACCOUNT is {situation.account_id!r}: set that back, or {situation.remedy}."
        )
    if token.revoked_at is not None:
        return Verdict.REVOKED
    return Verdict.READY if good else Verdict.ROLLED
