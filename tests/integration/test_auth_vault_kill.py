"""A rotation of the master key in a process of its own, killed wherever it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.auth.v1 import credential_pb2, vault_pb2
from headrace.auth.v1 import provider_config_pb2 as pb
from headrace.auth.v1.credential_pb2_grpc import CredentialServiceStub
from headrace.auth.v1.provider_config_pb2_grpc import ProviderConfigServiceStub
from headrace.auth.v1.vault_pb2_grpc import VaultServiceStub
from kit.errors import GatewayError
from kit.rpc.client import connect
from kit.telemetry.tracing import Tracing
from services.auth.vault.master_keys import KeyRing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
GATEWAYS, IN_EACH = ("one", "two"), 100
# After how many steps of a rotation auth is killed, and how long after; a rotation of 200 keys has ten.
KILLS = ((0, 0.0), (1, 0.02), (5, 0.0), (9, 0.01))


@pytest.fixture(params=["sqlite", "postgresql"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    run_dir = tempfile.mkdtemp(prefix="hr-")  # the test's own is too deep for a socket
    found = {"HEADRACE_DATA_DIR": str(tmp_path), "HEADRACE_RUN_DIR": run_dir, "HEADRACE_ACCOUNT": "acme"}
    if request.param == "postgresql":
        found["HEADRACE_DATABASE_URL"] = request.getfixturevalue("postgres_url")
    yield found
    shutil.rmtree(run_dir)


class Auth:
    """The process of auth, and calls to it."""

    def __init__(self, env: Mapping[str, str], process: asyncio.subprocess.Process) -> None:
        self._target = f"unix:{env['HEADRACE_RUN_DIR']}/auth.sock"
        self.process = process

    async def ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 60
        while True:
            assert self.process.returncode is None
            assert time.monotonic() < deadline
            try:
                await self.vault()
            except GatewayError:
                await asyncio.sleep(0.05)
            else:
                return

    @asynccontextmanager
    async def channel(self, caller: str) -> AsyncIterator[Any]:
        """Open a channel on which calls come from a service."""
        opened = connect(
            self._target, service="auth", caller=caller, tracing=Tracing(caller), max_message_bytes=1 << 24
        )
        try:
            yield opened
        finally:
            await opened.close()

    async def vault(self) -> vault_pb2.GetVaultResponse:
        """Ask how the vault is sealed."""
        async with self.channel("cli") as opened:
            stub: Any = VaultServiceStub(opened)
            found: vault_pb2.GetVaultResponse = await stub.GetVault(vault_pb2.GetVaultRequest(), timeout=5)
            return found

    async def keep(self, gateway_id: str, secret: str) -> None:
        """Keep a key."""
        config = pb.ProviderConfig(
            account_id="acme", gateway_id=gateway_id, provider="openai", alias="default"
        )
        async with self.channel("edge") as opened:
            stub: Any = ProviderConfigServiceStub(opened)
            await stub.CreateProviderConfig(
                pb.CreateProviderConfigRequest(config=config, secret=secret), timeout=30
            )

    async def secrets(self) -> set[str]:
        """Return all keys, as they are given out."""
        found: set[str] = set()
        async with self.channel("providers") as opened:
            stub: Any = CredentialServiceStub(opened)
            for gateway_id in GATEWAYS:
                request = credential_pb2.ResolveCredentialRequest(
                    account_id="acme", gateway_id=gateway_id, provider="openai"
                )
                found |= {key.secret for key in (await stub.ResolveCredential(request, timeout=30)).keys}
        return found

    async def rotate(self, kill_after: int | None, pause_s: float) -> list[str]:
        """Rotate, killing auth after some steps; return the steps' master key ids."""
        ids: list[str] = []
        async with self.channel("cli") as opened:
            stub: Any = VaultServiceStub(opened)
            steps = aiter(stub.RotateMasterKey(vault_pb2.RotateMasterKeyRequest(generate=True), timeout=60))
            first = asyncio.ensure_future(anext(steps))
            while kill_after is None or len(ids) < kill_after:
                try:
                    ids.append((await first).master_key_id)
                except StopAsyncIteration:
                    return ids
                first = asyncio.ensure_future(anext(steps))
            await asyncio.sleep(pause_s)
            self.process.kill()
            with contextlib.suppress(GatewayError, StopAsyncIteration):
                while True:
                    ids.append((await first).master_key_id)
                    first = asyncio.ensure_future(anext(steps))
        return ids


@asynccontextmanager
async def running(env: Mapping[str, str]) -> AsyncIterator[Auth]:
    """Run auth as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services",
        "auth",
        cwd=ROOT,
        env={**os.environ, **env, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    auth = Auth(env, process)
    try:
        await auth.ready()
        yield auth
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _fill(auth: Auth) -> set[str]:
    secrets = {gateway: [f"sk-{gateway}-{number}" for number in range(IN_EACH)] for gateway in GATEWAYS}
    for number in range(0, IN_EACH, 20):
        await asyncio.gather(
            *(
                auth.keep(gateway, secret)
                for gateway, mine in secrets.items()
                for secret in mine[number : number + 20]
            )
        )
    return {secret for mine in secrets.values() for secret in mine}


@pytest.mark.timeout(180)
async def test_a_kill_in_the_middle_of_a_rotation_loses_no_key(env: dict[str, str], tmp_path: Path) -> None:
    """
    After each `kill -9` every key opens, and the next rotation goes on to its end with the new master key
    that the killed one had made.
    """
    file = tmp_path / "master.key"
    seed = random.randrange(1 << 32)
    broken_off = []
    async with running(env) as auth:
        expected = await _fill(auth)
        made = await auth.rotate(*KILLS[0])
    for kill in (*KILLS[1:], None):
        known = KeyRing.of_file(file).ids
        async with running(env) as auth:
            counts = dict((await auth.vault()).sealed_counts)
            assert expected == await auth.secrets(), (seed, kill)
            rotated = set(await auth.rotate(None, 0)) if len(known) > 1 else set()
            assert expected == await auth.secrets(), (seed, kill)
            after = await auth.vault()
            broken_off.append(len(counts))
            assert set(counts) <= set(known)
            assert set(made) | rotated <= {known[0]}
            assert {known[0]: len(expected)} == dict(after.sealed_counts), (seed, kill)
            assert [known[0]] == list(after.master_key_ids) == list(KeyRing.of_file(file).ids)
            if kill is not None:
                made = await auth.rotate(kill[0], kill[1] * random.Random(seed).random())

    # The kills did hit: some left keys under two master keys.
    assert 2 in broken_off
