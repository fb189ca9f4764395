"""Accounts, users' tokens and operators over real gRPC, with a real database."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import timestamp_pb2

from headrace.audit.v1 import audit_service_pb2, audit_service_pb2_grpc
from headrace.auth.v1 import (
    account_pb2,
    account_pb2_grpc,
    auth_service_pb2,
    auth_service_pb2_grpc,
    token_pb2_grpc,
)
from headrace.auth.v1 import token_pb2 as pb
from headrace.common.v1 import actor_pb2
from kit.errors import GatewayError, Reason
from services.auth.app import build
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RUN, READ, EDIT = pb.PERMISSION_AI_GATEWAY_RUN, pb.PERMISSION_AI_GATEWAY_READ, pb.PERMISSION_AI_GATEWAY_EDIT
OPERATOR = pb.PERMISSION_OPERATOR
ACTOR = actor_pb2.Actor(token_id="boss", token_name="Boss", address="192.0.2.1", interface="api")


class _Client:
    """What a test asks of auth."""

    def __init__(self, one: OneService) -> None:
        self.one = one
        self.accounts: Any = account_pb2_grpc.AccountServiceStub(one.channel("edge"))
        self.tokens: Any = token_pb2_grpc.TokenServiceStub(one.channel("edge"))
        self.auth: Any = auth_service_pb2_grpc.AuthServiceStub(one.channel("edge"))
        self.audit: Any = audit_service_pb2_grpc.AuditServiceStub(one.channel("edge"))

    async def make(self, account_id: str, **spec: Any) -> account_pb2.Account:
        request = account_pb2.CreateAccountRequest(
            account_id=account_id, spec=account_pb2.AccountSpec(**spec), actor=ACTOR
        )
        answer: account_pb2.CreateAccountResponse = await self.accounts.CreateAccount(request, timeout=5)
        return answer.account

    async def delete(self, account_id: str) -> None:
        request = account_pb2.DeleteAccountRequest(account_id=account_id, actor=ACTOR)
        await self.accounts.DeleteAccount(request, timeout=5)

    async def token(
        self, owner: pb.TokenOwner, *grants: tuple[str, list[Any]], **spec: Any
    ) -> pb.CreateTokenResponse:
        given = [pb.Grant(account_id=account, permissions=permissions) for account, permissions in grants]
        request = pb.CreateTokenRequest(
            owner=owner, spec=pb.TokenSpec(name="x", grants=given, **spec), actor=ACTOR
        )
        answer: pb.CreateTokenResponse = await self.tokens.CreateToken(request, timeout=5)
        return answer

    async def who(self, secret: str, account_id: str) -> auth_service_pb2.AuthenticateResponse:
        request = auth_service_pb2.AuthenticateRequest(account_id=account_id, token=secret)
        answer: auth_service_pb2.AuthenticateResponse = await self.auth.Authenticate(request, timeout=5)
        return answer

    async def allowed(self, secret: str, account_id: str) -> list[int] | None:
        """Give the permissions on an account, or None when the token is refused."""
        try:
            return list((await self.who(secret, account_id)).principal.permissions)
        except GatewayError as error:
            if error.reason is not Reason.UNAUTHENTICATED:
                raise
            return None


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[_Client]:
    env = {
        "HEADRACE_DATA_DIR": str(tmp_path / "data"),
        "HEADRACE_ACCOUNT": "acme",
        "HEADRACE_AUTH_LAST_USE_EVERY_S": "0.05",
    }
    async with serve(build, env) as one:
        yield _Client(one)


async def _reason(call: Any) -> Reason:
    with pytest.raises(GatewayError) as caught:
        await call
    return caught.value.reason


async def test_accounts_are_made_listed_changed_and_deleted(client: _Client) -> None:
    """Each call answers with the account as it is, and lists show those that are there."""
    made = await client.make("beta", name="Beta Ltd", unified=True)
    spec = account_pb2.AccountSpec(name="Beta")
    changed = await client.accounts.UpdateAccount(
        account_pb2.UpdateAccountRequest(account_id="beta", spec=spec), timeout=5
    )
    found = await client.accounts.GetAccount(account_pb2.GetAccountRequest(account_id="beta"), timeout=5)
    listed = await client.accounts.ListAccounts(account_pb2.ListAccountsRequest(), timeout=5)
    await client.delete("beta")
    left = await client.accounts.ListAccounts(account_pb2.ListAccountsRequest(), timeout=5)
    request = account_pb2.ListAccountsRequest(include_deleted=True)
    ever = await client.accounts.ListAccounts(request, timeout=5)

    assert ("beta", "Beta Ltd", True) == (made.id, made.spec.name, made.spec.unified)
    assert (spec, found.account) == (changed.account.spec, changed.account)
    assert (["acme", "beta"], 2) == ([each.id for each in listed.accounts], listed.total_count)
    assert (["acme"], 1) == ([each.id for each in left.accounts], left.total_count)
    assert [("acme", False), ("beta", True)] == [
        (each.id, each.HasField("delete_time")) for each in ever.accounts
    ]
    assert 2 == ever.total_count
    # The environment is for the account of the installation itself; nothing else is set up.
    assert [["env"], []] == [list(each.reference_kinds) for each in listed.accounts]


async def test_what_cannot_be_done_to_accounts(client: _Client) -> None:
    """Each refusal has its reason; the account of the installation stays."""
    await client.make("beta")
    await client.make("gone")
    await client.delete("gone")

    assert Reason.CONFLICT == await _reason(client.make("beta"))
    assert Reason.CONFLICT == await _reason(client.make("gone"))
    assert Reason.INVALID_REQUEST == await _reason(client.make("a b"))
    assert Reason.INVALID_REQUEST == await _reason(client.make("c", name="x" * 121))
    assert Reason.CONFLICT == await _reason(client.delete("acme"))
    assert Reason.NOT_FOUND == await _reason(client.delete("gone"))
    assert Reason.NOT_FOUND == await _reason(client.token(pb.TokenOwner(account_id="gone")))


async def test_a_users_token_allows_on_each_account_what_it_says(client: _Client) -> None:
    """It is good for the accounts that it names, and for nothing there that it does not."""
    await client.make("beta")
    await client.make("third")
    owner = pb.TokenOwner(user_id="ann@example.com")
    made = await client.token(owner, ("acme", [RUN, READ]), ("beta", [EDIT]))
    itself = (await client.who(made.secret, "")).principal

    assert [[RUN, READ], [EDIT], None, None] == [
        await client.allowed(made.secret, account) for account in ("acme", "beta", "third", "nobody")
    ]
    assert ("ann@example.com", "", []) == (itself.user_id, itself.account_id, list(itself.permissions))


async def test_an_operators_token_is_good_for_every_account_that_exists(client: _Client) -> None:
    """It reads and changes everything everywhere, and runs requests where that was granted alone."""
    await client.make("beta")
    first = (client.one.settings.data_dir / "token").read_text().strip()
    before = await client.allowed(first, "beta")
    await client.make("later")
    after = await client.allowed(first, "later")
    await client.delete("beta")

    assert [READ, EDIT, OPERATOR] == before == after
    assert [RUN, READ, EDIT, pb.PERMISSION_WORKERS_AI_READ, OPERATOR] == await client.allowed(first, "acme")
    assert await client.allowed(first, "beta") is None
    assert await client.allowed(first, "nobody") is None


async def test_a_deleted_account_authenticates_nothing(client: _Client) -> None:
    """Its own tokens are gone, and users' are no good there; everything else goes on."""
    await client.make("beta")
    own = await client.token(pb.TokenOwner(account_id="beta"))
    users = await client.token(pb.TokenOwner(user_id="ann"), ("acme", [RUN]), ("beta", [RUN]))
    async with aclosing(client.auth.Watch(auth_service_pb2.WatchRequest())) as watch:
        await anext(watch)
        await client.delete("beta")
        event = await asyncio.wait_for(anext(watch), 5)

    assert "" == event.invalidation.scope
    assert [None, None, None, [RUN]] == [
        await client.allowed(own.secret, "beta"),
        await client.allowed(own.secret, ""),
        await client.allowed(users.secret, "beta"),
        await client.allowed(users.secret, "acme"),
    ]


