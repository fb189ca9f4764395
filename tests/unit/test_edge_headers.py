"""How the edge sorts a request's headers."""

from __future__ import annotations

import pytest

from kit.errors import GatewayError, Reason
from services.edge import headers
from services.edge.headers import read
from tests.fakes.peers import TOKEN

TEAM = (b"x-team", b"hr_payroll_eu")
SK = (b"authorization", b"Bearer sk-proj-x_hr_b_c")


@pytest.mark.parametrize("header", [TEAM, SK, (b"x-api-key", b"sk-ahr_b_c")])
def test_values_that_resemble_a_token_are_forwarded(header: tuple[bytes, bytes]) -> None:
    """Names and keys that merely contain a token's first letters go on, and are nobody's token."""
    found = read([header])

    assert ([(header[0].decode(), header[1])], "") == (found.forwarded, found.own_token)


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"Api-Key", b"x-goog-api-key"])
@pytest.mark.parametrize("value", [TOKEN, "hr_wrong_token", "hr_"])
def test_a_credential_of_ours_is_set_apart(name: bytes, value: str) -> None:
    """Whatever begins like a token of ours in a credential's place is kept from the provider."""
    found = read([(name, f"Bearer {value}".encode()), TEAM])

    assert ([("x-team", TEAM[1])], value) == (found.forwarded, found.own_token)


def test_a_whole_token_elsewhere_is_dropped() -> None:
    """A token in any other header goes nowhere, and lets nobody in."""
    found = read([(b"x-other", b"t=" + TOKEN.encode()), SK])

    assert ([("authorization", SK[1])], "") == (found.forwarded, found.own_token)


def test_a_good_token_wins_over_a_malformed_one() -> None:
    """Of several credentials of ours the first whole token counts."""
    found = read([(b"x-api-key", b"hr_x"), (b"authorization", TOKEN.encode()), (b"api-key", b"hr_y")])

    assert ([], TOKEN) == (found.forwarded, found.own_token)


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        '{"per_token_in":1.01}',
        '{"per_token_out":1e300}',
        '{"per_cache_read_token":123456789012345678901234567890}',
        '{"per_cache_write_token":2}',
        '{"total_cost":1000000.5}',
        '{"total_cost":1e999}',
        '{"total_cost":NaN}',
        '{"total_cost":-1}',
        '{"total_cost":' + "[" * 3000 + "]" * 3000 + "}",
    ],
)
def test_prices_have_bounds(value: str) -> None:
    """A price that nobody can mean is refused, and the header named."""
    with pytest.raises(GatewayError) as caught:
        read([(b"cf-aig-custom-cost", value.encode())])

    assert (Reason.INVALID_REQUEST, "cf-aig-custom-cost") == (
        caught.value.reason,
        caught.value.metadata["param"],
    )


def test_the_highest_prices() -> None:
    """The bounds themselves are allowed."""
    found = read([(b"cf-aig-custom-cost", b'{"per_token_in":1,"total_cost":1000000}')])

    assert found.options.custom_cost == {"per_token_in": 1, "total_cost": 1_000_000}


@pytest.mark.parametrize(("value", "wanted"), [(b"true", True), (b"TRUE", True), (b"false", False)])
def test_the_operators_key_can_be_declined(value: bytes, wanted: bool) -> None:  # noqa: FBT001 - a table's column
    """A request says that the operator's key is not to be used for it."""
    assert wanted is read([(b"cf-aig-no-wholesale", value)]).options.no_wholesale


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cf-aig-no-wholesale", "yes"),
        ("cf-aig-no-wholesale", ""),
        ("cf-aig-byok-alias", "x" * 65),
        ("cf-aig-byok-alias", "a\x01b"),
    ],
)
def test_what_says_nothing_of_a_key_is_refused(name: str, value: str) -> None:
    """A header about keys that makes no sense is an error that names it."""
    with pytest.raises(GatewayError) as raised:
        read([(name.encode(), value.encode())])

    assert (Reason.INVALID_REQUEST, {"param": name}) == (raised.value.reason, raised.value.metadata)


def test_long_names_are_not_remembered() -> None:
    """Names come from clients, and what is remembered of them stays small; a long one is read as well."""
    before = headers._known.cache_info().currsize
    names = [b"X-%d-" % number + b"a" * 1000 for number in range(3)]

    found = read([(name, b"1") for name in names])

    assert [(name.decode().lower(), b"1") for name in names] == found.forwarded
    assert before == headers._known.cache_info().currsize
