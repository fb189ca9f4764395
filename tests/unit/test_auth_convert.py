"""What auth takes from a request, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import timestamp_pb2

from headrace.auth.v1 import auth_service_pb2 as pb
from kit.account import check_account_id
from kit.errors import GatewayError, Reason
from services.auth import convert
from services.auth.core.authentication import Reuse
from services.auth.core.token import Permission, Restrictions, Token

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def _param(error: GatewayError) -> str:
    assert error.reason == Reason.INVALID_REQUEST
    return error.metadata["param"]


@pytest.mark.parametrize("text", ["", "a" * 65, "a b", "a/b", "é", "a\n", "../x"])
def test_account_ids_are_checked(text: str) -> None:
    """An account id fits into a URL and a column."""
    with pytest.raises(GatewayError) as caught:
        check_account_id(text)

    assert _param(caught.value) == "account_id"


@pytest.mark.parametrize("text", ["", " ", "a" * 121, "a\nb", "a\x00", "\u202ea"])
def test_names_are_checked(text: str) -> None:
    """A name can be shown in a list without breaking it."""
    with pytest.raises(GatewayError) as caught:
        convert.name(text)

    assert _param(caught.value) == "name"


@pytest.mark.parametrize("text", ["a", "a" * 120, "ci: main ✓", "two words"])
def test_names_are_free_otherwise(text: str) -> None:
    """Any printable name of the right length is kept as it is."""
    assert text == convert.name(text)


def test_no_permissions_means_run() -> None:
    """A token that was given no permissions may send requests and nothing else."""
    assert convert.permissions([]) == (Permission.AI_GATEWAY_RUN,)


def test_permissions_are_ordered_and_unique() -> None:
    """Repeating a permission changes nothing."""
    given = [pb.PERMISSION_WORKERS_AI_READ, pb.PERMISSION_AI_GATEWAY_RUN, pb.PERMISSION_WORKERS_AI_READ]

    assert convert.permissions(given) == (Permission.AI_GATEWAY_RUN, Permission.WORKERS_AI_READ)


def test_every_permission_has_its_message() -> None:
    """No permission of the contract is unknown here, and none of ours is unknown there."""
    numbers = [number for number in pb.Permission.values() if number != pb.PERMISSION_UNSPECIFIED]

    assert tuple(Permission) == convert.permissions(numbers)


@pytest.mark.parametrize("number", [0, 5, 99, -1])
def test_unknown_permissions_are_refused(number: int) -> None:
    """A permission that does not exist is not silently dropped."""
    with pytest.raises(GatewayError) as caught:
        convert.permissions([number])  # type: ignore[list-item]  # the wire allows any number

    assert _param(caught.value) == "permissions"


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
    ],
)
def test_restrictions_are_checked(field: str, names: list[str]) -> None:
    """A restriction that could never apply is refused rather than kept."""
    with pytest.raises(GatewayError) as caught:
        convert.restrictions(pb.Restrictions(**{field: names}))

    assert f"restrictions.{field}" == _param(caught.value)


def test_restrictions_are_kept_in_order() -> None:
    """Names stay as they were given, each once."""
    message = pb.Restrictions(
        gateway_ids=["b", "a", "b"], providers=["openai"], models=["openai/gpt-4o", "local/org/model"]
    )
    expected = Restrictions(
        gateway_ids=("b", "a"), providers=("openai",), models=("openai/gpt-4o", "local/org/model")
    )

    assert expected == convert.restrictions(message)


def _expiring(seconds: int, nanos: int = 0) -> pb.CreateTokenRequest:
    return pb.CreateTokenRequest(expire_time=timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos))


def test_an_absent_expiry_is_never() -> None:
    """A token without an expiry does not stop working."""
    assert convert.expiry(pb.CreateTokenRequest(), NOW) is None


def test_an_expiry_is_read_exactly() -> None:
    """The expiry keeps its microseconds."""
    when = NOW + timedelta(days=1)

    assert when == convert.expiry(_expiring(int(when.timestamp()), 678901000), NOW)


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(0, 0), (int(NOW.timestamp()), 0), (2**62, 0), (-(2**62), 0), (1, -5), (2**40, 2**31 - 1)],
)
def test_other_expiries_are_refused(seconds: int, nanos: int) -> None:
    """A time that is past, or none at all, is a malformed request."""
    with pytest.raises(GatewayError) as caught:
        convert.expiry(_expiring(seconds, nanos), NOW)

    assert _param(caught.value) == "expire_time"


@pytest.mark.parametrize(("number", "expected"), [(0, 100), (1, 1), (1000, 1000)])
def test_page_sizes(number: int, expected: int) -> None:
    """Zero means the default."""
    assert expected == convert.page_size(number)


@pytest.mark.parametrize("number", [-1, 1001, 2**31 - 1])
def test_other_page_sizes_are_refused(number: int) -> None:
    """A page is bounded."""
    with pytest.raises(GatewayError) as caught:
        convert.page_size(number)

    assert _param(caught.value) == "page_size"


def test_an_answer_carries_principal_and_lifetime() -> None:
    """Who it is, what they may do, for how long that holds and what takes it back."""
    token = Token(
        id="abcabcabcabc",
        account_id="acme",
        name="mine",
        permissions=tuple(Permission),
        restrictions=Restrictions(gateway_ids=("g",), providers=("p",), models=("p/m",)),
        created_at=NOW,
    )
    found = convert.authenticated(token, Reuse(reuse_for_s=1.5, grace_s=0), 42)

    assert (
        found.principal.account_id,
        found.principal.token_id,
        found.principal.token_name,
        list(found.principal.permissions),
        list(found.principal.restrictions.gateway_ids),
        list(found.principal.restrictions.providers),
        list(found.principal.restrictions.models),
    ) == ("acme", "abcabcabcabc", "mine", [1, 2, 3, 4], ["g"], ["p"], ["p/m"])
    assert (
        found.lifetime.reuse_for.ToMilliseconds(),
        found.lifetime.grace.ToMilliseconds(),
        found.lifetime.generation,
        found.lifetime.scope,
    ) == (1500, 0, 42, "acme")
