"""Auth's messages as core types, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import timestamp_pb2

from headrace.auth.v1 import auth_service_pb2, token_pb2
from kit.errors import GatewayError, Reason
from services.auth import convert
from services.auth.core.authentication import Authenticated, Reuse
from services.auth.core.token import Grant, Owner, Permission, Restrictions, Token, TokenSpec

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SPEC = TokenSpec(
    name="mine",
    grants=(
        Grant(account_id="acme", permissions=tuple(Permission)),
        Grant(account_id="other", permissions=(Permission.AI_GATEWAY_READ,)),
    ),
    restrictions=Restrictions(
        gateway_ids=("g",),
        providers=("p",),
        models=("p/m",),
        addresses=("10.0.0.0/8",),
        forbidden_addresses=("10.1.0.0/16",),
    ),
    not_before=NOW,
    expires_at=NOW + timedelta(days=1),
    disabled=True,
)
TOKEN = Token(
    id="abcabcabcabc",
    owner=Owner(user_id="ann"),
    spec=SPEC,
    created_at=NOW,
    updated_at=NOW + timedelta(seconds=1),
    revoked_at=NOW + timedelta(seconds=2),
    last_used_at=NOW + timedelta(seconds=3),
)


def test_a_token_is_written_and_read_without_loss() -> None:
    """What is chosen about a token comes back from its message as it was."""
    message = convert.token(TOKEN)
    fields = ("name", "grants", "restrictions", "not_before_time", "expire_time", "disabled")
    spec = token_pb2.TokenSpec(**{field: getattr(message, field) for field in fields})

    assert SPEC == convert.token_spec(spec)
    assert (TOKEN.id, TOKEN.owner) == (message.id, convert.owner(message.owner))
    assert (TOKEN.created_at, TOKEN.updated_at, TOKEN.revoked_at, TOKEN.last_used_at) == tuple(
        stamp.ToDatetime(tzinfo=UTC)
        for stamp in (message.create_time, message.update_time, message.revoke_time, message.last_use_time)
    )


def test_what_is_not_known_is_absent() -> None:
    """No time stands for "never", and none is the beginning of 1970."""
    plain = Token(
        id="x",
        owner=Owner(account_id="acme"),
        spec=TokenSpec(name="x", grants=()),
        created_at=NOW,
        updated_at=NOW,
    )
    message = convert.token(plain)

    assert {"id", "owner", "name", "restrictions", "create_time", "update_time"} == {
        field.name for field, _ in message.ListFields()
    }
    assert TokenSpec(name="x", grants=()) == convert.token_spec(token_pb2.TokenSpec(name="x"))


def test_every_permission_has_its_message() -> None:
    """No permission of the contract is unknown here, and none of ours is unknown there."""
    numbers = [number for number in token_pb2.Permission.values() if number != 0]
    spec = token_pb2.TokenSpec(grants=[token_pb2.Grant(account_id="acme", permissions=numbers)])

    assert tuple(Permission) == convert.token_spec(spec).grants[0].permissions


@pytest.mark.parametrize("number", [0, 6, 99, -1])
def test_unknown_permissions_are_refused(number: int) -> None:
    """A permission that does not exist is not silently dropped."""
    grant = token_pb2.Grant(account_id="acme", permissions=[number])  # type: ignore[list-item]  # the wire allows any number
    with pytest.raises(GatewayError) as caught:
        convert.token_spec(token_pb2.TokenSpec(grants=[grant]))

    assert (Reason.INVALID_REQUEST, "grants") == (caught.value.reason, caught.value.metadata["param"])


@pytest.mark.parametrize("field", ["not_before_time", "expire_time"])
@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (1, -5), (2**40, 2**31 - 1)])
def test_what_is_no_time_is_refused(field: str, seconds: int, nanos: int) -> None:
    """Numbers outside of the calendar are a malformed request."""
    stamp = timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)
    with pytest.raises(GatewayError) as caught:
        convert.token_spec(token_pb2.TokenSpec(**{field: stamp}))  # type: ignore[arg-type]  # one of two fields

    assert (Reason.INVALID_REQUEST, field) == (caught.value.reason, caught.value.metadata["param"])


@pytest.mark.parametrize(("number", "expected"), [(0, 100), (1, 1), (1000, 1000)])
def test_page_sizes(number: int, expected: int) -> None:
    """Zero means the default."""
    assert expected == convert.page_size(number)


@pytest.mark.parametrize("number", [-1, 1001, 2**31 - 1])
def test_other_page_sizes_are_refused(number: int) -> None:
    """A page is bounded."""
    with pytest.raises(GatewayError) as caught:
        convert.page_size(number)

    assert "page_size" == caught.value.metadata["param"]


@pytest.mark.parametrize("number", [-1, 2**63 - 1])
def test_other_offsets_are_refused(number: int) -> None:
    """An offset is one that every database takes."""
    with pytest.raises(GatewayError) as caught:
        convert.offset(number)

    assert "offset" == caught.value.metadata["param"]


def test_an_answer_carries_principal_and_lifetime() -> None:
    """Who it is, what they may do there, for how long that holds and what takes it back."""
    good = Authenticated(token=TOKEN, account_id="other", permissions=(Permission.AI_GATEWAY_READ,))
    found = convert.authenticated(good, Reuse(reuse_for_s=1.5, grace_s=0), 42)
    expected = auth_service_pb2.Principal(
        account_id="other",
        token_id="abcabcabcabc",
        token_name="mine",
        permissions=[token_pb2.PERMISSION_AI_GATEWAY_READ],
        restrictions=convert.token(TOKEN).restrictions,
        user_id="ann",
    )

    assert expected == found.principal
    assert (1500, 0, 42, "other") == (
        found.lifetime.reuse_for.ToMilliseconds(),
        found.lifetime.grace.ToMilliseconds(),
        found.lifetime.generation,
        found.lifetime.scope,
    )
