"""Tokens, accounts and the audit log through the public product's own Python SDK."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import cloudflare
import pytest
from cloudflare import Cloudflare

from tests.e2e.tenants import GATEWAY
from tests.e2e.topologies import one_topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.stack import Stack

topology = one_topology

RUN, READ, EDIT = "AI Gateway Run", "AI Gateway Read", "AI Gateway Write"
USER = "eve@example.com"


@pytest.fixture
def connect(stack: Stack) -> Iterator[Callable[[str], Cloudflare]]:
    """Give what makes SDKs for tokens; an answer that does not fit the SDK's own types is an error."""
    made: list[Cloudflare] = []

    def new(token: str) -> Cloudflare:
        client = Cloudflare(
            base_url=f"{stack.base_url}/client/v4",
            api_token=token,
            max_retries=0,
            _strict_response_validation=True,
        )
        made.append(client)
        return client

    yield new
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[[str], Cloudflare], stack: Stack) -> Cloudflare:
    """Give the SDK with the operator's token."""
    return connect(stack.token)


@pytest.fixture
def account(client: Cloudflare) -> Iterator[str]:
    """Give an account of the test's own."""
    made = client.accounts.create(name=f"Team {uuid.uuid4().hex[:8]}", type="standard")
    assert made is not None
    yield made.id
    client.accounts.delete(account_id=made.id)


def groups(client: Cloudflare, account: str) -> dict[str, str]:
    """Give the ids of permission groups by name, as clients find them."""
    listed = client.accounts.tokens.permission_groups.list(account_id=account)
    return {str(group.name): str(group.id) for group in listed}


def allow(client: Cloudflare, account: str, *names: str) -> Any:
    """Write policies as the SDK's users do, with ids that were looked up."""
    ids = groups(client, account)
    resources = {f"com.cloudflare.api.account.{account}": "*"}
    return [
        {
            "effect": "allow",
            "permission_groups": [{"id": ids[name]} for name in names],
            "resources": resources,
        }
    ]


def test_a_token_from_making_to_revoking(
    client: Cloudflare, connect: Callable[[str], Cloudflare], account: str
) -> None:
    """A token of an account is made, verified, listed, shown, replaced, rolled and revoked."""
    tokens = client.accounts.tokens
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    made = tokens.create(
        account_id=account,
        name="ci",
        policies=allow(client, account, READ, EDIT),
        condition={"request_ip": {"in": ["127.0.0.0/8", "::1/128"], "not_in": ["127.0.0.9/32"]}},
        expires_on=expiry,
    )
    assert made is not None
    assert made.id is not None
    own = connect(str(made.value))
    verified = own.accounts.tokens.verify(account_id=account)
    assert verified is not None
    assert (made.id, "active", expiry) == (verified.id, verified.status, verified.expires_on)
    shown = tokens.get(made.id, account_id=account)
    assert shown is not None
    assert ("ci", "active", expiry) == (shown.name, shown.status, shown.expires_on)
    assert shown.condition is not None
    assert shown.condition.request_ip is not None
    assert ["127.0.0.9/32"] == shown.condition.request_ip.not_in
    assert [[READ, EDIT]] == [
        [group.name for group in each.permission_groups] for each in shown.policies or []
    ]
    assert [made.id] == [each.id for each in tokens.list(account_id=account)]
    replaced = tokens.update(made.id, account_id=account, name="cd", policies=allow(client, account, READ))
    assert replaced is not None
    assert ("cd", None, None) == (replaced.name, replaced.condition, replaced.expires_on)
    rolled = tokens.value.update(made.id, account_id=account)
    assert rolled.startswith(f"hr_{made.id}_")
    assert rolled != made.value
    refused(own)
    again = connect(rolled)
    works(again)
    with pytest.raises(cloudflare.PermissionDeniedError):
        again.accounts.tokens.create(account_id=account, name="x", policies=allow(client, account, READ))
    deleted = tokens.delete(made.id, account_id=account)
    assert deleted is not None
    assert made.id == deleted.id
    refused(again)
    with pytest.raises(cloudflare.NotFoundError):
        tokens.get(made.id, account_id=account)


