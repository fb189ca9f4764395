"""
Stored keys over real gRPC: providers as their own process runs them, beside a fake auth that gives keys out.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.common.v1 import caller_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from kit.errors import GatewayError, Reason
from kit.rpc.server import RpcServer
from services.providers.app import build
from services.providers.key_reports import ACTIVE, INVALID, LIMITED
from tests.fakes.key_vault import KeyVault
from tests.fakes.one_service import serve
from tests.fakes.provider_calls import Invoked, chat_request, invoked_over, native_request, text_of
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.one_service import OneService

ONE, TWO, THREE, FOUR = (f"sk-{name}-{name}-canary" for name in ("one", "two", "three", "four"))
NONE: dict[str, str] = {}


@dataclass
class World:
    """Providers, what is upstream of them, and auth."""

    upstream: FakeUpstream
    vault: KeyVault
    server: RpcServer
    one: OneService
    stub: Any

    async def invoke(self, request: pb.InvokeRequest) -> Invoked:
        """Run a call to its end."""
        return await invoked_over(self.stub.Invoke(request))

    async def chat(self, steer: str = "", **given: Any) -> Invoked:
        """Ask OpenAI without a key."""
        given.setdefault("headers", NONE)
        return await self.invoke(chat_request("openai", f"m{steer}", **given))

    async def failing(self, request: pb.InvokeRequest) -> GatewayError:
        """Run a call that must fail before its head."""
        with pytest.raises(GatewayError) as raised:
            await self.invoke(request)
        return raised.value

    def seen(self) -> list[str]:
        """Return the keys that the provider saw, in their order."""
        return [(one.header("authorization") or "").removeprefix("Bearer ") for one in self.upstream.journal]

    def answers(self, *statuses: str) -> None:
        """Have the provider answer the next requests with errors, or `ok`."""
        self.upstream.script.extend(
            {} if status == "ok" else dict(part.split("=") for part in status.split(";"))
            for status in statuses
        )

    def switches(self, reason: str) -> float:
        """Return how often another key was taken, counted from the start, so that the first one shows."""
        labels = {"provider": "openai", "reason": reason}
        found = self.one.metrics.get_sample_value("headrace_provider_key_switches_total", labels)
        assert found is not None
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as found:
        yield found


@asynccontextmanager
async def running(tmp_path: Path, **env: str) -> AsyncIterator[World]:
    """Run providers beside an auth on a socket of its own."""
    run_dir = Path(tempfile.mkdtemp(prefix="hr-"))
    address = f"unix:{run_dir}/auth.sock"
    vault = KeyVault()
    server = RpcServer(vault.endpoints(), max_message_bytes=1 << 20)
    try:
        await server.start([address])
        async with FakeUpstream() as upstream:
            settings = {
                "HEADRACE_DATA_DIR": str(tmp_path),
                "HEADRACE_PROVIDERS_ONLY": "openai,anthropic,aws-bedrock,ollama",
                "HEADRACE_PROVIDERS_KEY_REPORT_INTERVAL_S": "0.02",
                **{
                    f"HEADRACE_PROVIDER_{name}_BASE_URL": upstream.url
                    for name in ("OPENAI", "ANTHROPIC", "AWS_BEDROCK", "OLLAMA")
                },
            }
            async with serve(build, settings | env, name="providers", addresses={"auth": address}) as one:
                yield World(upstream, vault, server, one, ProviderServiceStub(one.channel("edge")))
    finally:
        await server.stop(0.0)
        shutil.rmtree(run_dir, ignore_errors=True)


async def reported(world: World, key_id: str) -> int:
    """Wait for a report on a key, and return its status."""
    async with asyncio.timeout(5):
        while key_id not in world.vault.reports:
            world.vault.reported.clear()
            await world.vault.reported.wait()
    return world.vault.reports[key_id]


async def test_health(world: World) -> None:
    """The service is ready once auth was heard of, without asking any provider, and stays so without auth."""
    async with asyncio.timeout(5):
        while True:
            with suppress(GatewayError):
                await world.one.service.check()
                break
            await asyncio.sleep(0.01)
    await world.server.stop(0.0)
    await world.one.service.check()

    assert [] == world.seen()


async def test_a_stored_key_pays(world: World) -> None:
    """A call without a key is made with the stored one, and auth is asked once for many calls."""
    world.vault.put("openai", ONE)
    asked = 0
    # An answer is kept from when changes of it are heard of.
    while asked != len(world.vault.asked) or not asked:
        asked = len(world.vault.asked)
        assert 200 == (await world.chat()).started.status
    for _ in range(3):
        assert 200 == (await world.chat()).started.status

    assert {ONE} == set(world.seen())
    assert asked == len(world.vault.asked)
    assert ACTIVE == await reported(world, "openai/default/0")


async def test_an_alias_chooses(world: World) -> None:
    """An alias names another key; one that does not exist is an error that lists those that do."""
    world.vault.put("openai", ONE)
    world.vault.put("openai", TWO, alias="prod")
    await world.chat(alias="prod")
    error = await world.failing(chat_request("openai", "m", headers=NONE, alias="nope"))

    assert [TWO] == world.seen()
    text = "Provider 'openai' has no BYOK credential named 'nope'. Configured aliases: 'default', 'prod'"
    assert (Reason.ALIAS_NOT_FOUND, text) == (error.reason, error.message)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "standing", "reason"),
    [
        ("status=401", INVALID, "invalid"),
        ("status=403", INVALID, "invalid"),
        ("status=429;retry-after=7", LIMITED, "limited"),
    ],
)
async def test_a_refused_key_gives_way(
    status: str,
    standing: int,
    reason: str,
    stream: bool,  # noqa: FBT001
    world: World,
) -> None:
    """A call whose key is refused goes on with another one, and the client sees nothing of it."""
    world.vault.put("openai", ONE, TWO)
    world.answers(status)
    first = await world.chat("+usage-always", stream=stream)
    second = await world.chat(stream=stream)

    assert [200, 200] == [first.started.status, second.started.status]
    assert not stream or "Hello from the fake upstream." == text_of(first)
    assert [ONE, TWO, TWO] == world.seen()
    assert 1 == world.switches(reason)
    assert standing == await reported(world, "openai/default/0")
    assert ACTIVE == await reported(world, "openai/default/1")


async def test_a_stream_that_begins_with_a_refusal(world: World) -> None:
    """An error in place of a stream's first content is as good as a status."""
    world.vault.put("openai", ONE, TWO)
    world.answers("first-error=rate_limit_error")
    invoked = await world.chat(stream=True)

    assert "Hello from the fake upstream." == text_of(invoked)
    assert [ONE, TWO] == world.seen()


