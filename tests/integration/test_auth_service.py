"""Auth alone, over real gRPC on a Unix socket, with a real database."""

from __future__ import annotations

import asyncio
import stat
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from google.protobuf import duration_pb2, timestamp_pb2

from headrace.auth.v1 import account_pb2, auth_service_pb2
from headrace.auth.v1 import token_pb2 as pb
from headrace.auth.v1.account_pb2_grpc import AccountServiceStub
from headrace.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from headrace.auth.v1.token_pb2_grpc import TokenServiceStub
from kit.audit import AuditQuery
from kit.clock import SystemClock
from kit.config import ConfigError
from kit.database import DatabaseUnusableError, sqlite_file
from kit.decisions import DecisionCache, Fetched
from kit.errors import GatewayError, Reason
from services.auth.app import build
from services.auth.core.token import Owner
from services.auth.store_sql import open_store
from services.auth.tables import AUDIT
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headrace.common.v1 import lifetime_pb2

_UNKNOWN: Any = 77
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HEADRACE_DATA_DIR": str(tmp_path / "data"), "HEADRACE_ACCOUNT": "acme"}


@pytest.fixture
async def auth(env: dict[str, str]) -> AsyncIterator[OneService]:
    async with serve(build, env) as one:
        yield one


def _auth(one: OneService, caller: str = "edge") -> Any:
    return AuthServiceStub(one.channel(caller))


def _tokens(one: OneService, caller: str = "cli") -> Any:
    return TokenServiceStub(one.channel(caller))


def _first_token(one: OneService) -> str:
    return (one.settings.data_dir / "token").read_text().strip()


async def _authenticate(
    one: OneService, token: str, account_id: str = "acme"
) -> auth_service_pb2.AuthenticateResponse:
    request = auth_service_pb2.AuthenticateRequest(account_id=account_id, token=token)
    answer: auth_service_pb2.AuthenticateResponse = await _auth(one).Authenticate(request, timeout=5)
    return answer


async def _refused(one: OneService, token: str, account_id: str = "acme") -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await _authenticate(one, token, account_id)
    return caught.value


def _owner(account_id: str = "acme") -> pb.TokenOwner:
    return pb.TokenOwner(account_id=account_id)


async def _create(one: OneService, *, account_id: str = "acme", **spec: Any) -> pb.CreateTokenResponse:
    request = pb.CreateTokenRequest(owner=_owner(account_id), spec=pb.TokenSpec(**{"name": "mine", **spec}))
    answer: pb.CreateTokenResponse = await _tokens(one).CreateToken(request, timeout=10)
    return answer


async def _account(one: OneService, account_id: str, **spec: Any) -> None:
    stub = AccountServiceStub(one.channel("cli"))
    request = account_pb2.CreateAccountRequest(account_id=account_id, spec=account_pb2.AccountSpec(**spec))
    await stub.CreateAccount(request, timeout=10)


async def _revoke(one: OneService, token_id: str, account_id: str = "acme") -> pb.RevokeTokenResponse:
    request = pb.RevokeTokenRequest(owner=_owner(account_id), token_id=token_id)
    answer: pb.RevokeTokenResponse = await _tokens(one).RevokeToken(request, timeout=5)
    return answer


async def test_the_first_token_may_do_everything(auth: OneService) -> None:
    """The token in the file authenticates for the account with every permission."""
    answer = await _authenticate(auth, _first_token(auth))
    mode = stat.S_IMODE((auth.settings.data_dir / "token").stat().st_mode)

    assert ("acme", [1, 2, 3, 4, 5], 0o600) == (
        answer.principal.account_id,
        list(answer.principal.permissions),
        mode,
    )
    assert (60_000, 300_000, "acme") == (
        answer.lifetime.reuse_for.ToMilliseconds(),
        answer.lifetime.grace.ToMilliseconds(),
        answer.lifetime.scope,
    )
    assert answer.lifetime.generation > 0


