"""The audit logs of several services as one."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headrace.audit.v1 import audit_service_pb2 as pb
from headrace.auth.v1 import token_pb2
from headrace.common.v1 import actor_pb2
from kit.errors import GatewayError, Reason
from services.edge.management.audit_logs import AuditLogs
from tests.fakes.management_peers import FakeManagementPeers, run

PATH = "/accounts/{account_id}/audit_logs"
ADMIN = token_pb2.Token(id="t1", owner=token_pb2.TokenOwner(account_id="acme"))


def name(number: int) -> str:
    return str(uuid.UUID(int=number))


def entry(number: int, **members: Any) -> pb.AuditEntry:
    return pb.AuditEntry(
        id=name(number), account_id="acme", action=members.pop("action", "create"), **members
    )


def two_logs(count: int = 10) -> FakeManagementPeers:
    """Entries 1 to count, of which the first service has every third."""
    entries = [entry(number, action="update" if number % 2 else "create") for number in range(1, count + 1)]
    return FakeManagementPeers(audits=[entries[::3], [each for at, each in enumerate(entries) if at % 3]])


async def listed(
    there: FakeManagementPeers, query: dict[str, Any], *, most: int = 1000
) -> tuple[list[int], int]:
    rows = AuditLogs(there.typed, most=most).operations()
    found = await run(rows, "GET", PATH, by=ADMIN, query=query, account_id="acme")
    return [uuid.UUID(each["id"]).int for each in found.items], found.total


@pytest.mark.parametrize("direction", ["desc", "asc"])
@pytest.mark.parametrize("per_page", [1, 3, 10, 11])
async def test_pages_follow_each_other(direction: str, per_page: int) -> None:
    """Every entry of both services stands on exactly one page, in order of time; then come empty pages."""
    there = two_logs()
    pages = [
        await listed(there, {"direction": direction, "per_page": per_page, "page": page})
        for page in range(1, 13)
    ]
    in_order = [*range(1, 11)] if direction == "asc" else [*range(10, 0, -1)]

    assert in_order == [each for items, _ in pages for each in items]
    assert {10} == {total for _, total in pages}
    assert [] == pages[-1][0]


async def test_filters_of_the_services() -> None:
    """What services filter by is theirs to filter, and counts."""
    assert ([10, 8, 6, 4, 2], 5) == await listed(two_logs(), {"action.type": "create"})
    assert ([9, 7], 5) == await listed(two_logs(), {"action[type]": "update", "per_page": 2})


async def test_filters_by_who() -> None:
    """By user, token, address and network, whichever service has the entry."""
    ann = actor_pb2.Actor(user_id="ann@example.com", token_id="t1", address="192.0.2.7")
    bob = actor_pb2.Actor(token_id="t2", address="2001:db8::1")
    shell = actor_pb2.Actor(interface="cli")
    there = FakeManagementPeers(
        audits=[[entry(1, actor=ann), entry(4, actor=shell)], [entry(2, actor=bob), entry(3, actor=ann)]]
    )
    found = [
        await listed(there, query)
        for query in (
            {"actor.email": "ann@example.com"},
            {"actor[id]": "t2"},
            {"actor.ip": "192.0.2.7"},
            {"actor.ip": "2001:db8::/32"},
            {"actor.ip": "192.0.2.0/24", "page": 2, "per_page": 1},
        )
    ]

    assert [([3, 1], 2), ([2], 1), ([3, 1], 2), ([2], 1), ([1], 2)] == found


async def test_one_by_its_id() -> None:
    """An id finds its entry in whichever service; another finds nothing."""
    there = two_logs()

    assert [([4], 1), ([5], 1), ([], 0), ([], 0), ([], 0)] == [
        await listed(there, {"id": each})
        for each in (name(4), name(5), name(99), "nope", str(uuid.UUID(int=2**128 - 1)))
    ]


async def test_a_page_far_back_is_refused() -> None:
    """One answer looks at so many entries and no more, and says what to do."""
    with pytest.raises(GatewayError) as caught:
        await listed(two_logs(), {"actor.id": "nobody"}, most=5)

    assert (Reason.INVALID_REQUEST, "query.since") == (caught.value.reason, caught.value.metadata["param"])


async def test_no_more_is_asked_for_than_a_page_needs() -> None:
    """The first page of a long log takes one question beside the count from each service."""
    there = two_logs(500)
    await listed(there, {"per_page": 20})

    assert [2, 2] == [each.asked for each in there.audits]


async def test_what_an_entry_looks_like() -> None:
    """Members are those of the public product's first version; what is not known is null or left out."""
    made = entry(
        7,
        actor=actor_pb2.Actor(
            token_id="t1", token_name="ci", user_id="ann@example.com", address="192.0.2.7", interface="api"
        ),
        resource_type="gateway",
        resource_id="g",
        gateway_id="g",
        new_json='{"cache_ttl":5}',
    )
    rows = AuditLogs(FakeManagementPeers(audits=[[made]]).typed).operations()
    (shown,) = (await run(rows, "GET", PATH, by=ADMIN, account_id="acme")).items

    assert {
        "id": name(7),
        "action": {"type": "create", "result": True},
        "actor": {
            "id": "ann@example.com", "email": "ann@example.com", "ip": "192.0.2.7", "type": "user",
        },
        "interface": "API",
        "metadata": {"gateway_id": "g", "token_id": "t1", "token_name": "ci"},
        "newValue": '{"cache_ttl":5}',
        "newValueJson": {"cache_ttl": 5},
        "oldValue": "",
        "oldValueJson": None,
        "owner": {"id": "acme"},
        "resource": {"id": "g", "type": "gateway"},
        "when": "1970-01-01T00:00:00.000Z",
    } == shown  # fmt: skip