async def test_a_token_is_changed_rolled_and_revoked(client: _Client) -> None:
    """Each takes effect at once; the id stays, the old secret does not."""
    owner = pb.TokenOwner(account_id="acme")
    made = await client.token(owner)
    spec = pb.TokenSpec(
        name="narrow",
        grants=[pb.Grant(account_id="acme", permissions=[READ])],
        restrictions=pb.Restrictions(addresses=["10.0.0.0/8"], forbidden_addresses=["10.1.0.0/16"]),
    )
    name = made.token.id
    changed = await client.tokens.UpdateToken(
        pb.UpdateTokenRequest(owner=owner, token_id=name, spec=spec), timeout=5
    )
    after_change = (await client.who(made.secret, "acme")).principal
    rolled = await client.tokens.RollToken(pb.RollTokenRequest(owner=owner, token_id=name), timeout=5)
    old, new = await client.allowed(made.secret, "acme"), await client.allowed(rolled.secret, "acme")
    await client.tokens.RevokeToken(pb.RevokeTokenRequest(owner=owner, token_id=name), timeout=5)
    found = await client.tokens.GetToken(pb.GetTokenRequest(owner=owner, token_id=name), timeout=5)

    assert ([READ], spec.restrictions) == (list(after_change.permissions), after_change.restrictions)
    assert ("narrow", name) == (changed.token.name, rolled.token.id)
    assert (None, [READ], None) == (old, new, await client.allowed(rolled.secret, "acme"))
    assert found.token.HasField("revoke_time")