async def test_refusals_are_the_same_to_the_byte(auth: OneService) -> None:
    """Unknown, malformed, revoked, expired, of another account: one error."""
    created = await _create(auth)
    await _revoke(auth, created.token.id)
    soon = timestamp_pb2.Timestamp()
    soon.FromNanoseconds(time.time_ns() + 100_000_000)
    short = await _create(auth, expire_time=soon)
    await _account(auth, "other")
    other = await _create(auth, account_id="other")
    off = await _create(auth, disabled=True)
    later = timestamp_pb2.Timestamp(seconds=int(time.time()) + 3600)
    early = await _create(auth, not_before_time=later)
    mine = await _create(auth)
    await asyncio.sleep(0.15)
    good = _first_token(auth)
    errors = [
        await _refused(auth, "hr_aaaaaaaaaaaa_" + "a" * 43),
        await _refused(auth, ""),
        await _refused(auth, "x" * 100_000),
        await _refused(auth, good[:-1] + ("A" if good[-1] != "A" else "B")),
        await _refused(auth, created.secret),
        await _refused(auth, short.secret),
        await _refused(auth, off.secret),
        await _refused(auth, early.secret),
        await _refused(auth, other.secret),
        await _refused(auth, mine.secret, account_id="other"),
        await _refused(auth, good, account_id="nobody"),
        await _refused(auth, good, account_id="no such account"),
        await _refused(auth, created.secret, account_id=""),
    ]

    assert {(Reason.UNAUTHENTICATED, "The token is not valid.", ())} == {
        (error.reason, error.message, tuple(error.metadata)) for error in errors
    }


async def test_a_new_token_works_at_once(auth: OneService) -> None:
    """What was asked for is what the token has; its secret stands in the answer alone."""
    created = await _create(
        auth,
        name="ci: main",
        grants=[pb.Grant(account_id="acme", permissions=[pb.PERMISSION_AI_GATEWAY_READ])],
        restrictions=pb.Restrictions(gateway_ids=["g"], providers=["openai"], models=["openai/gpt-4o"]),
    )
    answer = await _authenticate(auth, created.secret)
    expected = auth_service_pb2.Principal(
        account_id="acme",
        token_id=created.token.id,
        token_name="ci: main",
        permissions=[pb.PERMISSION_AI_GATEWAY_READ],
        restrictions=created.token.restrictions,
    )

    assert expected == answer.principal
    assert created.secret not in str(created.token)
    assert ["openai/gpt-4o"] == list(created.token.restrictions.models)


async def test_an_answer_does_not_outlive_its_token(auth: OneService) -> None:
    """Reuse and grace end at the token's expiry."""
    when = timestamp_pb2.Timestamp()
    when.FromNanoseconds(time.time_ns() + 30_000_000_000)
    lifetime = (await _authenticate(auth, (await _create(auth, expire_time=when)).secret)).lifetime

    assert 25_000 < lifetime.reuse_for.ToMilliseconds() <= 30_000
    assert 0 == lifetime.grace.ToMilliseconds()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"account_id": ""}, "owner"),
        ({"account_id": "a/b"}, "account_id"),
        ({"name": ""}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"grants": [pb.Grant(account_id="acme", permissions=[_UNKNOWN])]}, "grants"),
        ({"restrictions": pb.Restrictions(models=["x"])}, "restrictions.models"),
        ({"expire_time": timestamp_pb2.Timestamp(seconds=1)}, "expire_time"),
    ],
)
async def test_a_malformed_token_is_not_made(auth: OneService, fields: dict[str, Any], param: str) -> None:
    """The error names what is wrong, and nothing was stored."""
    with pytest.raises(GatewayError) as caught:
        await _create(auth, **fields)
    listed = await _tokens(auth).ListTokens(pb.ListTokensRequest(owner=_owner()), timeout=5)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])
    assert 1 == len(listed.tokens)


