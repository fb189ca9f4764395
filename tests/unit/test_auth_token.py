"""Tokens: their text, their hash, and whether a presented one is good."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.auth.core.authentication import Reuse, authenticate, reuse
from services.auth.core.token import Permission, Restrictions, StoredToken, Token, digest, mint, token_id

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CREDENTIAL = mint(lambda size: bytes(range(size)))  # fixed: parametrized tests are named by it
TEXT = CREDENTIAL.text.reveal()
TOKEN = Token(
    id=CREDENTIAL.id,
    account_id="acme",
    name="mine",
    permissions=(Permission.AI_GATEWAY_RUN,),
    restrictions=Restrictions(),
    created_at=NOW - SECOND,
)
STORED = StoredToken(token=TOKEN, hash=digest(TEXT))


def test_a_new_token_has_the_promised_form() -> None:
    """`hr_`, twelve characters of id, and 256 random bits."""
    assert re.fullmatch(r"hr_[a-z2-7]{12}_[A-Za-z0-9_-]{43}", TEXT)
    assert CREDENTIAL.id == token_id(TEXT)


def test_new_tokens_differ() -> None:
    """Neither ids nor secrets repeat."""
    made = [mint() for _ in range(500)]

    assert len({each.id for each in made}) == 500
    assert len({each.text.reveal()[16:] for each in made}) == 500


def test_a_token_is_made_of_all_the_randomness_it_is_given() -> None:
    """Every bit of the secret comes from the source of randomness."""
    ones = mint(lambda size: b"\xff" * size).text.reveal()
    zeros = mint(bytes).text.reveal()

    assert (ones, zeros) == ("hr_777777777777_" + "_" * 42 + "8", "hr_aaaaaaaaaaaa_" + "A" * 43)


def test_what_is_kept_shows_no_secret() -> None:
    """Neither a credential nor a stored token prints its secret or its hash."""
    shown = f"{CREDENTIAL!r} {CREDENTIAL} {STORED!r} {STORED}"

    assert TEXT[16:] not in shown
    assert STORED.hash.hex() not in shown
    assert repr(STORED.hash) not in shown


@pytest.mark.parametrize(
    "presented",
    [
        "",
        "hr_",
        "sk-abc",
        TEXT[:-1],
        TEXT + "a",
        TEXT + "\n",
        " " + TEXT,
        TEXT.upper(),
        TEXT.replace("hr_", "hr-"),
        "hr_aaaaaaaaaaa1_" + "a" * 43,
        "hr_aaaaaaaaaaaa_" + "ä" * 43,
        "Bearer " + TEXT,
    ],
)
def test_other_texts_have_no_id(presented: str) -> None:
    """Only the exact form is looked up."""
    assert token_id(presented) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(presented: str) -> None:
    """Any text either has an id or none; reading it never fails."""
    assert token_id(presented) is None or presented.startswith("hr_")


def test_a_good_token_is_its_token() -> None:
    """The right text for the right account authenticates."""
    assert authenticate(TEXT, "acme", STORED, NOW) == TOKEN


_OTHER = mint(lambda size: b"\x07" * size).text.reveal()


@pytest.mark.parametrize(
    ("presented", "account_id", "stored"),
    [
        pytest.param(TEXT, "acme", None, id="unknown"),
        pytest.param("", "acme", None, id="empty"),
        pytest.param(TEXT[:16] + _OTHER[16:], "acme", STORED, id="wrong secret"),
        pytest.param(TEXT, "other", STORED, id="another account"),
        pytest.param(TEXT, "", STORED, id="no account"),
        pytest.param(TEXT, "acme", replace(STORED, token=replace(TOKEN, revoked_at=NOW)), id="revoked"),
        pytest.param(TEXT, "acme", replace(STORED, token=replace(TOKEN, expires_at=NOW)), id="expired"),
        pytest.param(
            TEXT,
            "acme",
            replace(STORED, token=replace(TOKEN, expires_at=NOW - SECOND)),
            id="expired long ago",
        ),
    ],
)
def test_refusals_are_not_told_apart(presented: str, account_id: str, stored: StoredToken | None) -> None:
    """Whatever is wrong, reason, message and metadata are the same."""
    with pytest.raises(GatewayError) as caught:
        authenticate(presented, account_id, stored, NOW)

    error = caught.value
    assert (
        error.reason,
        error.message,
        error.metadata,
        error.retry_after_s,
    ) == (Reason.UNAUTHENTICATED, "The token is not valid.", {}, None)


def test_a_token_works_until_its_expiry() -> None:
    """A moment before the expiry the token is good."""
    stored = replace(STORED, token=replace(TOKEN, expires_at=NOW + timedelta(microseconds=1)))

    assert stored.token == authenticate(TEXT, "acme", stored, NOW)


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
    found = reuse(replace(TOKEN, expires_at=expires_at), NOW, reuse_for_s=60, grace_s=300)

    assert Reuse(reuse_for_s=expected[0], grace_s=expected[1]) == found