async def test_a_native_call_goes_on_too(world: World) -> None:
    """Natively, another key is tried as well, with the same path and body."""
    world.vault.put("openai", ONE, TWO)
    world.answers("status=401")
    invoked = await world.invoke(native_request("openai", "files?purpose=x", body=b"{}", headers=NONE))

    assert 200 == invoked.started.status
    assert [ONE, TWO] == world.seen()
    assert [("/v1/files", "purpose=x", b"{}")] * 2 == [
        (each.path, each.query, each.body) for each in world.upstream.journal
    ]


async def test_three_tries_at_most(world: World) -> None:
    """However many keys there are, the third refusal is the client's answer, its Retry-After included."""
    world.vault.put("openai", ONE, TWO, THREE, FOUR)
    world.answers(*["status=429;retry-after=7"] * 3)
    invoked = await world.chat()

    assert (429, 7) == (invoked.started.status, invoked.started.failure.retry_after.seconds)
    assert [ONE, TWO, THREE] == world.seen()
    assert 2 == world.switches("limited")


async def test_the_last_refusal_is_told(world: World) -> None:
    """When all keys are refused, the client gets the last refusal; the next call tries again."""
    world.vault.put("openai", ONE, TWO)
    world.answers("status=401", "status=401")
    refused = await world.chat()
    again = await world.chat()

    assert (401, 200) == (refused.started.status, again.started.status)
    assert 3 == len(world.seen())


@pytest.mark.parametrize("status", ["status=400", "status=500", "status=404"])
async def test_other_errors_are_not_the_keys(status: str, world: World) -> None:
    """What another key would not change is told at once."""
    world.vault.put("openai", ONE, TWO)
    world.answers(status)
    invoked = await world.chat()

    assert int(status[-3:]) == invoked.started.status
    assert [ONE] == world.seen()


async def test_a_key_of_the_request_is_never_replaced(world: World) -> None:
    """A request that brings its own key gets what that key gets, and auth is not asked."""
    world.vault.put("openai", ONE, TWO)
    world.answers("status=401")
    invoked = await world.chat(headers={"authorization": "Bearer sk-own"})

    assert 401 == invoked.started.status
    assert ["sk-own"] == world.seen()
    assert [] == world.vault.asked


async def test_an_upload_is_sent_once(world: World) -> None:
    """A body that was sent on as it came is not there for another key."""
    world.vault.put("openai", ONE, TWO)
    world.answers("status=401")
    request = native_request("openai", "files", headers=NONE)

    async def messages() -> AsyncIterator[pb.UploadRequest]:
        yield pb.UploadRequest(invoke=request)
        yield pb.UploadRequest(data=b"piece", last=True)

    invoked = await invoked_over(world.stub.Upload(messages()))

    assert 401 == invoked.started.status
    assert [ONE] == world.seen()
    assert INVALID == await reported(world, "openai/default/0")


async def test_auth_away_and_a_key_of_ones_own(world: World) -> None:
    """While auth is away, a request with a key of its own works, and one without says what is wrong."""
    await world.server.stop(0.0)
    own = await world.chat(headers={"authorization": "Bearer sk-own"})
    error = await world.failing(chat_request("openai", "m", headers=NONE))

    assert 200 == own.started.status
    assert Reason.SERVICE_UNAVAILABLE is error.reason