async def test_a_list_has_pages_and_no_secrets(auth: OneService) -> None:
    """Going on shows each token once, newest first; a page past the end is empty; each knows the total."""
    made = [await _create(auth, name=f"token {index}") for index in range(7)]
    await _revoke(auth, made[3].token.id)
    pages: list[pb.ListTokensResponse] = []
    for offset in (0, 3, 6, 9):
        request = pb.ListTokensRequest(owner=_owner(), page_size=3, offset=offset)
        pages.append(await _tokens(auth).ListTokens(request, timeout=5))
    request = pb.ListTokensRequest(owner=_owner(), show_revoked=True)
    everything = await _tokens(auth).ListTokens(request, timeout=5)

    assert [(3, 7), (3, 7), (1, 7), (0, 7)] == [(len(page.tokens), page.total_count) for page in pages]
    names = [token.name for page in pages for token in page.tokens]
    assert [*(f"token {index}" for index in (6, 5, 4, 2, 1, 0)), "first token"] == names
    assert (8, 8) == (len(everything.tokens), everything.total_count)
    text = "".join(str(page) for page in (*pages, everything))
    assert not any(created.secret[16:] in text for created in made)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"owner": pb.TokenOwner()}, "owner"),
        ({"page_size": 1001}, "page_size"),
        ({"offset": -1}, "offset"),
    ],
)
async def test_a_malformed_list_is_refused(auth: OneService, fields: dict[str, Any], param: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(GatewayError) as caught:
        await _tokens(auth).ListTokens(pb.ListTokensRequest(**{"owner": _owner(), **fields}), timeout=5)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


async def test_revoking_twice_is_once(auth: OneService) -> None:
    """The second revocation succeeds, keeps the first time and voids nothing."""
    created = await _create(auth)
    first = await _revoke(auth, created.token.id)
    generation = (await _authenticate(auth, _first_token(auth))).lifetime.generation
    second = await _revoke(auth, created.token.id)

    assert first == second
    assert generation == (await _authenticate(auth, _first_token(auth))).lifetime.generation


async def test_what_an_account_does_not_have_cannot_be_revoked(auth: OneService) -> None:
    """The token of another account is not found, and goes on."""
    await _account(auth, "other")
    other = await _create(auth, account_id="other")
    with pytest.raises(GatewayError) as caught:
        await _revoke(auth, other.token.id)

    assert (Reason.NOT_FOUND, {"resource": "token", "id": other.token.id}) == (
        caught.value.reason,
        caught.value.metadata,
    )
    await _authenticate(auth, other.secret, account_id="other")


@pytest.mark.parametrize("caller", ["external", "cli", "", "Edge"])
async def test_others_may_not_authenticate(auth: OneService, caller: str) -> None:
    """Who is not on the list is refused before anything else, for a good token too."""
    request = auth_service_pb2.AuthenticateRequest(account_id="acme", token=_first_token(auth))
    with pytest.raises(GatewayError) as caught:
        await _auth(auth, caller).Authenticate(request, timeout=5)
    with pytest.raises(GatewayError) as watched:
        async for _ in _auth(auth, caller).Watch(auth_service_pb2.WatchRequest(), timeout=5):
            pass

    assert (Reason.CALLER_NOT_ALLOWED,) * 2 == (caught.value.reason, watched.value.reason)


@pytest.mark.parametrize("caller", ["external", "router", "providers", "ledger"])
async def test_others_may_not_manage_tokens(auth: OneService, caller: str) -> None:
    """No service but the edge and the command line reads or changes tokens and accounts."""
    stub = _tokens(auth, caller)
    accounts: Any = AccountServiceStub(auth.channel(caller))
    for call, request in (
        (stub.CreateToken, pb.CreateTokenRequest(owner=_owner())),
        (stub.ListTokens, pb.ListTokensRequest(owner=_owner())),
        (stub.GetToken, pb.GetTokenRequest(owner=_owner(), token_id="x")),
        (stub.UpdateToken, pb.UpdateTokenRequest(owner=_owner(), token_id="x")),
        (stub.RollToken, pb.RollTokenRequest(owner=_owner(), token_id="x")),
        (stub.RevokeToken, pb.RevokeTokenRequest(owner=_owner(), token_id="x")),
        (accounts.CreateAccount, account_pb2.CreateAccountRequest(account_id="x")),
        (accounts.ListAccounts, account_pb2.ListAccountsRequest()),
        (accounts.GetAccount, account_pb2.GetAccountRequest(account_id="acme")),
        (accounts.UpdateAccount, account_pb2.UpdateAccountRequest(account_id="acme")),
        (accounts.DeleteAccount, account_pb2.DeleteAccountRequest(account_id="acme")),
    ):
        with pytest.raises(GatewayError) as caught:
            await call(request, timeout=5)
        assert Reason.CALLER_NOT_ALLOWED == caught.value.reason


async def test_a_revocation_is_heard_by_all_within_a_second(auth: OneService) -> None:
    """Every watcher first hears the generation, then the revocation with its account."""
    created = await _create(auth)
    watches = [_auth(auth).Watch(auth_service_pb2.WatchRequest()) for _ in range(8)]
    first = [await asyncio.wait_for(anext(watch), 5) for watch in watches]
    began_s = time.monotonic()
    await _revoke(auth, created.token.id)
    heard = [await asyncio.wait_for(anext(watch), 1) for watch in watches]
    took_s = time.monotonic() - began_s
    for watch in watches:
        await watch.aclose()

    assert {""} == {event.invalidation.scope for event in first}
    assert {(first[0].invalidation.generation + 1, "acme")} == {
        (event.invalidation.generation, event.invalidation.scope) for event in heard
    }
    assert took_s < 1


async def test_making_a_token_voids_nothing(auth: OneService) -> None:
    """A new token is nobody's cached answer, so watchers are left alone."""
    async with aclosing(_auth(auth).Watch(auth_service_pb2.WatchRequest())) as watch:
        await anext(watch)
        await _create(auth)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watch), 0.2)


