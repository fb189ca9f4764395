"""Whether a presented token is good, what it allows, and how long that may be believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kit.errors import GatewayError, Reason
from services.auth.core.authentication import Reuse, authenticate, reuse
from services.auth.core.token import (
    Grant,
    Owner,
    Permission,
    StoredToken,
    Token,
    TokenSpec,
    digest,
    mint,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CREDENTIAL = mint(lambda size: bytes(range(size)))  # fixed: parametrized tests are named by it
TEXT = CREDENTIAL.text.reveal()
OTHER = mint(lambda size: b"\x07" * size).text.reveal()
RUN, READ = Permission.AI_GATEWAY_RUN, Permission.AI_GATEWAY_READ
OPERATORS = (READ, Permission.AI_GATEWAY_EDIT, Permission.OPERATOR)
EXISTING = frozenset({"acme", "other"})


def _stored(*grants: Grant, user: bool = False, revoked: bool = False, **fields: Any) -> StoredToken:
    token = Token(
        id=CREDENTIAL.id,
        owner=Owner(user_id="ann") if user else Owner(account_id="acme"),
        spec=TokenSpec(
            name="mine", grants=grants or (Grant(account_id="acme", permissions=(RUN,)),), **fields
        ),
        created_at=NOW - SECOND,
        updated_at=NOW - SECOND,
        revoked_at=NOW if revoked else None,
    )
    return StoredToken(token=token, hash=digest(TEXT))


STORED = _stored()
_GRANT = Grant(account_id="acme", permissions=(RUN, READ))
_BOTH = (_GRANT, Grant(account_id="other", permissions=(READ,)))
_OPERATOR = Grant(account_id="acme", permissions=(RUN, Permission.OPERATOR))


@pytest.mark.parametrize(
    ("stored", "asked", "account_id", "permissions"),
    [
        pytest.param(STORED, "acme", "acme", (RUN,), id="its own"),
        pytest.param(STORED, "", "acme", (RUN,), id="about itself"),
        pytest.param(_stored(*_BOTH, user=True), "acme", "acme", (RUN, READ), id="a user's, here"),
        pytest.param(_stored(*_BOTH, user=True), "other", "other", (READ,), id="a user's, there"),
        pytest.param(_stored(*_BOTH, user=True), "", "", (), id="a user's, about itself"),
        pytest.param(_stored(_OPERATOR), "acme", "acme", (RUN, *OPERATORS), id="an operator's, at home"),
        pytest.param(_stored(_OPERATOR), "other", "other", OPERATORS, id="an operator's, elsewhere"),
        pytest.param(
            _stored(_OPERATOR, user=True), "other", "other", OPERATORS, id="an operator who is a user"
        ),
    ],
)
def test_what_a_token_allows(
    stored: StoredToken, asked: str, account_id: str, permissions: tuple[Permission, ...]
) -> None:
    """It speaks for the account that was asked for, with what it allows there and nothing else."""
    found = authenticate(TEXT, asked, stored, EXISTING, NOW)

    assert (stored.token, account_id, permissions) == (found.token, found.account_id, found.permissions)


@pytest.mark.parametrize(
    ("presented", "account_id", "stored", "existing"),
    [
        pytest.param(TEXT, "acme", None, EXISTING, id="unknown"),
        pytest.param("", "acme", None, EXISTING, id="empty"),
        pytest.param(TEXT[:16] + OTHER[16:], "acme", STORED, EXISTING, id="wrong secret"),
        pytest.param(TEXT, "other", STORED, EXISTING, id="another account"),
        pytest.param(TEXT, "acme", _stored(revoked=True), EXISTING, id="revoked"),
        pytest.param(TEXT, "acme", _stored(disabled=True), EXISTING, id="disabled"),
        pytest.param(TEXT, "acme", _stored(not_before=NOW + SECOND), EXISTING, id="not yet"),
        pytest.param(TEXT, "acme", _stored(expires_at=NOW), EXISTING, id="expired"),
        pytest.param(TEXT, "", _stored(expires_at=NOW - SECOND), EXISTING, id="expired, about itself"),
        pytest.param(TEXT, "acme", STORED, frozenset({"other"}), id="deleted account"),
        pytest.param(TEXT, "", STORED, frozenset({"other"}), id="deleted account, about itself"),
        pytest.param(TEXT, "gone", _stored(_OPERATOR), EXISTING, id="an operator's, nowhere"),
        pytest.param(TEXT, "other", _stored(_OPERATOR), frozenset({"other"}), id="an operator's, deleted"),
        pytest.param(
            TEXT,
            "other",
            _stored(_OPERATOR, user=True),
            frozenset({"other"}),
            id="operator of what is deleted",
        ),
        pytest.param(TEXT, "other", _stored(*_BOTH, user=True), frozenset({"acme"}), id="user's, deleted"),
    ],
)
def test_refusals_are_not_told_apart(
    presented: str, account_id: str, stored: StoredToken | None, existing: frozenset[str]
) -> None:
    """Whatever is wrong, reason, message and metadata are the same."""
    with pytest.raises(GatewayError) as caught:
        authenticate(presented, account_id, stored, existing, NOW)

    error = caught.value
    assert (Reason.UNAUTHENTICATED, "The token is not valid.", {}, None) == (
        error.reason,
        error.message,
        error.metadata,
        error.retry_after_s,
    )


def test_a_token_works_from_its_beginning_until_its_expiry() -> None:
    """At the very beginning, and a moment before the expiry, it is good."""
    stored = _stored(not_before=NOW, expires_at=NOW + timedelta(microseconds=1))

    assert stored.token == authenticate(TEXT, "acme", stored, EXISTING, NOW).token


@pytest.mark.parametrize(
    ("left_s", "expected"),
    [
        (None, (60, 300)),
        (1000, (60, 300)),
        (360, (60, 300)),
        (100, (60, 40)),
        (60, (60, 0)),
        (5, (5, 0)),
        (0, (0, 0)),
        (-5, (0, 0)),
    ],
)
def test_no_answer_outlives_its_token(left_s: int | None, expected: tuple[int, int]) -> None:
    """Reuse and grace together end at the token's expiry."""
    expires_at = None if left_s is None else NOW + left_s * SECOND
    token = replace(STORED.token, spec=replace(STORED.token.spec, expires_at=expires_at))

    assert Reuse(reuse_for_s=expected[0], grace_s=expected[1]) == reuse(
        token, NOW, reuse_for_s=60, grace_s=300
    )
