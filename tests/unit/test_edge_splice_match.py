"""How a fallback's words go on from those that were sent, decided on text alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.edge.splice.match import SHORTEST_REPETITION, ContinueMatch, Match, SpliceMatch

SENT = "The quick brown fox jumps over the lazy dog, and then it"
TAIL = SENT[-SHORTEST_REPETITION:]
LIST = "- one and another one\n- two and another two\n"
ROW = "    <td>nothing at all here</td>\n"
TEXTS = st.text("ab \n", max_size=70) | st.text(max_size=40)


def drive(match: Match, pieces: list[str]) -> str | None:
    """Return what is new of a fallback's whole text. None: there is a mismatch."""
    out, going = [], False
    for piece in pieces:
        if going:
            out.append(piece)
            continue
        found = match.take(piece)
        if match.mismatched:
            assert found is None
            return None
        if found is not None:
            going = True
            out.append(found)
    if not going:
        last = match.end()
        assert (last is None) == match.mismatched
        return last
    return "".join(out)


@pytest.mark.parametrize(
    ("sent", "said", "expected"),
    [
        ("Hello", "Hello, you", ", you"),
        ("Hello", "Hello", ""),
        ("Hello", "Hell", None),
        ("Hello", "Help!", None),
        ("Hello", "", None),
        ("Hello", "hello", None),
        ("Hello ", "Hello", None),
        ("é", "e\u0301", None),
        ("aaa", "aaaa", "a"),
    ],
)
def test_splice(sent: str, said: str, expected: str | None) -> None:
    """The fallback has to begin with what was sent, character for character."""
    for size in (1, 2, 3, 99):
        pieces = [said[at : at + size] for at in range(0, len(said), size)]

        assert expected == drive(SpliceMatch(sent), pieces)


CONTINUED = {
    "exact": ("Hello", ", you", ", you"),
    "nothing": ("Hello", "", ""),
    "words that were there": (SENT, " quick brown fox", " quick brown fox"),
    "space was sent": ("Hello ", " you", "you"),
    "space was sent and left out": ("Hello ", "you", "you"),
    "space is doubled": ("Hello ", "  you", " you"),
    "lines were sent": ("One.\n\n", "\n\nTwo", "Two"),
    "fewer lines than were sent": ("One.\n\n", "\nTwo", "Two"),
    "other space": ("One. ", "\nTwo", "\nTwo"),
    "only the space": ("One.\n\n", "\n", ""),
    "nothing but space was sent": (" \n", " \nTwo", "Two"),
    "the end again": (SENT, f"{TAIL} slept.", " slept."),
    "the end again after space": (f"{SENT} ", f" {TAIL} slept.", "slept."),
    "a shorter end again": (SENT, f"{TAIL[1:]} slept.", f"{TAIL[1:]} slept."),
    "all of it again": (SENT, f"{SENT} slept.", " slept."),
    "all of it again and no more": (SENT, SENT, ""),
    "too short to be told from what comes next": ("Hello", "Hello, you", "Hello, you"),
    "started over": (SENT, SENT[:40] + "s at the moon", None),
    "started over and stopped": (SENT, SENT[:30], None),
    "goes on repeating itself": ("ha" * 30, "ha" * 20, "ha" * 20),
    "goes on with the same rows": (ROW * 3, ROW * 2, ROW * 2),
    "goes on within the same rows": (ROW * 3 + ROW[:9], ROW[9:] + ROW, ROW[9:] + ROW),
    "goes on with a like row": (LIST, "- three and another three\n", "- three and another three\n"),
}


@pytest.mark.parametrize(("sent", "said", "expected"), CONTINUED.values(), ids=CONTINUED)
def test_continue(sent: str, said: str, expected: str | None) -> None:
    """What was sent is neither told twice nor is anything lost, however the text comes in pieces."""
    for size in (1, 2, 7, 999):
        pieces = [said[at : at + size] for at in range(0, len(said), size)]

        assert expected == drive(ContinueMatch(sent), pieces)


@given(text=TEXTS, cut=st.integers(0, 70), size=st.integers(1, 9))
@example(text="ab" * 35, cut=31, size=3)
@example(text="a" * 70, cut=24, size=1)
@example(text=" " * 70, cut=24, size=1)
def test_exact_continuations(text: str, cut: int, size: int) -> None:
    """A model that goes on to the character is taken at its word, also where the text repeats itself."""
    sent = text[:cut]
    rest = text[len(sent.rstrip()) :]
    pieces = [rest[at : at + size] for at in range(0, len(rest), size)]

    assert text[cut:] == drive(ContinueMatch(sent), pieces)


@given(text=TEXTS, cut=st.integers(0, 70), size=st.integers(1, 9))
def test_exact_splices(text: str, cut: int, size: int) -> None:
    """The same answer once more has what was sent left out."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]

    assert text[len(text[:cut]) :] == drive(SpliceMatch(text[:cut]), pieces)


def test_a_decision_does_not_wait_longer_than_needed() -> None:
    """Words that were not sent before are passed on at once."""
    assert " dreams" == ContinueMatch(SENT).take(" dreams")
    assert ", you" == SpliceMatch("Hello").take("Hello, you")
    assert "" == SpliceMatch("Hello").take("Hello")
