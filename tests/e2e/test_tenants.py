"""
Two tenants and everybody else: which token gets which answer from which operation, cell by cell.

The matrix is what is promised, written down. An operation that is not in it fails a test.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

import pytest

from services.edge.management.api import operations_of
from tests.e2e.calls import call, chat_body
from tests.e2e.tenant_matrix import DATA_PLANE, MANAGEMENT, TOKENS
from tests.e2e.tenants import (
    ELEMENTS,
    GATEWAY,
    USER,
    A,
    B,
    Rest,
    Tenancy,
    policy,
    settings_up,
    token_of,
    unique,
    until,
)
from tests.e2e.topologies import one_topology

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from services.edge.management.operation import Operation
    from tests.e2e.calls import Answer
    from tests.fakes.stack import Stack, Topology

topology = one_topology

_PREFIXES: Final = ("aig-config-", "accounts-", "audit-logs-", "permission-groups-")


def name_of(operation_id: str) -> str:
    """Give an operation's name in the matrix."""
    name = operation_id.replace("-api-tokens-", "-tokens-")
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


OPERATIONS: Final = {name_of(each.id): each for each in operations_of(cast("Any", None))}


def names_a_thing(path: str) -> bool:
    """Say whether a path under an account names something by an id that is not the client's choice."""
    return path.startswith("/accounts/") and ("{id}" in path or "{token_id}" in path)


def is_list(operation: Operation) -> bool:
    """Say whether an operation lists what an account has."""
    return (
        operation.path.startswith("/accounts") and operation.method == "GET" and operation.query is not None
    )


_SCOPED: Final = {"policies": [policy("AI Gateway Write", account=A)], "restrictions": {"gateways": ["x"]}}
_STRONG: Final = {"policies": [policy("Headrace Operator", account=A)]}
_OF_USER: Final = {"policies": [policy("AI Gateway Read", account=A)]}

# What is sent, where something is.
BODIES: Final[dict[str, Callable[[dict[str, str]], Any]]] = {
    "create-gateway": lambda _: {"id": unique("g"), **GATEWAY},
    "update-gateway": lambda _: GATEWAY,
    "create-providers": lambda _: {
        "provider_slug": "mistral", "alias": unique("a"), "default_config": False, "secret": "sk-" + "k" * 20,
    },
    "update-providers": lambda _: {"weight": 2},
    "create-custom-provider": lambda _: {
        "name": "P", "slug": unique("p"), "base_url": "https://ai.example/v1",
    },
    "update-custom-provider": lambda _: {"name": "Q"},
    "post-gateway-dynamic-route": lambda _: {"name": unique("r"), "elements": ELEMENTS},
    "update-gateway-dynamic-route": lambda _: {"name": unique("r")},
    "post-gateway-dynamic-route-version": lambda _: {"elements": ELEMENTS},
    "post-gateway-dynamic-route-deployment": lambda ids: {"version_id": ids["version"]},
    "simulate-gateway-dynamic-route": lambda _: {},
    "simulate-dynamic-route-draft": lambda _: {"elements": ELEMENTS},
    "patch-gateway-log": lambda _: {"feedback": 1},
    "account-tokens-create-token": lambda _: {"name": unique("t"), **_SCOPED},
    "account-tokens-create-token more": lambda _: {"name": unique("t"), **_STRONG},
    "account-tokens-update-token": lambda _: {"name": unique("t"), **_SCOPED},
    "user-tokens-create-token": lambda _: {"name": unique("t"), **_OF_USER},
    "user-tokens-update-token": lambda _: {"name": unique("t"), **_OF_USER},
    "account-creation": lambda _: {"name": unique("account")},
    "update-account": lambda _: {"name": A, "unified": True},
}  # fmt: skip

# Deletes nothing, so that there are entries for the other rows.
_NO_ENTRIES: Final = urlencode({"filters": '[{"key":"model","operator":"eq","value":["nothing"]}]'})

# Things that the path names by `{id}`.
_KINDS: Final = {"provider_configs": "key", "custom-providers": "provider", "routes": "route", "logs": "log"}


@dataclass(frozen=True, slots=True)
class Tenants:
    """The tenancy of a stack, and a client of it."""

    rest: Rest
    made: Tenancy


@pytest.fixture(scope="session")
def tenancies() -> dict[Topology, Tenancy]:
    """Keep what was made in each stack."""
    return {}


@pytest.fixture
async def tenants(
    topology: Topology,
    stack: Stack,
    session: aiohttp.ClientSession,
    tenancies: dict[Topology, Tenancy],
) -> Tenants:
    """Give the tenancy of the topology's stack, making it on first use."""
    rest = Rest(session, stack)
    if topology not in tenancies:
        tenancies[topology] = await settings_up(rest, stack)
    return Tenants(rest, tenancies[topology])


