"""How a circuit opens and closes, and what is known of a provider besides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.core.engine.health_view import Look
from services.router.core.health import FRESH, Health, HealthRules, Phase, claimed, look, reported, settled
from services.router.core.health_counts import Counts, Window
from services.router.core.health_state import dump, load

RULES = HealthRules()
AT_S = 1_000_000.0
MIDDLE = 0.5  # what is drawn where pauses are as long as they should be


def after(*happened: tuple[float, Counts], health: Health = FRESH, rules: HealthRules = RULES) -> Health:
    """Report one thing after the other, each some seconds after `AT_S`."""
    for since_s, counts in happened:
        health = reported(health, counts, AT_S + since_s, rules, MIDDLE)
    return health


def circuit(health: Health, since_s: float) -> str:
    """Say where the circuit is some seconds after `AT_S`."""
    return look(health, AT_S + since_s, RULES).circuit


def ok(number: int = 1) -> Counts:
    """Give successes without a time."""
    return Counts(successes=number)


def bad(number: int = 1) -> Counts:
    """Give failures."""
    return Counts(failures=number)


OPEN = after((0, bad(5)))


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        pytest.param([(0, bad(4))], "closed", id="too few in a row"),
        pytest.param([(0, bad(5))], "open", id="enough in a row at once"),
        pytest.param([(0, bad(2)), (50, bad(3))], "open", id="enough in a row, one after the other"),
        pytest.param([(0, bad(4)), (1, ok()), (2, bad(4))], "closed", id="a success in between"),
        pytest.param([(0, Counts(successes=1, failures=7))], "closed", id="too few attempts for a rate"),
        pytest.param([(0, Counts(successes=4, failures=6))], "open", id="a rate below the least"),
        pytest.param([(0, Counts(successes=5, failures=5))], "closed", id="a rate that is just enough"),
        pytest.param([(0, ok(6)), (30, bad(4))], "closed", id="a rate over the whole window"),
        pytest.param([(0, ok(90)), (61, bad(5))], "open", id="what is older does not count"),
        pytest.param(
            [(0, Counts(successes=4, failures=5)), (1, ok(90))], "closed", id="successes never open"
        ),
        pytest.param([(0, Counts(refusals=50))], "closed", id="refusals for the rate never open"),
        pytest.param([(0, Counts(refusals=50, failures=4))], "closed", id="nor count as failures"),
    ],
)
def test_when_a_circuit_opens(happened: list[tuple[float, Counts]], expected: str) -> None:
    """It opens by failures in a row, or by a success rate over enough attempts, and by nothing else."""
    assert expected == circuit(after(*happened), happened[-1][0])


@pytest.mark.parametrize(
    ("since_s", "expected"), [(0.0, "open"), (4.9, "open"), (5.0, "half_open"), (1000.0, "half_open")]
)
def test_a_pause_ends_by_itself(since_s: float, expected: str) -> None:
    """Without anybody reporting anything."""
    assert expected == circuit(OPEN, since_s)


@pytest.mark.parametrize(("draw", "expected_s"), [(0.0, 4.0), (0.5, 5.0), (0.999, 6.0)])
def test_pauses_are_jittered(draw: float, expected_s: float) -> None:
    """So that not all come back at the same moment."""
    health = reported(FRESH, bad(5), AT_S, RULES, draw)

    assert pytest.approx(expected_s, abs=0.01) == health.until_s - AT_S


def test_pauses_grow_up_to_the_longest() -> None:
    """Each failed probe doubles the pause."""
    health, at_s, pauses = OPEN, AT_S, []
    for _ in range(8):
        pauses.append(health.until_s - at_s)
        at_s = health.until_s
        health = reported(health, bad(), at_s, RULES, MIDDLE)

    assert pytest.approx([5, 10, 20, 40, 80, 120, 120, 120]) == pauses


def test_the_pause_is_short_again_once_the_slow_start_is_over() -> None:
    """It was well meanwhile."""
    reopened = after((5, bad()), (15, ok(3)), (45, bad(5)), health=OPEN)

    assert pytest.approx(5.0) == reopened.until_s - (AT_S + 45)


def test_a_circuit_that_fails_during_its_slow_start_pauses_longer() -> None:
    """It was not well yet."""
    reopened = after((5, ok(3)), (20, bad(5)), health=OPEN)

    assert pytest.approx(10.0) == reopened.until_s - (AT_S + 20)


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        pytest.param([(6, ok(2))], "half_open", id="too few successes"),
        pytest.param([(6, ok(3))], "closed", id="enough at once"),
        pytest.param([(6, ok()), (7, ok()), (40, ok())], "closed", id="enough over two rounds"),
        pytest.param([(6, bad())], "open", id="a failure"),
        pytest.param([(6, ok()), (7, bad())], "half_open", id="as many failures as may be"),
        pytest.param([(6, ok()), (7, bad(2))], "open", id="more failures than may be"),
        pytest.param([(6, Counts(successes=99, failures=1))], "closed", id="other traffic that goes well"),
        pytest.param([(6, Counts(refusals=3))], "half_open", id="refusals decide nothing"),
        pytest.param([(4, ok(99))], "open", id="successes during the pause come too early"),
        pytest.param([(5, ok(3)), (6, bad(4))], "closed", id="what was before is forgotten"),
    ],
)
def test_how_probes_decide(happened: list[tuple[float, Counts]], expected: str) -> None:
    """It closes by successes, opens by failures, and waits for more of either."""
    assert expected == circuit(after(*happened, health=OPEN), happened[-1][0] + 0.1)


def test_a_round_lets_so_many_probes_through() -> None:
    """The next round, half a minute later, as many again."""
    health, given = OPEN, []
    for since_s in (4.0, 5.0, 5.1, 5.2, 5.3, 34.9, 35.0, 35.1, 35.2, 35.3, 5000.0):
        taken = claimed(health, AT_S + since_s, RULES)
        given.append(taken is not None)
        health = taken or health

    expected = [False, True, True, True, False, False, True, True, True, False, True]
    assert expected == given


@pytest.mark.parametrize("health", [FRESH, after((5, ok(3)), health=OPEN)])
def test_a_closed_circuit_has_no_probes(health: Health) -> None:
    """Nobody has to ask for one."""
    assert claimed(health, AT_S + 6, RULES) is None


@pytest.mark.parametrize(
    ("since_s", "expected"), [(5.0, 0.1), (20.0, 0.55), (34.9, 0.997), (35.0, 1.0), (900.0, 1.0)]
)
def test_a_share_grows_back(since_s: float, expected: float) -> None:
    """From a tenth, evenly, once probes went well."""
    closed = after((5, ok(3)), health=OPEN)

    assert pytest.approx(expected) == look(closed, AT_S + since_s, RULES).weight


@pytest.mark.parametrize(
    ("counts", "since_s", "expected"),
    [
        pytest.param(Counts(refusals=1, successes=3), 0.0, 0.75, id="as many as were not refused"),
        pytest.param(Counts(refusals=4), 4.9, 0.05, id="never nothing"),
        pytest.param(Counts(refusals=4), 5.1, 1.0, id="over when nobody says how long"),
        pytest.param(Counts(refusals=4, retry_after_s=50.0), 49.0, 0.05, id="for as long as was asked"),
        pytest.param(Counts(refusals=4, retry_after_s=50.0), 50.0, 1.0, id="and no longer"),
        pytest.param(Counts(refusals=4, retry_after_s=1e9), 299.0, 0.05, id="long after the window"),
        pytest.param(Counts(refusals=4, retry_after_s=1e9), 300.0, 1.0, id="within reason"),
        pytest.param(Counts(successes=4, retry_after_s=50.0), 1.0, 1.0, id="only a refusal asks"),
    ],
)
def test_refusals_lower_the_share(counts: Counts, since_s: float, expected: float) -> None:
    """For as long as the provider asked to wait, within reason."""
    assert pytest.approx(expected) == look(after((0, counts)), AT_S + since_s, RULES).weight


@pytest.mark.parametrize(
    ("happened", "expected_s"),
    [
        ([], None),
        ([Counts(successes=2)], None),
        ([Counts(successes=2, first_byte_s=1.0, timed=2)], 0.5),
        ([Counts(successes=1, first_byte_s=1.0, timed=1), Counts(first_byte_s=2.0, timed=1)], 1.2),
        ([Counts(successes=1, first_byte_s=1.0, timed=1), Counts(first_byte_s=200.0, timed=100)], 2.0),
        ([Counts(successes=1, first_byte_s=1.0, timed=1), Counts(failures=1)], 1.0),
    ],
)
def test_the_time_to_the_first_byte_is_smoothed(happened: list[Counts], expected_s: float | None) -> None:
    """It follows slowly, faster with more answers, and stays when none come."""
    found = look(after(*[(0.0, counts) for counts in happened]), AT_S, RULES)

    assert (None if expected_s is None else pytest.approx(expected_s)) == found.first_byte_s


def test_the_success_rate_is_of_the_window() -> None:
    """What is older does not count, nor do refusals for the rate."""
    health = after((0, bad(2)), (30, Counts(successes=3, failures=1, refusals=9)))

    assert [0.5, 0.75, None] == [
        look(health, AT_S + since_s, RULES).success_rate for since_s in (30, 69, 100)
    ]


def test_what_nothing_is_known_of_is_asked_as_usual() -> None:
    """With the whole of its share."""
    assert Look() == look(FRESH, AT_S, RULES)


def test_a_window_slides_by_a_sixth() -> None:
    """It keeps six parts, and none that is older."""
    window = Window()
    for second in range(0, 120, 5):
        window = window.add(Counts(successes=1), AT_S + second, 60.0)

    assert (6, (12, 0, 0)) == (len(window.buckets), window.sums(AT_S + 119, 60.0))


def test_a_clock_that_goes_back_leaves_no_bucket_behind() -> None:
    """With a server's clock that may happen when another server takes over."""
    window = Window().add(ok(), AT_S, 60.0).add(ok(), AT_S - 3600, 60.0)

    assert 1 == len(window.buckets)


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        pytest.param(OPEN, ("half_open", 1.0), id="a pause"),
        pytest.param(after((5, ok(3)), health=OPEN), ("closed", 1.0), id="a slow start"),
        pytest.param(after((0, Counts(refusals=4))), ("closed", 1.0), id="a refusal"),
    ],
)
def test_a_clock_that_goes_back_makes_nothing_last(health: Health, expected: tuple[str, float]) -> None:
    """Nothing waits for a time that lies further ahead than anything can."""
    seen = look(health, AT_S - 3600, RULES)

    assert expected == (seen.circuit, seen.weight)


