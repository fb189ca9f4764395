"""`headrace vault`, against a real auth."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.auth.v1 import provider_config_pb2 as pb
from headrace.auth.v1.provider_config_pb2_grpc import ProviderConfigServiceStub
from services.auth.app import build
from services.auth.vault.sealing import MasterKey
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = MasterKey(bytes(32)), MasterKey(bytes([1] * 32))


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HEADRACE_DATA_DIR": str(tmp_path / "data"), "HEADRACE_ACCOUNT": "acme"}


@pytest.fixture
async def auth(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OneService]:
    async with serve(build, env) as one:
        _point_at(one, monkeypatch)
        yield one


def _point_at(one: OneService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_AUTH_ADDRESS", f"unix:{one.settings.run_dir / 'x.sock'}")


async def _keep(one: OneService, count: int) -> None:
    stub: Any = ProviderConfigServiceStub(one.channel("edge"))
    config = pb.ProviderConfig(account_id="acme", gateway_id="prod", provider="openai", alias="default")
    for _ in range(count):
        request = pb.CreateProviderConfigRequest(config=config, secret="sk-canary-0123456789")
        await stub.CreateProviderConfig(request, timeout=10)


@dataclass(frozen=True, slots=True)
class Result:
    """How the command ended."""

    exit_code: int | None
    stdout: str
    stderr: str


async def headrace(*arguments: str) -> Result:
    """Run the command as the program that it is: its output must not be mixed with that of auth."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, cwd=ROOT, stdout=PIPE, stderr=PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
    )  # fmt: skip
    stdout, stderr = await process.communicate()
    return Result(process.returncode, stdout.decode(), stderr.decode())


async def test_a_rotation_and_what_is_seen_of_it(auth: OneService) -> None:
    """The state before, the rotation, and the state after; nothing that is secret is shown."""
    await _keep(auth, 3)
    before = await headrace("vault", "status", "--json")
    rotated = await headrace("vault", "rotate")
    after = await headrace("vault", "status")
    [old] = json.loads(before.stdout)["master_keys"]
    new = after.stdout.split()[0]

    assert (3, True) == (old["sealed"], old["known"])
    assert f"3 keys sealed under the master key {new}.\n" == rotated.stdout
    assert f"{new}  3 keys  newest\n" == after.stdout
    assert old["id"] != new
    assert not any(
        word in output
        for output in (before.stdout, rotated.stdout, rotated.stderr, after.stdout)
        for word in ("sk-canary", *(auth.settings.data_dir / "master.key").read_text().split())
    )


async def test_what_programs_read(auth: OneService) -> None:
    """With --json a rotation prints one object."""
    await _keep(auth, 1)
    rotated = json.loads((await headrace("vault", "rotate", "--json")).stdout)

    assert {"master_key_id", "sealed"} == set(rotated)
    assert 1 == rotated["sealed"]


async def test_keys_of_the_operators_own(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where auth may not make a key the command says how it is done, and does the rest."""
    env["HEADRACE_MASTER_KEY"] = OLD.encode().reveal()
    async with serve(build, env) as one:
        _point_at(one, monkeypatch)
        await _keep(one, 2)
        refused = await headrace("vault", "rotate")
        nothing = await headrace("vault", "rotate", "--no-generate")
    env["HEADRACE_MASTER_KEY"] = f"{NEW.encode().reveal()} {OLD.encode().reveal()}"
    async with serve(build, env) as one:
        _point_at(one, monkeypatch)
        before = await headrace("vault", "status")
        rotated = await headrace("vault", "rotate", "--no-generate")
    env["HEADRACE_MASTER_KEY"] = OLD.encode().reveal()
    async with serve(build, env) as one:
        _point_at(one, monkeypatch)
        missing = await headrace("vault", "status")

    assert (1, 1) == (refused.exit_code, nothing.exit_code)
    assert "put a new key before the old one there" in refused.stderr
    assert "already" in nothing.stderr
    assert f"{NEW.id}  0 keys  newest\n{OLD.id}  2 keys\n" == before.stdout
    assert (0, f"2 keys sealed under the master key {NEW.id}.\n") == (rotated.exit_code, rotated.stdout)
    assert f"{NEW.id}  2 keys  MISSING: put this master key back" in missing.stdout


async def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an installation the answer says how to start one."""
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
    result = await headrace("vault", "status")

    assert 1 == result.exit_code
    assert "headrace up" in result.stderr