async def test_a_cached_answer_ends_with_its_token(auth: OneService) -> None:
    """Through the decision cache a revoked token is refused within a second, whatever its reuse."""
    created = await _create(auth)
    stub = _auth(auth)
    calls = 0
    cache: DecisionCache[str, auth_service_pb2.Principal] = DecisionCache(capacity=10, log=_Silent())

    async def watch() -> AsyncIterator[lifetime_pb2.Invalidation]:
        async for event in stub.Watch(auth_service_pb2.WatchRequest()):
            yield event.invalidation

    async def fetch() -> Fetched[auth_service_pb2.Principal]:
        nonlocal calls
        calls += 1
        answer = await stub.Authenticate(
            auth_service_pb2.AuthenticateRequest(account_id="acme", token=created.secret)
        )
        return Fetched(answer.principal, answer.lifetime)

    following = asyncio.create_task(cache.follow(watch))
    try:
        await _until(lambda: cache.watched)
        for _ in range(20):
            await cache.get("key", fetch)
        assert 1 == calls
        began_s = time.monotonic()
        await _revoke(auth, created.token.id)
        reason = None
        while reason is None and time.monotonic() - began_s < 5:
            try:
                await cache.get("key", fetch)
            except GatewayError as error:
                reason = error.reason
            await asyncio.sleep(0.01)

        assert Reason.UNAUTHENTICATED == reason
        assert time.monotonic() - began_s < 1
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is in code that knows no events of ours
            await asyncio.sleep(0.01)


class _Silent:
    def debug(self, event: str, **_: object) -> None:
        """Say nothing."""

    info = warning = debug


async def test_a_stop_ends_watches(env: dict[str, str]) -> None:
    """A stop does not wait for watchers, and their streams end without an error."""
    async with serve(build, env) as one:
        events: list[auth_service_pb2.WatchResponse] = []

        async def follow() -> None:
            async for event in _auth(one).Watch(auth_service_pb2.WatchRequest()):
                events.append(event)  # noqa: PERF401 - kept even when the stream fails

        task = asyncio.create_task(follow())
        await _until(lambda: bool(events))
        began_s = time.monotonic()
        assert one.service.drain is not None
        await one.service.drain(5)
        await asyncio.wait_for(task, 2)

        assert time.monotonic() - began_s < 1