def test_every_operation_is_in_the_matrix() -> None:
    """There is a row for each operation that the management API has, and for no other."""
    assert set(OPERATIONS) == {row.split()[0] for row in MANAGEMENT}


def test_every_operation_with_a_body_is_sent_one() -> None:
    """What has a body is sent one that is good, so that an answer is about who asks."""
    assert {name for name, each in OPERATIONS.items() if each.body} == {row.split()[0] for row in BODIES}


@pytest.mark.parametrize("row", MANAGEMENT)
async def test_who_gets_what_from_the_management_api(tenants: Tenants, row: str) -> None:
    """Each token gets the status that the matrix says, from one operation."""
    expected = MANAGEMENT[row]
    answers = await asyncio.gather(*(manage(tenants, row, name, expected[name]) for name in TOKENS))

    assert expected == dict(zip(TOKENS, answers, strict=True))


@pytest.mark.parametrize("row", DATA_PLANE)
async def test_who_gets_what_from_the_data_plane(
    tenants: Tenants, stack: Stack, session: aiohttp.ClientSession, row: str
) -> None:
    """Each token gets the status that the matrix says, from a call of a model or the list of models."""
    what, *gateway = row.split()
    base = stack.gateway_url(*gateway or ["x"], account=A)

    async def ask(token: str | None) -> int:
        headers = {} if token is None else {"cf-aig-authorization": f"Bearer {token}"}
        if what == "models":
            return (await call(session, f"{base}/compat/models", method="GET", headers=headers)).status
        path, model = (
            ("compat/chat/completions", "openai/gpt-4o-mini")
            if what == "chat"
            else ("openai/chat/completions", "gpt-4o-mini")
        )
        return (await call(session, f"{base}/{path}", chat_body(model, "hello"), headers=headers)).status

    answers = await asyncio.gather(*(ask(text_of(tenants, name)) for name in TOKENS))

    assert DATA_PLANE[row] == dict(zip(TOKENS, answers, strict=True))


@pytest.mark.parametrize("operation", [name for name, each in OPERATIONS.items() if names_a_thing(each.path)])
async def test_what_is_the_others_is_not_there(tenants: Tenants, operation: str) -> None:
    """With an id of A's in a path of B's, and B's token, each operation says that there is no such thing."""
    ids = {**tenants.made.ids[A], "account": B, "gateway": "x"}
    status = await send(tenants, operation, "b", ids)

    assert 404 == status


async def test_a_version_is_of_its_route(tenants: Tenants) -> None:
    """A version of A's is not there under a route of B's, and cannot be deployed there."""
    ids = {**tenants.made.ids[B], "account": B, "gateway": "x", "version": tenants.made.ids[A]["version"]}
    operations = ("get-gateway-dynamic-route-version", "post-gateway-dynamic-route-deployment")

    assert [404, 404] == [await send(tenants, each, "b", ids) for each in operations]


async def test_what_one_deletes_by_name_the_other_keeps(tenants: Tenants) -> None:
    """B empties a gateway's log and deletes it; A's gateway of that name has its entries and keys still."""
    rest, name = tenants.rest, unique("same")
    base = f"/ai-gateway/gateways/{name}"
    logs: dict[str, str] = {}
    for account, token in ((A, "all"), (B, "b")):
        await rest.made("POST", f"/accounts/{account}/ai-gateway/gateways", {"id": name, **GATEWAY})
        await rest.made("POST", f"/accounts/{account}{base}/provider_configs", BODIES["create-providers"]({}))
        logs[account] = (await rest.chat(account, name, text_of(tenants, token), "hello")).log_id
        path = f"/accounts/{account}{base}/logs/{logs[account]}"
        await until(rest, path, str(text_of(tenants, token)), 200)
    await rest.made("DELETE", f"/accounts/{B}{base}/logs", token=str(text_of(tenants, "b")))
    emptied = await rest("GET", f"/accounts/{B}{base}/logs/{logs[B]}", text_of(tenants, "b"))
    await rest.made("DELETE", f"/accounts/{B}{base}", token=str(text_of(tenants, "b")))
    keys = await rest.made("GET", f"/accounts/{A}{base}/provider_configs")
    kept = [
        (await rest("GET", f"/accounts/{account}{base}{rest_of}", text_of(tenants, "ab"))).status
        for account in (A, B)
        for rest_of in ("", f"/logs/{logs[A]}")
    ]

    assert 404 == emptied.status
    assert 1 == len(keys)
    assert [200, 200, 404, 404] == kept