async def test_a_token_can_be_switched_off_and_on(client: _Client) -> None:
    """While it is disabled, or before its time, it is refused; then it is good again."""
    owner = pb.TokenOwner(account_id="acme")
    made = await client.token(owner, disabled=True)
    found = [await client.allowed(made.secret, "acme")]
    tomorrow = timestamp_pb2.Timestamp()
    tomorrow.GetCurrentTime()
    tomorrow.seconds += 86_400
    for spec in (
        pb.TokenSpec(name="x"),
        pb.TokenSpec(name="x", not_before_time=tomorrow),
        pb.TokenSpec(name="x"),
    ):
        request = pb.UpdateTokenRequest(owner=owner, token_id=made.token.id, spec=spec)
        await client.tokens.UpdateToken(request, timeout=5)
        found.append(await client.allowed(made.secret, "acme"))

    assert [None, [RUN], None, [RUN]] == found


async def test_last_use_is_noted_in_the_background(client: _Client) -> None:
    """A use shows soon; to ask about a token writes nothing by itself."""
    owner = pb.TokenOwner(account_id="acme")
    made = await client.token(owner)
    request = pb.GetTokenRequest(owner=owner, token_id=made.token.id)
    before = (await client.tokens.GetToken(request, timeout=5)).token
    await client.who(made.secret, "acme")
    token = before
    async with asyncio.timeout(10):
        while not token.HasField("last_use_time"):
            await asyncio.sleep(0.02)
            token = (await client.tokens.GetToken(request, timeout=5)).token

    assert not before.HasField("last_use_time")
    assert token.last_use_time.seconds >= token.create_time.seconds
    assert token.update_time == token.create_time


async def test_a_stop_stores_the_last_uses(tmp_path: Path) -> None:
    """What was noted shortly before a stop is there after it."""
    env = {"HEADRACE_DATA_DIR": str(tmp_path), "HEADRACE_AUTH_LAST_USE_EVERY_S": "3600"}
    owner = pb.TokenOwner(account_id="local")
    async with serve(build, env) as one:
        client = _Client(one)
        made = await client.token(owner)
        await client.who(made.secret, "local")
    async with serve(build, env) as one:
        request = pb.GetTokenRequest(owner=owner, token_id=made.token.id)
        token = (await _Client(one).tokens.GetToken(request, timeout=5)).token

    assert token.HasField("last_use_time")


async def test_changes_can_be_listed(client: _Client) -> None:
    """Who did what to whom stands in the audit log of the account, without a secret."""
    await client.make("beta", name="Beta")
    made = await client.token(pb.TokenOwner(account_id="beta"))
    request = audit_service_pb2.ListAuditEntriesRequest(account_id="beta")
    answer = await client.audit.ListAuditEntries(request, timeout=5)
    token, account = answer.entries

    assert (2, "create", "token", made.token.id) == (
        answer.total_count,
        token.action,
        token.resource_type,
        token.resource_id,
    )
    assert [ACTOR, ACTOR] == [token.actor, account.actor]
    assert "Beta" == json.loads(account.new_json)["name"]
    assert made.secret[16:] not in str(answer)
