"""Two processes of a service that share a PostgreSQL: what one changes, the other knows at once."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.auth.v1 import auth_service_pb2 as auth_pb
from headrace.auth.v1 import token_pb2
from headrace.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from headrace.auth.v1.token_pb2_grpc import TokenServiceStub
from headrace.router.v1 import router_service_pb2 as router_pb
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError, Reason
from services.auth.app import build as build_auth
from services.router.app import build as build_router
from tests.fakes.gateways import get_gateway, put_gateway
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.service import Build

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "acme"


@asynccontextmanager
async def _two(
    build: Build, name: str, url: str, directory: Path
) -> AsyncIterator[tuple[OneService, OneService]]:
    """Serve a service twice, as on two machines: without a file in common."""
    async with AsyncExitStack() as stack:
        found = []
        for number in ("one", "other"):
            env = {
                "HEADRACE_DATA_DIR": str(directory / number),
                "HEADRACE_DATABASE_URL": url,
                "HEADRACE_ACCOUNT": ACCOUNT,
                "HEADRACE_DATABASE_POOL_SIZE": "2",
            }
            found.append(await stack.enter_async_context(serve(build, env, name=name)))
        yield found[0], found[1]


async def _scopes(watch: Any, wanted: str) -> None:
    """Read a watch until it tells of a scope."""
    async with asyncio.timeout(20):
        async for event in watch:
            if event.invalidation.scope == wanted:
                return


async def test_a_gateway_changed_by_one_router_is_told_by_the_other(
    postgres_url: str, tmp_path: Path
) -> None:
    """Whoever watches the other one asks again, and gets the change."""
    async with _two(build_router, "router", postgres_url, tmp_path) as (one, other):
        stub: Any = RouterServiceStub(other.channel("edge"))
        async with aclosing(stub.Watch(router_pb.WatchRequest())) as watch:
            await anext(watch)
            await put_gateway(one.channel("cli"), ACCOUNT, byok_only=True)
            await _scopes(watch, ACCOUNT)

        assert (await get_gateway(other.channel("cli"), ACCOUNT)).settings.byok_only


async def test_a_token_revoked_at_one_auth_is_refused_by_the_other(postgres_url: str, tmp_path: Path) -> None:
    """It was known there, and whoever watches is told that it is void."""
    async with _two(build_auth, "auth", postgres_url, tmp_path) as (one, other):
        tokens: Any = TokenServiceStub(one.channel("cli"))
        owner = token_pb2.TokenOwner(account_id=ACCOUNT)
        spec = token_pb2.TokenSpec(name="mine")
        created = await tokens.CreateToken(token_pb2.CreateTokenRequest(owner=owner, spec=spec), timeout=10)
        auth: Any = AuthServiceStub(other.channel("edge"))
        request = auth_pb.AuthenticateRequest(account_id=ACCOUNT, token=created.secret)
        known = await auth.Authenticate(request, timeout=5)
        async with aclosing(auth.Watch(auth_pb.WatchRequest())) as watch:
            await anext(watch)
            revocation = token_pb2.RevokeTokenRequest(owner=owner, token_id=created.token.id)
            await tokens.RevokeToken(revocation, timeout=5)
            await _scopes(watch, ACCOUNT)
        with pytest.raises(GatewayError) as caught:
            await auth.Authenticate(request, timeout=5)

    assert created.token.id == known.principal.token_id
    assert Reason.UNAUTHENTICATED == caught.value.reason


async def test_a_process_without_its_database_ends_with_a_sentence(postgres_url: str, tmp_path: Path) -> None:
    """It says where the database should be and what is wrong, never the password."""
    url = postgres_url.replace(":@", ":canary@").replace("?", "_that_is_not_there?")
    env = {
        **os.environ,
        "PYTHONPATH": "gen",
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_DATABASE_URL": url,
        "HEADRACE_DATABASE_START_WAIT_S": "0",
    }
    command = [sys.executable, "-m", "services", "router"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed = (await process.communicate())[0].decode()

    assert 1 == process.returncode, printed
    assert "cannot serve" in printed
    assert "did not answer within 0 s: database" in printed
    assert "canary" not in printed


async def test_statements_are_counted_by_service_and_kind(postgres_url: str, tmp_path: Path) -> None:
    """A question costs reads and no writes, and its health nothing."""
    async with _two(build_router, "router", postgres_url, tmp_path) as (one, _):
        await put_gateway(one.channel("cli"), ACCOUNT)
        before = _statements(one)
        for _ in range(3):
            await one.service.check()
        assert before == _statements(one)
        await get_gateway(one.channel("cli"), ACCOUNT)
        after = _statements(one)

    assert before["write"] == after["write"] > 0
    assert before["read"] < after["read"]


def _statements(one: OneService) -> dict[str, float]:
    kinds = ("read", "write")
    name = "headrace_database_statements_total"
    return {
        kind: one.metrics.get_sample_value(name, {"service": "router", "kind": kind}) or 0.0 for kind in kinds
    }