@pytest.mark.parametrize("token", ["ab", "op"])
async def test_who_may_use_both_keeps_them_apart(tenants: Tenants, token: str) -> None:
    """A token for both accounts finds A's things in A's paths only."""
    names = (
        "fetch-providers",
        "get-custom-provider",
        "get-gateway-dynamic-route",
        "account-tokens-token-details",
    )
    found = {
        account: [
            await send(tenants, name, token, {**tenants.made.ids[A], "account": account, "gateway": "x"})
            for name in names
        ]
        for account in (A, B)
    }

    assert {A: [200] * 4, B: [404] * 4} == found


@pytest.mark.parametrize("operation", [name for name, each in OPERATIONS.items() if is_list(each)])
async def test_lists_show_nothing_of_the_others(tenants: Tenants, operation: str) -> None:
    """No list that B's token gets holds the id of anything of A's, nor A's name."""
    ids = {**tenants.made.ids[B], "account": B, "gateway": "x"}
    answer = await answered(tenants, operation, "b", ids)

    assert 200 == answer.status
    assert [] == [each for each in (A, *tenants.made.ids[A].values()) if each in answer.body.decode()]


def text_of(tenants: Tenants, name: str) -> str | None:
    """Give the text of a token by its name in the matrix."""
    return tenants.made.tokens[name]


async def manage(tenants: Tenants, row: str, name: str, expected: int) -> int:
    """Call an operation with a token, and give the status."""
    return await send(tenants, row, name, await target(tenants, row, expected))


async def send(tenants: Tenants, row: str, name: str, ids: dict[str, str]) -> int:
    """Call an operation about some things with a token, and give the status."""
    return (await answered(tenants, row, name, ids)).status


async def answered(tenants: Tenants, row: str, name: str, ids: dict[str, str]) -> Answer:
    """Call an operation about some things with a token."""
    operation = OPERATIONS[row.split(maxsplit=1)[0]]
    path = operation.path.format(
        account_id=ids["account"],
        gateway_id=ids["gateway"],
        provider="openai",
        token_id=ids["user_token" if operation.path.startswith("/user") else "token"],
        version_id=ids["version"],
        id=next((ids[kind] for part, kind in _KINDS.items() if f"/{part}/" in operation.path), ""),
    )
    if operation.path.startswith("/user") and not operation.path.endswith(("verify", "permission_groups")):
        path = f"{path}?user_id={USER}"
    if operation.method == "DELETE" and path.endswith("/logs"):
        path = f"{path}?{_NO_ENTRIES}"
    body = BODIES.get(row) or BODIES.get(row.split(maxsplit=1)[0])
    sent = body(ids) if body else None
    return await tenants.rest(operation.method, path, text_of(tenants, name), sent)


async def target(tenants: Tenants, row: str, expected: int) -> dict[str, str]:
    """Say what is asked for: what is there, or something new where the call will end or change it."""
    rest = tenants.rest
    operation, *gateway = row.split()
    ids = {"account": A, "gateway": gateway[0] if gateway == ["y"] else "x", **tenants.made.ids[A]}
    if expected == 401 or (expected == 403 and operation == "account-deletion"):
        return ids
    return ids | await _fresh(rest, operation)


async def _fresh(rest: Rest, operation: str) -> dict[str, str]:
    base = f"/accounts/{A}/ai-gateway"
    if operation == "account-deletion":
        return {"account": (await rest.made("POST", "/accounts", {"name": unique("victim")}))["id"]}
    if operation == "delete-gateway":
        made = await rest.made("POST", f"{base}/gateways", {"id": unique("g"), **GATEWAY})
        return {"gateway": made["id"]}
    if operation.startswith("account-tokens-") and operation.endswith(("delete-token", "roll-token")):
        made = await token_of(rest, A, ["AI Gateway Write"], restrictions={"gateways": ["x"]})
        return {"token": made["id"]}
    if operation.startswith("user-tokens-") and operation.endswith(("delete-token", "roll-token")):
        made = await rest.made("POST", f"/user/tokens?user_id={USER}", {"name": unique("t"), **_OF_USER})
        return {"user_token": made["id"]}
    makers = {
        "delete-providers": ("key", f"{base}/gateways/x/provider_configs", "create-providers"),
        "delete-custom-provider": ("provider", f"{base}/custom-providers", "create-custom-provider"),
        "delete-gateway-dynamic-route": ("route", f"{base}/gateways/x/routes", "post-gateway-dynamic-route"),
    }
    if operation not in makers:
        return {}
    kind, path, creation = makers[operation]
    return {kind: (await rest.made("POST", path, BODIES[creation]({})))["id"]}
