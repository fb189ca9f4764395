"""Tokens between messages and the management API's JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ValidationError

from headrace.auth.v1 import token_pb2 as pb
from kit.errors import GatewayError, Reason
from services.edge.management.models.token import TokenBody
from services.edge.wire import permission_group
from services.edge.wire import token as wire

RUN, READ, EDIT = (
    pb.PERMISSION_AI_GATEWAY_RUN,
    pb.PERMISSION_AI_GATEWAY_READ,
    pb.PERMISSION_AI_GATEWAY_EDIT,
)
ROOT = Path(__file__).resolve().parent.parent.parent
NOW = datetime(2026, 3, 1, tzinfo=UTC)
ID_OF = {group.name: group.id for group in permission_group.GROUPS}


def policy(*groups: str, account: str = "acme", **members: Any) -> dict[str, Any]:
    return {
        "effect": "allow",
        "permission_groups": [{"id": ID_OF[group]} for group in groups],
        "resources": {f"com.cloudflare.api.account.{account}": "*"},
        **members,
    }


def body(**members: Any) -> TokenBody:
    return TokenBody.model_validate({"name": "t", "policies": [policy("AI Gateway Run")], **members})


def stamp(*date: int) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime(*date, tzinfo=UTC))  # type: ignore[arg-type, misc]  # year, month, day
    return made


def test_policies_become_grants() -> None:
    """What several policies allow on one account is one grant, in one order."""
    given = body(
        policies=[
            policy("AI Gateway Write", "AI Gateway Run"),
            policy("AI Gateway Read"),
            policy("AI Gateway Read", account="other"),
        ]
    )
    grants = wire.spec(given).grants

    assert [
        pb.Grant(account_id="acme", permissions=[RUN, READ, EDIT]),
        pb.Grant(account_id="other", permissions=[READ]),
    ] == list(grants)


@pytest.mark.parametrize(
    ("group", "permission"),
    [
        ({"name": "AI Gateway Write"}, EDIT),
        ({"name": "AI Gateway Edit"}, EDIT),
        ({"id": ID_OF["AI Gateway Read"], "name": "AI Gateway Read", "meta": {"label": "x"}}, READ),
        ({"name": "Headrace Operator"}, pb.PERMISSION_OPERATOR),
        ({"name": "Workers AI Read"}, pb.PERMISSION_WORKERS_AI_READ),
    ],
)
def test_groups_are_found_by_id_or_name(group: dict[str, Any], permission: pb.Permission.ValueType) -> None:
    """A permission group is named by its id, by its name on the API, or by the name that people see."""
    given = body(policies=[policy(permission_groups=[group])])

    assert [permission] == list(wire.spec(given).grants[0].permissions)


@pytest.mark.parametrize(
    "group",
    [{}, {"id": "0" * 32}, {"name": "Zone Read"}, {"id": ID_OF["AI Gateway Read"], "name": "AI Gateway Run"}],
)
def test_unknown_groups_are_refused(group: dict[str, Any]) -> None:
    """A group that is not there, or whose id and name disagree, is an error that says which it is."""
    given = body(
        policies=[policy("AI Gateway Run"), policy(permission_groups=[{"name": "AI Gateway Run"}, group])]
    )
    with pytest.raises(GatewayError) as caught:
        wire.spec(given)

    assert (Reason.INVALID_REQUEST, "body.policies.1.permission_groups.1") == (
        caught.value.reason,
        caught.value.metadata["param"],
    )


@pytest.mark.parametrize(
    ("members", "path", "says"),
    [
        ({"effect": "deny"}, ("policies", 0, "effect"), "deny"),
        ({"resources": {"com.cloudflare.api.account.zone.x": "*"}}, ("policies", 0, "resources"), ""),
        ({"resources": {"com.cloudflare.api.account.*": "*"}}, ("policies", 0, "resources"), "accounts"),
        ({"resources": {"com.cloudflare.api.account.a": {"x": "*"}}}, ("policies", 0, "resources"), "within"),
        ({"resources": {}}, ("policies", 0, "resources"), ""),
        ({"permission_groups": []}, ("policies", 0, "permission_groups"), ""),
    ],
)
def test_what_policies_cannot_say(members: dict[str, Any], path: tuple[Any, ...], says: str) -> None:
    """Policies that deny, and resources that are no accounts, are refused with a sentence."""
    with pytest.raises(ValidationError) as caught:
        body(policies=[policy("AI Gateway Run", **members)])
    error = caught.value.errors()[0]

    assert path == error["loc"][: len(path)]
    assert says in error["msg"]


def test_an_accounts_token_is_for_its_own_account() -> None:
    """A token of one account is given nothing on another."""
    with pytest.raises(GatewayError) as caught:
        wire.spec(body(policies=[policy("AI Gateway Run", account="other")]), account_id="acme")

    assert "body.policies.0.resources" == caught.value.metadata["param"]


@pytest.mark.parametrize(
    "text", ["2026-12-01T00:00:00Z", "2026-12-01T02:00:00+02:00", "2026-12-01", "2026-12-01T00:00:00"]
)
def test_times_are_taken_as_clients_write_them(text: str) -> None:
    """With a zone, with an offset, without either, or a date alone: UTC unless it says otherwise."""
    made = wire.spec(body(expires_on=text, not_before=text))

    assert (stamp(2026, 12, 1), stamp(2026, 12, 1)) == (made.expire_time, made.not_before_time)


@pytest.mark.parametrize(
    "value", [1764547200, True, "soon", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    """Numbers are no times, nor is what UTC has no year for."""
    with pytest.raises(ValidationError):
        body(expires_on=value)


def test_members_of_ours_stay_when_a_client_does_not_know_them() -> None:
    """A replacement without `status` and `restrictions` leaves both; addresses are the public product's."""
    kept = pb.Token(
        id="t1",
        disabled=True,
        restrictions=pb.Restrictions(
            gateway_ids=["g"], providers=["openai"], models=["openai/m"], addresses=["10.0.0.0/8"]
        ),
    )
    untouched = wire.spec(body(), kept=kept)
    cleared = wire.spec(body(status="active", restrictions=None), kept=kept)

    assert (True, ["g"], ["openai"], ["openai/m"], []) == (
        untouched.disabled,
        list(untouched.restrictions.gateway_ids),
        list(untouched.restrictions.providers),
        list(untouched.restrictions.models),
        list(untouched.restrictions.addresses),
    )
    assert (False, pb.Restrictions()) == (cleared.disabled, cleared.restrictions)


