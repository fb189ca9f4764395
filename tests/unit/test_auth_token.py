"""Tokens: their text and their hash."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.core.token import (
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

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREDENTIAL = mint(lambda size: bytes(range(size)))  # fixed: parametrized tests are named by it
TEXT = CREDENTIAL.text.reveal()
TOKEN = Token(
    id=CREDENTIAL.id,
    owner=Owner(account_id="acme"),
    spec=TokenSpec(name="mine", grants=(Grant(account_id="acme", permissions=(Permission.AI_GATEWAY_RUN,)),)),
    created_at=NOW,
    updated_at=NOW,
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


def test_a_rolled_token_keeps_its_id() -> None:
    """Only the secret is another."""
    rolled = mint(name=CREDENTIAL.id)

    assert CREDENTIAL.id == rolled.id == token_id(rolled.text.reveal())
    assert rolled.text.reveal() != TEXT


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