@pytest.mark.parametrize(
    "health", [FRESH, OPEN, after((0, Counts(successes=3, first_byte_s=0.3, timed=3, refusals=1)))]
)
def test_a_state_is_the_same_after_it_was_stored(health: Health) -> None:
    """Nothing is lost on the way to Valkey and back."""
    assert health == load(dump(health))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"[1]", b"null", dump(OPEN).replace(b"[1,", b"[2,"), b"[1" + b",9" * 11 + b"]"],
)
def test_bytes_that_are_no_state_are_none(data: bytes) -> None:
    """Such as those of another version."""
    assert load(data) is None


reports = st.builds(
    Counts,
    successes=st.integers(0, 20),
    failures=st.integers(0, 20),
    refusals=st.integers(0, 20),
    first_byte_s=st.floats(0, 100),
    timed=st.integers(0, 20),
    retry_after_s=st.floats(0, 1000),
)
events = st.lists(
    st.tuples(st.floats(0, 200), st.one_of(st.just("claim"), reports), st.floats(0, 0.999)), max_size=40
)


@given(events)
def test_every_state_has_a_way_out(happened: list[tuple[float, object, float]]) -> None:
    """Whatever happened, a circuit closes once enough time has passed and attempts go well again."""
    health, now_s = FRESH, AT_S
    for wait_s, event, draw in happened:
        now_s += wait_s
        if isinstance(event, Counts):
            health = reported(health, event, now_s, RULES, draw)
        else:
            health = claimed(health, now_s, RULES) or health
        seen = look(health, now_s, RULES)
        assert 0.0 < seen.weight <= 1.0
        assert health == load(dump(health))

    now_s += RULES.longest_pause_s * 1.2 + RULES.round_s
    assert settled(health, now_s, RULES).phase is not Phase.OPEN
    for _ in range(RULES.probes * 100):
        now_s += RULES.round_s
        if settled(health, now_s, RULES).phase is Phase.HALF_OPEN:
            health = claimed(health, now_s, RULES) or pytest.fail("no probe although a round began")
        health = reported(health, ok(), now_s, RULES, 0.5)
    assert "closed" == look(health, now_s, RULES).circuit
    assert 1.0 == look(health, now_s + 1000, RULES).weight


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), min_size=1, max_size=80))
def test_no_round_lets_more_through_than_it_may(tries: list[tuple[float, bool]]) -> None:
    """At most so many probes go through from one pause, or round, to the next."""
    health, now_s = OPEN, AT_S
    given: dict[float, int] = {}
    for wait_s, fails in tries:
        now_s += wait_s
        taken = claimed(health, now_s, RULES)
        if taken is None:
            continue
        health = taken
        given[health.until_s] = given.get(health.until_s, 0) + 1
        if fails:
            health = reported(health, bad(), now_s, RULES, 0.5)

    assert all(number <= RULES.probes for number in given.values())


def test_rules_are_followed() -> None:
    """Each number of the rules is the one that counts."""
    rules = replace(RULES, failures_in_a_row=2, pause_s=7.0, probes=1, slow_start_s=10.0)
    health = after((0, bad(2)), (7, ok()), rules=rules)

    assert (Phase.CLOSED, AT_S + 17) == (health.phase, health.until_s)