def test_a_token_switched_off_and_on(
    client: Cloudflare, connect: Callable[[str], Cloudflare], account: str
) -> None:
    """A disabled token does not work until it is active again."""
    policies = allow(client, account, READ)
    made = client.accounts.tokens.create(account_id=account, name="t", policies=policies)
    assert made is not None
    own = connect(str(made.value))
    works(own)
    for status, then in (("disabled", refused), ("active", works)):
        client.accounts.tokens.update(
            str(made.id),
            account_id=account,
            name="t",
            policies=policies,
            status=status,  # type: ignore[arg-type]  # one of those
        )
        then(own)


def test_pages_of_tokens(client: Cloudflare, account: str) -> None:
    """The SDK goes through all pages by itself, in both orders."""
    policies = allow(client, account, RUN)
    names = [f"t{number}" for number in range(5)]
    for name in names:
        client.accounts.tokens.create(account_id=account, name=name, policies=policies)
    found = {
        direction: [
            each.name
            for each in client.accounts.tokens.list(account_id=account, per_page=2, direction=direction)
        ]
        for direction in ("asc", "desc")
    }

    assert {"asc": names, "desc": names[::-1]} == found


def test_permission_groups(client: Cloudflare, connect: Callable[[str], Cloudflare], account: str) -> None:
    """They are found by name and by scope, and say what the caller may give."""
    listing = client.accounts.tokens.permission_groups
    (found,) = listing.list(
        account_id=account, name="AI%20Gateway%20Read", scope="com.cloudflare.api.account"
    )
    made = client.accounts.tokens.create(account_id=account, name="t", policies=allow(client, account, RUN))
    assert made is not None
    own = connect(str(made.value)).user.tokens.permission_groups.list()

    assert (READ, ["com.cloudflare.api.account"], True) == (found.name, found.scopes, found.is_selectable)
    assert 5 == len(listing.get(account_id=account) or [])
    assert [RUN] == [each.name for each in own if each.is_selectable]


def test_a_users_tokens(client: Cloudflare, connect: Callable[[str], Cloudflare], account: str) -> None:
    """An operator makes a user's first token for two accounts; with it the user makes and revokes more."""
    other = client.accounts.create(name="Other")
    assert other is not None
    policies: Any = [*allow(client, account, RUN, READ, EDIT), *allow(client, other.id, READ)]
    first = client.user.tokens.create(name="first", policies=policies, extra_query={"user_id": USER})
    assert first is not None
    own = connect(str(first.value))
    assert {account, other.id} == {each.id for each in own.accounts.list()}
    more = own.user.tokens.create(name="more", policies=allow(own, account, RUN))
    assert more is not None
    works(connect(str(more.value)))
    with pytest.raises(cloudflare.PermissionDeniedError):
        own.user.tokens.create(name="x", policies=allow(own, other.id, READ))
    assert ["more", "first"] == [each.name for each in own.user.tokens.list()]
    rolled = own.user.tokens.value.update(str(more.id))
    works(connect(rolled))
    renamed = own.user.tokens.update(str(more.id), name="less", policies=allow(own, account, RUN))
    assert renamed is not None
    assert "less" == renamed.name
    own.user.tokens.delete(str(more.id))
    refused(connect(rolled))
    with pytest.raises(cloudflare.NotFoundError):
        own.user.tokens.get(str(more.id))
    client.accounts.delete(account_id=other.id)
    assert {account} == {each.id for each in own.accounts.list()}


