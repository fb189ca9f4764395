"""Patterns in conditions: they find what `re.search` finds, and nothing makes them slow."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.router.core.engine.pattern import Effort, ExhaustedError, Pattern, PatternError

ATOMS = st.sampled_from(
    [
        "a", "b", "A", ".", "[ab]", "[^a]", "[b-y]", "[^\\d]", "[\\w-]", r"\w", r"\d", r"\s", r"\W", r"\b",
        r"\B",         "^", "$", r"\A", r"\Z", "\n", "_", "é", "()", "(?i:a)", "(?s:.)", "(?m:^a$)",
    ]
)  # fmt: skip
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(
            inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0}", "{2,}", "*?", "+?", "??"])
        ).map(lambda two: f"(?:{two[0]}){two[1]}"),
        inner.map(lambda one: f"(?i:{one})"),
        inner.map(lambda one: f"(?m:{one})"),
        inner.map(lambda one: f"({one})"),
    ),
    max_leaves=8,
)
TEXTS = st.text(alphabet="abABcé1_ \n-", max_size=10)


@settings(max_examples=400)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=5))
@example(r"(?:a|)*b$", ["ab\n", "b\n\n"])
@example(r"\B", [""])
def test_patterns_mean_what_they_mean_in_python(pattern: str, texts: list[str]) -> None:
    """Whatever is put together, the answer for each text is that of `re.search`."""
    ours, theirs = Pattern(pattern), re.compile(pattern)

    assert [bool(theirs.search(text)) for text in texts] == [ours.found_in(text, Effort()) for text in texts]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 16_000 + "b"),
        ("(a*)*b", "a" * 16_000),
        ("(a|a)*c", "a" * 16_000),
        ("(a|aa)+$", "a" * 16_000 + "b"),
        ("(.*)(.*)(.*)(.*)(.*)(.*)x", "y" * 16_000),
        ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 16_000),
        (r"(\w+\s?)*$", "word " * 3_000 + "!"),
        ("(x+x+)+y", "x" * 16_000),
    ],
)
def test_no_pattern_makes_a_text_slow(pattern: str, text: str) -> None:
    """What takes Python's own matcher longer than the world is old takes some steps for each character."""
    found = Pattern(pattern)
    found.found_in(text, Effort(len(text) // 8 + 1 + 1_000))


def test_what_grows_with_text_and_pattern_has_an_end() -> None:
    """There are patterns that need many steps for each character; then it is said that it takes too long."""
    pattern = Pattern("[ab]*a[ab]{300}c")
    text = "".join(Random(1).choices("ab", k=16_000))
    with pytest.raises(ExhaustedError):
        pattern.found_in(text, Effort())


def test_a_long_text_is_searched_in_its_beginning() -> None:
    """The first 16384 characters."""
    pattern = Pattern("x")

    assert pattern.found_in("a" * 16_383 + "x", Effort())
    assert not pattern.found_in("a" * 16_384 + "x", Effort())


def test_what_a_pattern_remembers_is_bounded() -> None:
    """However many different texts come."""
    pattern = Pattern("(?:[a-z].){3,9}!$")
    for number in range(300):
        pattern.found_in("".join(chr(97 + (number * place) % 4000) for place in range(60)), Effort())

    assert len(pattern._remembered) <= 1000


@pytest.mark.parametrize(
    "text", ["(", "a{5000}", "(?:a{30}){30}", "(?=a)", r"(a)\1", "(?>a)", "a++", "(?<!a)b", "[b-a]", "*"]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    """With a sentence that says why."""
    with pytest.raises(PatternError, match=r"\.$"):
        Pattern(text)