async def test_generation_and_tokens_survive_a_restart(env: dict[str, str]) -> None:
    """After a restart the same tokens work or do not, and the generation goes on from where it was."""
    async with serve(build, env) as one:
        kept, revoked = await _create(one), await _create(one)
        await _revoke(one, revoked.token.id)
        first = _first_token(one)
        before = (await _authenticate(one, kept.secret)).lifetime.generation
    async with serve(build, env) as one:
        after = (await _authenticate(one, kept.secret)).lifetime.generation
        async with aclosing(_auth(one).Watch(auth_service_pb2.WatchRequest())) as watch:
            event = await anext(watch)

        assert (before, before, "") == (after, event.invalidation.generation, event.invalidation.scope)
        assert Reason.UNAUTHENTICATED == (await _refused(one, revoked.secret)).reason
        assert first == _first_token(one)
        await _authenticate(one, first)


async def test_many_at_once_lose_nothing(auth: OneService) -> None:
    """Two hundred tokens made at the same time are all there and all work."""
    made = await asyncio.gather(*(_create(auth, name=f"token {index}") for index in range(200)))
    answers = await asyncio.gather(*(_authenticate(auth, each.secret) for each in made))
    listed = await _tokens(auth).ListTokens(pb.ListTokensRequest(owner=_owner(), page_size=1000), timeout=5)

    assert [each.token.id for each in made] == [answer.principal.token_id for answer in answers]
    assert {each.token.id for each in made} < {token.id for token in listed.tokens}
    assert 201 == len(listed.tokens)


async def test_revocations_and_questions_at_once(auth: OneService) -> None:
    """Whatever an answer says, a token that was revoked before the question is never good."""
    made = await asyncio.gather(*(_create(auth) for _ in range(50)))

    async def revoke_then_ask(each: pb.CreateTokenResponse) -> Reason:
        await _revoke(auth, each.token.id)
        return (await _refused(auth, each.secret)).reason

    assert {Reason.UNAUTHENTICATED} == set(await asyncio.gather(*map(revoke_then_ask, made)))


async def test_the_database_holds_no_secret(env: dict[str, str]) -> None:
    """No file but the token's own holds a token in clear, while running and after."""
    async with serve(build, env, name="auth") as one:
        secrets = [(await _create(one)).secret[16:].encode(), _first_token(one)[16:].encode()]
        running = _found(one.settings.data_dir, secrets)
    after = _found(one.settings.data_dir, secrets)

    assert ({"token"}, {"token"}) == (running, after)