def test_shown_token_is_taken_back() -> None:
    """What a token is shown as can be sent as its replacement, and means the same."""
    token = pb.Token(
        id="t1",
        name="t",
        grants=[pb.Grant(account_id="acme", permissions=[RUN, EDIT])],
        restrictions=pb.Restrictions(
            gateway_ids=["g"], addresses=["10.0.0.0/8"], forbidden_addresses=["10.1.0.0/16"]
        ),
        create_time=stamp(2026, 1, 1),
        update_time=stamp(2026, 1, 2),
        expire_time=stamp(2027, 1, 1),
    )
    shown = wire.shown(token, NOW)
    again = wire.spec(TokenBody.model_validate(shown), account_id="acme")

    assert {"request_ip": {"in": ["10.0.0.0/8"], "not_in": ["10.1.0.0/16"]}} == shown["condition"]
    assert ("2027-01-01T00:00:00.000Z", None) == (shown["expires_on"], shown["last_used_on"])
    assert (token.grants[0], token.restrictions, token.expire_time) == (
        again.grants[0],
        again.restrictions,
        again.expire_time,
    )


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (pb.Token(), "active"),
        (pb.Token(disabled=True, expire_time=stamp(2026, 1, 1)), "disabled"),
        (pb.Token(expire_time=stamp(2026, 3, 1)), "expired"),
        (pb.Token(expire_time=stamp(2026, 3, 2)), "active"),
        (pb.Token(revoke_time=stamp(2026, 1, 1)), "disabled"),
    ],
    ids=["plain", "switched off", "over now", "not over", "revoked"],
)
def test_status(token: pb.Token, expected: str) -> None:
    """A token is over from the moment on that it expires."""
    assert expected == wire.status(token, NOW)


def test_permission_groups_are_fixed() -> None:
    """Ids never change and are thirty-two hexadecimal digits, as clients keep them in files."""
    assert {
        "AI Gateway Run": "6f0c3a5e7d1b4c2f9a8e5b6d4c3f2a10",
        "AI Gateway Read": "1d9b7f4e2c6a4835b0f1e8d7c6a5b420",
        "AI Gateway Write": "a37e5c1f9b2d4e68835a7c0d9e1f4b30",
        "Workers AI Read": "c8421e6fa05d4b97961b3d7e5f8a2c40",
        "Headrace Operator": "e95d8b3c7f1a4062bd4c6e9f0a7b1d50",
    } == ID_OF
    assert all(len(each) == 32 and int(each, 16) for each in ID_OF.values())


def test_permission_groups_are_documented() -> None:
    """The page about tokens has each group's name and id in one row."""
    page = (ROOT / "docs" / "tokens.md").read_text()

    assert [] == [name for name, group_id in ID_OF.items() if f"| `{name}` | `{group_id}` |" not in page]


@pytest.mark.parametrize(
    ("name", "scope", "count"),
    [
        ("", "", 5),
        ("AI Gateway Read", "", 1),
        ("AI%20Gateway%20Edit", "com.cloudflare.api.account", 1),
        ("", "com.cloudflare.api.account.zone", 0),
        ("nope", "", 0),
    ],
)
def test_permission_groups_are_filtered(name: str, scope: str, count: int) -> None:
    """By name and by scope, encoded once or twice."""
    assert count == len(permission_group.shown([], name=name, scope=scope))


def test_every_permission_has_a_group() -> None:
    """A new permission needs a name on the API."""
    assert {number for number in pb.Permission.values() if number} == {
        group.permission for group in permission_group.GROUPS
    }