def test_accounts(client: Cloudflare, connect: Callable[[str], Cloudflare], stack: Stack) -> None:
    """An account is made, listed, renamed and deleted; then nothing of it works, nor is its id used again."""
    name = f"acme-{uuid.uuid4().hex[:8]}"
    made = client.accounts.create(name="Acme", type="standard", extra_body={"id": name, "unified": True})
    assert made is not None
    assert (name, "Acme", "standard") == (made.id, made.name, made.type)
    with pytest.raises(cloudflare.ConflictError):
        client.accounts.create(name="Acme", extra_body={"id": name})
    renamed = client.accounts.update(account_id=name, id=name, name="Acme Inc", type="standard")
    assert renamed is not None
    assert ("Acme Inc", True) == (renamed.name, renamed.to_dict()["unified"])
    assert [name] == [each.id for each in client.accounts.list(name="Acme Inc") if each.id == name]
    every = [each.id for each in client.accounts.list(per_page=2)]
    assert every == sorted(every)
    assert {name, stack.account} <= set(every)
    gateway: Any = {"id": "g", **GATEWAY}
    client.ai_gateway.create(account_id=name, **gateway)
    token = client.accounts.tokens.create(account_id=name, name="t", policies=allow(client, name, RUN))
    assert token is not None
    own = connect(str(token.value))
    works(own)
    deleted = client.accounts.delete(account_id=name)
    assert deleted is not None
    assert name == deleted.id
    refused(own)
    with pytest.raises(cloudflare.ConflictError):
        client.accounts.create(name="Acme", extra_body={"id": name})


def test_the_first_account_stays(client: Cloudflare, stack: Stack) -> None:
    """The account of the installation itself is not deleted, and nothing of it either."""
    before = [each.id for each in client.ai_gateway.list(account_id=stack.account)]
    with pytest.raises(cloudflare.ConflictError):
        client.accounts.delete(account_id=stack.account)

    assert before == [each.id for each in client.ai_gateway.list(account_id=stack.account)]


def test_the_audit_log(client: Cloudflare, connect: Callable[[str], Cloudflare], account: str) -> None:
    """Changes of tokens, which auth keeps, and of gateways, which router keeps, are in one log."""
    made = client.accounts.tokens.create(
        account_id=account, name="ci", policies=allow(client, account, READ, EDIT)
    )
    assert made is not None
    own = connect(str(made.value))
    gateway: Any = {"id": "g", **GATEWAY}
    changed: Any = {**GATEWAY, "cache_ttl": 7}
    own.ai_gateway.create(account_id=account, **gateway)
    own.ai_gateway.update("g", account_id=account, **changed)
    rolled = client.accounts.tokens.value.update(str(made.id), account_id=account)
    own.close()
    client.ai_gateway.delete("g", account_id=account)

    found = list(client.audit_logs.list(account_id=account, direction="asc", per_page=2))
    told = [(each.action.type, each.resource.type) for each in found if each.action and each.resource]
    assert [
        ("create", "account"), ("create", "token"), ("create", "gateway"), ("update", "gateway"),
        ("roll", "token"), ("delete", "gateway"),
    ] == told  # fmt: skip
    assert found[::-1] == list(client.audit_logs.list(account_id=account))
    change = found[3]
    assert change.actor is not None
    assert (made.id, "127.0.0.1", "API") == (change.actor.id, change.actor.ip, change.interface)
    before, after = change.to_dict()["oldValueJson"], change.to_dict()["newValueJson"]
    assert {"cache_ttl"} <= {name for name in before if before[name] != after[name]}  # type: ignore[attr-defined, index]  # objects
    text = client.audit_logs.with_raw_response.list(account_id=account).text()
    assert [] == [each for each in (str(made.value), rolled) if each.split("_", 2)[2] in text]
    assert [found[3].id] == [
        each.id for each in client.audit_logs.list(account_id=account, id=str(found[3].id))
    ]
    creations = client.audit_logs.list(
        account_id=account, action={"type": "create"}, actor={"ip": "127.0.0.0/8"}
    )
    assert 3 == len(list(creations))
    assert found[4].when is not None
    # Times are told to the millisecond, in which more may have happened.
    since = list(client.audit_logs.list(account_id=account, since=found[4].when, direction="asc"))
    assert found[4:] == since[-2:]
    assert found[0] not in since
    past = client.audit_logs.list(account_id=account, page=99)
    assert [] == past.result


def works(client: Cloudflare) -> None:
    """Wait until a token works."""
    _until(client, works=True)


def refused(client: Cloudflare) -> None:
    """Wait until a token does not work."""
    _until(client, works=False)


def _until(client: Cloudflare, *, works: bool) -> None:
    deadline = time.monotonic() + 10
    while _verifies(client) is not works:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _verifies(client: Cloudflare) -> bool:
    try:
        client.user.tokens.verify()
    except cloudflare.AuthenticationError:
        return False
    return True
