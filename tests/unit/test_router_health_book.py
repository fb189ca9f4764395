"""What is kept of many providers, and how much of it."""

from __future__ import annotations

import pytest

from services.router.core.health import FRESH, Health, HealthRules, Phase
from services.router.core.health_book import IDLE_S, HealthBook, Subject
from services.router.core.health_counts import Counts

AT_S = 1_000_000.0
RULES = HealthRules()
GOOD = Counts(successes=1)
BAD = Counts(failures=5)


def report(book: HealthBook, account: str, model: str, since_s: float = 0.0, counts: Counts = GOOD) -> bool:
    """Report on a model; tell whether it is known then."""
    subject = Subject(account, "openai", model)
    book.report(subject, counts, AT_S + since_s, 0.5)
    return book.find(subject, AT_S + since_s) is not None


def models(book: HealthBook, account: str = "a", since_s: float = 0.0) -> list[str]:
    """List what is known for an account."""
    return [row.subject.model for row in book.rows(account, AT_S + since_s, shared=not account)]


@pytest.mark.parametrize("account", ["", "a"])
def test_a_full_account_takes_nothing_new(account: str) -> None:
    """Whoever makes names up does not drive out what is in use."""
    book = HealthBook(RULES, most_shared=2, most_of_account=2)

    assert [True, True, False] == [report(book, account, model) for model in ("x", "y", "z")]
    assert ["x", "y"] == models(book, account)


@pytest.mark.parametrize("account", ["", "a"])
def test_what_is_silent_makes_room(account: str) -> None:
    """A new subject takes the place of the one that was least recently heard of."""
    book = HealthBook(RULES, most_shared=2, most_of_account=2)
    for model, since_s in (("x", 0.0), ("y", 1.0), ("x", 50.0)):
        report(book, account, model, since_s)

    assert [False, True] == [report(book, account, "z", since_s) for since_s in (61.0, 61.1)]
    assert ["x", "z"] == models(book, account, 61.1)


def test_an_account_takes_no_room_of_another() -> None:
    """Each has its own."""
    book = HealthBook(RULES, most_of_account=1, most_shared=1)

    assert all(report(book, account, "x") for account in ("", "a", "b", "c"))
    assert 4 == len(book)


def test_of_too_many_accounts_the_most_silent_goes() -> None:
    """What is the operator's stays."""
    book = HealthBook(RULES, most=2)
    for account in ("", "a", "b", "a", "c"):
        report(book, account, "x")

    assert [["x"], ["x"], [], ["x"]] == [models(book, account) for account in ("", "a", "b", "c")]
    assert 3 == len(book)


def test_what_was_long_not_heard_of_is_forgotten() -> None:
    """An open circuit too, so that nothing is passed over for ever."""
    book = HealthBook(RULES)
    report(book, "a", "x", counts=BAD)

    assert [["x"], []] == [models(book, "a", since_s) for since_s in (IDLE_S, IDLE_S + 1)]
    assert [1, 0] == [book.open_circuits(AT_S + since_s) for since_s in (IDLE_S, IDLE_S + 1)]
    assert "closed" == book.look("openai", "x", "a", AT_S + IDLE_S + 1).circuit


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [
        pytest.param(None, None, "closed", id="nothing known"),
        pytest.param(None, BAD, "open", id="shared only"),
        pytest.param(BAD, None, "open", id="own only"),
        pytest.param(GOOD, BAD, "closed", id="own goes well"),
        pytest.param(BAD, GOOD, "open", id="own goes badly"),
    ],
)
def test_what_an_account_goes_by(own: Counts | None, shared: Counts | None, expected: str) -> None:
    """What it sees itself comes before what is shared."""
    book = HealthBook(RULES)
    for account, counts in (("a", own), ("", shared)):
        if counts is not None:
            report(book, account, "x", counts=counts)

    assert expected == book.look("openai", "x", "a", AT_S).circuit


def test_what_went_well_long_ago_does_not_hide_what_is_shared() -> None:
    """An account that has not asked for a while goes by what others see."""
    book = HealthBook(RULES)
    report(book, "a", "x")
    report(book, "", "x", 100.0, BAD)

    assert "open" == book.look("openai", "x", "a", AT_S + 100.0).circuit


def test_changes_are_told_once() -> None:
    """Only the report that opens a circuit says so."""
    book = HealthBook(RULES)
    subject = Subject("", "openai", "x")

    reports = [GOOD, BAD, BAD]
    assert [None, Phase.OPEN, None] == [book.report(subject, counts, AT_S, 0.5) for counts in reports]


def test_there_is_no_room_for_what_is_put_either() -> None:
    """What other routers know finds no more room than what this one hears."""
    book = HealthBook(RULES, most_of_account=1)

    assert [True, True, False] == [book.put(Subject("a", "openai", model), FRESH) for model in "xxy"]
    assert book.put(Subject("a", "openai", "y"), Health(heard_s=RULES.window_s + 1))
