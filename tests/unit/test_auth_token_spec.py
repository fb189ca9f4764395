"""What may be chosen about tokens and accounts, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kit.account import check_account_id
from kit.errors import GatewayError, Reason
from services.auth.core.account import AccountSpec, check_account
from services.auth.core.token import Grant, Owner, Permission, Restrictions, TokenSpec
from services.auth.core.token_spec import check_owner, checked

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ACME, ANN = Owner(account_id="acme"), Owner(user_id="ann@example.com")
RUN, READ, OPERATOR = Permission.AI_GATEWAY_RUN, Permission.AI_GATEWAY_READ, Permission.OPERATOR


def _spec(*grants: Grant, **fields: Any) -> TokenSpec:
    return TokenSpec(**{"name": "mine", "grants": grants, **fields})


def _param(error: GatewayError) -> str:
    assert Reason.INVALID_REQUEST == error.reason
    return error.metadata["param"]


@pytest.mark.parametrize("text", ["", "a" * 65, "a b", "a/b", "é", "a\n", "../x"])
def test_account_ids_are_checked(text: str) -> None:
    """An account id fits into a URL and a column."""
    with pytest.raises(GatewayError) as caught:
        check_account_id(text)

    assert "account_id" == _param(caught.value)


@pytest.mark.parametrize("text", [" ", "a" * 121, "a\nb", "a\x00"])
def test_names_of_accounts_are_checked(text: str) -> None:
    """A name can be shown; an account need not have one."""
    with pytest.raises(GatewayError) as caught:
        check_account(AccountSpec(name=text))

    assert "name" == _param(caught.value)
    assert [AccountSpec(name=good) for good in ("", "é" * 120)] == [
        check_account(AccountSpec(name=good)) for good in ("", "é" * 120)
    ]


@pytest.mark.parametrize(
    ("owner", "param"),
    [
        (Owner(), "owner"),
        (Owner(account_id="acme", user_id="ann"), "owner"),
        (Owner(account_id="a b"), "account_id"),
        (Owner(user_id="a\nb"), "user_id"),
        (Owner(user_id="x" * 121), "user_id"),
    ],
)
def test_owners_are_checked(owner: Owner, param: str) -> None:
    """A token is an account's or a user's, never both or neither."""
    with pytest.raises(GatewayError) as caught:
        check_owner(owner)

    assert param == _param(caught.value)


def test_owners_are_kept() -> None:
    """A user may be any name or address."""
    assert [ACME, ANN] == [check_owner(ACME), check_owner(ANN)]


@pytest.mark.parametrize("text", ["", " ", "a" * 121, "a\nb", "a\x00", "\u202ea"])
def test_names_are_checked(text: str) -> None:
    """A name can be shown in a list without breaking it."""
    with pytest.raises(GatewayError) as caught:
        checked(_spec(name=text), ACME, NOW)

    assert "name" == _param(caught.value)


@pytest.mark.parametrize("text", ["a", "a" * 120, "ci: main ✓", "two words"])
def test_names_are_free_otherwise(text: str) -> None:
    """Any printable name of the right length is kept as it is."""
    assert text == checked(_spec(name=text), ACME, NOW).name


@pytest.mark.parametrize(
    ("owner", "given", "expected"),
    [
        pytest.param(ACME, (), (Grant(account_id="acme", permissions=(RUN,)),), id="none means run"),
        pytest.param(
            ACME,
            (Grant(account_id="acme", permissions=()),),
            (Grant(account_id="acme", permissions=(RUN,)),),
            id="nothing said means run",
        ),
        pytest.param(
            ACME,
            (
                Grant(account_id="acme", permissions=(OPERATOR, RUN)),
                Grant(account_id="acme", permissions=(READ,)),
            ),
            (Grant(account_id="acme", permissions=(RUN, READ, OPERATOR)),),
            id="each once, in order",
        ),
        pytest.param(
            ANN,
            (Grant(account_id="b", permissions=(READ,)), Grant(account_id="a", permissions=(RUN,))),
            (Grant(account_id="b", permissions=(READ,)), Grant(account_id="a", permissions=(RUN,))),
            id="several accounts",
        ),
    ],
)
def test_grants(owner: Owner, given: tuple[Grant, ...], expected: tuple[Grant, ...]) -> None:
    """What is allowed stands there once for each account."""
    assert expected == checked(_spec(*given), owner, NOW).grants


@pytest.mark.parametrize(
    ("owner", "given"),
    [
        (ACME, (Grant(account_id="other", permissions=(RUN,)),)),
        (ACME, (Grant(account_id="acme", permissions=(RUN,)), Grant(account_id="other", permissions=(RUN,)))),
        (ANN, ()),
        (ANN, (Grant(account_id="a b", permissions=(RUN,)),)),
        (ANN, tuple(Grant(account_id=f"a{number}", permissions=(RUN,)) for number in range(101))),
    ],
)
def test_other_grants_are_refused(owner: Owner, given: tuple[Grant, ...]) -> None:
    """An account's token is for that alone, a user's for one to a hundred."""
    with pytest.raises(GatewayError) as caught:
        checked(_spec(*given), owner, NOW)

    assert "grants" == _param(caught.value)


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("gateway_ids", ["Upper"]),
        ("gateway_ids", ["a--b"]),
        ("gateway_ids", [""]),
        ("gateway_ids", [f"g{number}" for number in range(101)]),
        ("providers", ["open ai"]),
        ("providers", ["openai/"]),
        ("models", ["no-provider"]),
        ("models", ["/x"]),
        ("models", ["openai/" + "x" * 256]),
        ("addresses", ["10.0.0.0/33"]),
        ("addresses", ["10.0.0"]),
        ("addresses", ["localhost"]),
        ("addresses", [""]),
        ("addresses", ["010.0.0.1"]),
        ("addresses", ["fe80::1%eth0"]),
        ("addresses", ["::ffff:10.0.0.0/104"]),
        ("forbidden_addresses", ["::ffff:192.0.2.1"]),
        ("addresses", [f"10.0.0.{number}" for number in range(101)]),
        ("forbidden_addresses", ["1.2.3.4-1.2.3.9"]),
        ("forbidden_addresses", ["10.0.0.0/8 "]),
    ],
)
def test_restrictions_are_checked(field: str, names: list[str]) -> None:
    """A restriction that could never apply is refused rather than kept."""
    with pytest.raises(GatewayError) as caught:
        checked(_spec(restrictions=Restrictions(**{field: tuple(names)})), ACME, NOW)

    assert f"restrictions.{field}" == _param(caught.value)


def test_restrictions_are_kept_in_order() -> None:
    """Names and networks stay as they were given, each once."""
    given = Restrictions(
        gateway_ids=("b", "a", "b"),
        providers=("openai",),
        models=("openai/gpt-4o", "local/org/model"),
        addresses=("10.1.2.3/8", "::1", "192.0.2.0/24", "::1"),
        forbidden_addresses=("2001:db8::/32",),
    )
    expected = Restrictions(
        gateway_ids=("b", "a"),
        providers=("openai",),
        models=("openai/gpt-4o", "local/org/model"),
        addresses=("10.1.2.3/8", "::1", "192.0.2.0/24"),
        forbidden_addresses=("2001:db8::/32",),
    )

    assert expected == checked(_spec(restrictions=given), ACME, NOW).restrictions


@pytest.mark.parametrize(("not_before_s", "expires_s"), [(None, 0), (None, -1), (10, 10), (10, 5)])
def test_a_new_token_works_at_some_time(not_before_s: int | None, expires_s: int) -> None:
    """Its expiry is to come, and after its beginning."""
    not_before = None if not_before_s is None else NOW + timedelta(seconds=not_before_s)
    spec = _spec(not_before=not_before, expires_at=NOW + timedelta(seconds=expires_s))
    with pytest.raises(GatewayError) as caught:
        checked(spec, ACME, NOW)

    assert "expire_time" == _param(caught.value)


def test_a_token_that_is_there_may_have_expired() -> None:
    """It can be renamed all the same, and be made to end."""
    spec = _spec(not_before=NOW - timedelta(days=2), expires_at=NOW - timedelta(days=1))

    assert spec.expires_at == checked(spec, ACME).expires_at