async def test_known_keys_go_on_while_auth_is_away(world: World) -> None:
    """A key that was given out before goes on for its grace."""
    world.vault.put("openai", ONE)
    await world.chat()
    await world.server.stop(0.0)

    assert 200 == (await world.chat()).started.status
    assert [ONE, ONE] == world.seen()


async def test_a_change_takes_effect(world: World) -> None:
    """A key that was replaced is used as soon as auth says so."""
    world.vault.put("openai", ONE)
    await world.chat()
    world.vault.put("openai", TWO)
    world.vault.change()

    async with asyncio.timeout(1):
        while TWO not in world.seen():
            await world.chat()


async def test_a_stored_key_is_masked(world: World) -> None:
    """A stored key that a careless provider tells back reaches no client."""
    world.vault.put("openai", ONE)
    world.answers("status=400;echo-key=1")
    invoked = await world.chat()

    assert ONE not in f"{invoked.head} {invoked.body.decode()} {invoked.tail}"
    assert "*" * len(ONE) in invoked.started.failure.message


async def test_a_stored_key_that_is_none(world: World) -> None:
    """What cannot be a key of its provider is an error that names the alias, and holds nothing of it."""
    world.vault.put("openai", "two words-canary", alias="odd")
    world.vault.put("aws-bedrock", '{"accessKeyId": "canary"}', alias="odd")
    for slug in ("openai", "aws-bedrock"):
        error = await world.failing(chat_request(slug, "m", headers=NONE, alias="odd"))

        assert Reason.CREDENTIAL_MISSING is error.reason
        assert {"provider": slug, "alias": "odd"} == error.metadata
        assert f"The stored key 'odd' of the provider {slug}" in error.message
        assert "canary" not in error.message
    assert [] == world.upstream.journal
    assert INVALID == await reported(world, "openai/odd/0")


async def test_a_stored_key_that_is_none_gives_way(world: World) -> None:
    """Beside a key that is one, the other is passed over."""
    world.vault.put("openai", "two words", TWO)

    assert 200 == (await world.chat()).started.status
    assert [TWO] == world.seen()


async def test_the_operators_key_needs_leave(tmp_path: Path) -> None:
    """The operator's key is for accounts that may use it, unless the gateway or the request forbids it."""
    async with running(tmp_path, HEADRACE_PROVIDER_OPENAI_API_KEY="sk-operator") as world:
        refused = await world.failing(chat_request("openai", "m", headers=NONE))
        world.vault.unified = True
        world.vault.change()
        async with asyncio.timeout(1):
            while not world.seen():
                with suppress(GatewayError):
                    await world.chat()
        forbidden = await world.failing(chat_request("openai", "m", headers=NONE, no_operator=True))
        unknown = await world.failing(chat_request("openai", "m", headers=NONE, alias="nope"))

        assert "sk-operator" == world.seen()[0]
        assert Reason.CREDENTIAL_MISSING is refused.reason is forbidden.reason
        assert Reason.ALIAS_NOT_FOUND is unknown.reason


async def test_accounts_and_gateways_are_apart(world: World) -> None:
    """A key of one account or gateway pays for no other."""
    world.vault.put("openai", ONE)
    for caller in (caller_pb2.Caller(account_id="other"), caller_pb2.Caller(gateway_id="other")):
        request = chat_request("openai", "m", headers=NONE)
        request.caller.MergeFrom(caller)

        assert Reason.CREDENTIAL_MISSING is (await world.failing(request)).reason
    assert [] == world.seen()


async def test_a_limit_of_a_key(world: World) -> None:
    """When every key of a pool has reached its own limit, the answer is to come back later."""
    world.vault.put("openai", ONE, rate_limit=1)
    await world.chat()
    error = await world.failing(chat_request("openai", "m", headers=NONE))

    assert Reason.RATE_LIMITED is error.reason
    assert error.retry_after_s is not None
    assert 1 <= error.retry_after_s <= 60


async def test_a_provider_that_needs_no_key(world: World) -> None:
    """A server of one's own is called without a key, or with the stored one where there is one."""
    await world.invoke(chat_request("ollama", "m", headers=NONE))
    world.vault.put("ollama", ONE, alias="mine")
    await world.invoke(chat_request("ollama", "m", headers=NONE, alias="mine"))

    assert ["", ONE] == world.seen()


async def test_what_is_known_is_told_at_the_end(tmp_path: Path) -> None:
    """A process that stops still tells how keys were taken."""
    async with running(tmp_path, HEADRACE_PROVIDERS_KEY_REPORT_INTERVAL_S="3600") as world:
        world.vault.put("openai", ONE)
        await world.chat()
        assert {} == world.vault.reports

    assert {"openai/default/0": ACTIVE} == world.vault.reports
