"""What is taken for a token of ours, and what is not: `kit.tokens`."""

from __future__ import annotations

import pytest

from kit import tokens

ID = "abcdefghij27"
TOKEN = f"hr_{ID}_" + "aZ9-_" * 8 + "xyz"


@pytest.mark.parametrize(
    "text", [TOKEN, f"Bearer {TOKEN}", f"a, {TOKEN}", f'Token token="{TOKEN}"', f"x={TOKEN}&y", f"/{TOKEN}/"]
)
def test_a_whole_token_is_found(text: str) -> None:
    """A token is found wherever it stands as a word."""
    assert TOKEN == tokens.find(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hr_payroll_eu",
        "hr_team",
        f"th{TOKEN}",
        f"sk-proj-{TOKEN}",
        f"_{TOKEN}",
        f"{TOKEN}x",
        f"{TOKEN}-",
        TOKEN[:-1],
        TOKEN.replace(ID, ID.upper()),
        TOKEN.replace(ID, "abcdefghij01"),
    ],
)
def test_what_merely_looks_alike_is_not(text: str) -> None:
    """Text of another shape, and the shape inside a longer word, is somebody else's."""
    assert "" == tokens.find(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TOKEN, TOKEN),
        (f"Bearer {TOKEN}", TOKEN),
        (f"bearer   {TOKEN} ", TOKEN),
        (f'Token token="{TOKEN}"', TOKEN),
        ("Bearer hr_wrong_token", "hr_wrong_token"),
        ("hr_", "hr_"),
        ("Token hr_short", "hr_short"),
        (f"{TOKEN}x", f"{TOKEN}x"),
        ("Bearer sk-proj-a_hr_b_c", ""),
        ("Bearer thr_x", ""),
        ("Bearer", ""),
        ("", ""),
    ],
)
def test_what_a_credential_presents(value: str, expected: str) -> None:
    """In a credential's place whatever begins like a token of ours is ours, well-formed or not."""
    assert expected == tokens.presented(value)


def test_the_id_of_a_token() -> None:
    """The id is read from the text of a token and from nothing else."""
    assert (ID, None, None) == (
        tokens.id_of(TOKEN),
        tokens.id_of(f" {TOKEN}"),
        tokens.id_of("hr_payroll_eu"),
    )
