"""Settings of auth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from kit import tokens
from kit.config import setting

if TYPE_CHECKING:
    from kit.secret import Secret

__all__ = ["ACCOUNT_CALLERS", "AUTH_CALLERS", "TOKEN_CALLERS", "AuthConfig"]

AUTH_CALLERS: Final = frozenset({"edge", "ledger", "router", "cache", "providers"})
"""Who may ask about a token, and watch."""

TOKEN_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may make, list, change and revoke tokens."""

ACCOUNT_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may make, list, change and delete accounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """How long answers of auth hold, and how exactly uses of tokens are kept."""

    PREFIX: ClassVar[str] = "HEADRACE_AUTH_"

    first_token: Secret | None = setting(
        None,
        "The first token, made by `headrace token generate`, where several auth have no directory in common. "
        "It may do everything on the installation's account. Default: the first start makes one, in the file "
        "`token` in the data directory.",
        secret=True,
    )
    reuse_for_s: float = setting(
        60.0,
        "How long a caller may reuse an answer about a token, in seconds; never past the token's expiry. "
        "A revocation voids it at once, so this only bounds how often auth is asked.",
        at_least=0,
        at_most=86_400,
    )
    grace_s: float = setting(
        300.0,
        "How much longer an answer goes on, in seconds, while auth cannot be reached. "
        "The default is enough for a restart or a move to another machine.",
        at_least=0,
        at_most=86_400,
    )
    last_use_every_s: float = setting(
        10.0,
        "How often it is stored when tokens were last used, in seconds. A token that callers know already is "
        "not asked about, so uses are noticed as seldom as answers are reused.",
        at_least=0.05,
        at_most=3_600,
    )

    def __post_init__(self) -> None:
        """Refuse what is no token, without repeating it."""
        if self.first_token is not None and tokens.id_of(self.first_token.reveal()) is None:
            raise ValueError(
                "HEADRACE_AUTH_FIRST_TOKEN must be a token of Headrace, as `headrace token generate` makes "
                "(what it is now is not shown)"
            )