def _found(directory: Path, needles: list[bytes]) -> set[str]:
    contents = {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert "auth.db" in contents
    return {name for name, content in contents.items() if any(needle in content for needle in needles)}


async def test_the_log_holds_no_secret(env: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    """Making, using, misusing and revoking tokens writes none of them anywhere."""
    async with serve(build, env) as one:
        created = await _create(one)
        await _authenticate(one, created.secret)
        await _refused(one, created.secret, account_id="other")
        await _revoke(one, created.token.id)
        await _refused(one, created.secret)
        secrets = [created.secret[16:], _first_token(one)[16:]]
    captured = capfd.readouterr()

    assert created.token.id in captured.out
    assert not any(secret in captured.out + captured.err for secret in secrets)


async def test_settings_decide_how_long_answers_hold(env: dict[str, str]) -> None:
    """`HEADRACE_AUTH_REUSE_FOR_S` and `HEADRACE_AUTH_GRACE_S` are what answers carry."""
    async with serve(build, {**env, "HEADRACE_AUTH_REUSE_FOR_S": "1.5", "HEADRACE_AUTH_GRACE_S": "0"}) as one:
        lifetime = (await _authenticate(one, _first_token(one))).lifetime

    assert (duration_pb2.Duration(seconds=1, nanos=500_000_000), duration_pb2.Duration()) == (
        lifetime.reuse_for,
        lifetime.grace,
    )


async def test_an_unusable_account_is_a_setting_that_is_wrong(env: dict[str, str]) -> None:
    """An account id that no URL could hold stops the start with a line that names the setting."""
    with pytest.raises(ConfigError, match="HEADRACE_ACCOUNT"):
        async with serve(build, {**env, "HEADRACE_ACCOUNT": "a/b"}):
            pass


async def test_a_broken_database_stops_the_start(env: dict[str, str], tmp_path: Path) -> None:
    """A file that is no database is one clear sentence, and no token is made beside it."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "auth.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(DatabaseUnusableError, match=r"auth\.db is not a SQLite database"):
        async with serve(build, env, name="auth"):
            pass

    assert not (data / "token").exists()


async def test_the_service_is_ready_when_its_database_answers(auth: OneService) -> None:
    """The check that readiness asks passes on a service that works."""
    await asyncio.wait_for(auth.service.check(), 5)


_WRITER = """
import asyncio, sys
from pathlib import Path
import structlog
from kit import moment
from kit.audit import Actor
from kit.clock import SystemClock
from kit.database import sqlite_file
from services.auth.account_store_sql import SqlAccountStore
from services.auth.core.account import Account, AccountSpec
from services.auth.core.token import Grant, Owner, Permission, StoredToken, Token, TokenSpec, digest, mint
from services.auth.store_sql import open_store

OWNER, ACTOR = Owner(account_id="acme"), Actor()

async def one(store, clock):
    while True:
        made, now = mint(), moment.now(clock)
        spec = TokenSpec(name="x", grants=(Grant(account_id="acme", permissions=tuple(Permission)),))
        token = Token(id=made.id, owner=OWNER, spec=spec, created_at=now, updated_at=now)
        await store.add(StoredToken(token=token, hash=digest(made.text.reveal())), ACTOR)
        print("made", made.id, flush=True)
        tell = lambda number, _: print("generation", number, flush=True)
        await store.revoke(OWNER, made.id, at=moment.now(clock), actor=ACTOR, then=tell)
        print("revoked", made.id, flush=True)

async def main():
    clock = SystemClock()
    location = sqlite_file(Path(sys.argv[1]))
    async with open_store(location, clock=clock, log=structlog.get_logger()) as store:
        now = moment.now(clock)
        account = Account(id="acme", spec=AccountSpec(), created_at=now, updated_at=now)
        await SqlAccountStore(store.database).add(account, actor=ACTOR, then=lambda *_: None)
        await asyncio.gather(*(one(store, clock) for _ in range(4)))

asyncio.run(main())
"""


_TOKENS = AuditQuery(account_id="acme", resource_type="token", size=20_000)


async def test_a_kill_in_the_middle_of_writes_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After `kill -9` every token that was reported made is there, and every revocation holds."""
    path = tmp_path / "auth.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode().split() for _ in range(300)]
    process.kill()
    lines += [line.decode().split() for line in (await process.stdout.read()).splitlines(keepends=True)]
    await process.wait()
    said: dict[str, list[str]] = {"made": [], "revoked": [], "generation": []}
    for word, value in (line for line in lines if len(line) == 2):
        said[word].append(value)
    async with open_store(sqlite_file(path), clock=SystemClock(), log=structlog.get_logger()) as store:
        found, _ = await store.page(Owner(account_id="acme"), size=10_000, offset=0, revoked=True)
        generation = await store.generation()
        async with store.database.read() as connection:
            audited = {entry.resource_id: entry for entry in await AUDIT.page(connection, _TOKENS)}
    tokens = {token.id: token for token in found}

    assert len(said["revoked"]) > 50
    assert set(said["made"]) <= set(tokens)
    assert all(tokens[name].revoked_at is not None for name in said["revoked"])
    assert generation >= max(map(int, said["generation"]))
    assert len(tokens) - len(said["made"]) <= 4
    # A change and its entry are one.
    assert set(tokens) == set(audited)
