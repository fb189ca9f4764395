"""Stored keys over real gRPC: kept by the edge, given out to providers, rotated by the command line."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.auth.v1 import auth_service_pb2, credential_pb2, vault_pb2
from headrace.auth.v1 import provider_config_pb2 as pb
from headrace.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from headrace.auth.v1.credential_pb2_grpc import CredentialServiceStub
from headrace.auth.v1.provider_config_pb2_grpc import ProviderConfigServiceStub
from headrace.auth.v1.vault_pb2_grpc import VaultServiceStub
from kit.errors import GatewayError, Reason
from services.auth.app import build
from services.auth.vault.sealing import MasterKey
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OLD, NEW = MasterKey(bytes(32)), MasterKey(bytes([1] * 32))
SECRET = "sk-0123456789-wxyz"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        "HEADRACE_DATA_DIR": str(tmp_path / "data"),
        "HEADRACE_ACCOUNT": "acme",
        "HEADRACE_AUTH_SECRETS_DIR": str(tmp_path / "secrets"),
        "HEADRACE_SECRET_OPENAI": "sk-from-the-environment",
    }


@pytest.fixture
async def auth(env: dict[str, str]) -> AsyncIterator[OneService]:
    async with serve(build, env) as one:
        yield one


def _configs(one: OneService, caller: str = "edge") -> Any:
    return ProviderConfigServiceStub(one.channel(caller))


def _credentials(one: OneService, caller: str = "providers") -> Any:
    return CredentialServiceStub(one.channel(caller))


def _vault(one: OneService, caller: str = "cli") -> Any:
    return VaultServiceStub(one.channel(caller))


async def _create(one: OneService, secret: str = SECRET, **fields: Any) -> pb.ProviderConfig:
    given = {"account_id": "acme", "gateway_id": "prod", "provider": "openai", "alias": "default", **fields}
    request = pb.CreateProviderConfigRequest(config=pb.ProviderConfig(**given), secret=secret)
    answer: pb.CreateProviderConfigResponse = await _configs(one).CreateProviderConfig(request, timeout=10)
    return answer.config


async def _resolve(one: OneService, **fields: str) -> credential_pb2.ResolveCredentialResponse:
    given = {"account_id": "acme", "gateway_id": "prod", "provider": "openai", **fields}
    request = credential_pb2.ResolveCredentialRequest(**given)
    answer: credential_pb2.ResolveCredentialResponse = await _credentials(one).ResolveCredential(
        request, timeout=10
    )
    return answer


def _named(config: pb.ProviderConfig) -> dict[str, Any]:
    return {"account_id": config.account_id, "gateway_id": config.gateway_id, "id": config.id}


async def _rotate(one: OneService, *, generate: bool) -> list[vault_pb2.RotateMasterKeyResponse]:
    request = vault_pb2.RotateMasterKeyRequest(generate=generate)
    return [step async for step in _vault(one).RotateMasterKey(request, timeout=30)]


async def test_a_key_goes_in_and_comes_out_for_providers_alone(auth: OneService) -> None:
    """What the edge sees of a key is its preview; providers get it, with how it may be used."""
    config = await _create(auth, alias="mine", weight=3, rate_limit=9, default_config=True)
    got = await _configs(auth).GetProviderConfig(pb.GetProviderConfigRequest(**_named(config)), timeout=5)
    listed = await _configs(auth).ListProviderConfigs(
        pb.ListProviderConfigsRequest(account_id="acme"), timeout=5
    )
    answer = await _resolve(auth, alias="mine")
    [key] = answer.keys

    assert config == got.config == listed.configs[0]
    assert (1, "wxyz", "") == (listed.total_count, config.secret_preview, config.secret_ref)
    assert SECRET.encode() not in listed.SerializeToString()
    assert (config.id, SECRET, 3, 9, 60) == (
        key.id,
        key.secret,
        key.weight,
        key.rate_limit,
        key.rate_limit_period.seconds,
    )
    assert (["mine"], 60, 300, "acme") == (
        list(answer.aliases),
        answer.lifetime.reuse_for.seconds,
        answer.lifetime.grace.seconds,
        answer.lifetime.scope,
    )


@pytest.mark.parametrize("caller", ["edge", "router", "cache", "ledger", "cli", "external"])
async def test_nobody_else_is_given_keys(auth: OneService, caller: str) -> None:
    """Only `providers` may ask for keys."""
    request = credential_pb2.ResolveCredentialRequest(account_id="acme", gateway_id="prod", provider="openai")
    with pytest.raises(GatewayError) as caught:
        await _credentials(auth, caller).ResolveCredential(request, timeout=5)

    assert Reason.CALLER_NOT_ALLOWED == caught.value.reason


async def test_no_key_is_an_answer(auth: OneService) -> None:
    """Without a key the answer says which aliases there are, and whether the operator's keys may be used."""
    await _create(auth, alias="b")
    await _create(auth, alias="a")
    unknown = await _resolve(auth)
    nobody = await _resolve(auth, account_id="nobody")

    assert ([], ["a", "b"], True) == (list(unknown.keys), list(unknown.aliases), unknown.unified)
    assert ([], [], False) == (list(nobody.keys), list(nobody.aliases), nobody.unified)


async def test_other_names_of_a_provider_are_the_same(auth: OneService) -> None:
    """A key that was stored under one name of a provider is found under all."""
    config = await _create(auth, provider="perplexity")

    assert "perplexity-ai" == config.provider
    assert [config.id] == [key.id for key in (await _resolve(auth, provider="perplexity")).keys]
    assert [config.id] == [key.id for key in (await _resolve(auth, provider="perplexity-ai")).keys]


async def test_a_change_takes_effect_and_is_told(auth: OneService) -> None:
    """Watchers hear of each change of an account's keys; the next answer has what is new."""
    watch: Any = AuthServiceStub(auth.channel("providers")).Watch(auth_service_pb2.WatchRequest())
    async with aclosing(watch) as events:
        first = (await anext(events)).invalidation
        config = await _create(auth)
        made = (await anext(events)).invalidation
        request = pb.UpdateProviderConfigRequest(**_named(config), secret="sk-new-0123456789", weight=5)
        updated = (await _configs(auth).UpdateProviderConfig(request, timeout=5)).config
        changed = (await anext(events)).invalidation
    answer = await _resolve(auth)

    assert first.generation < made.generation < changed.generation == answer.lifetime.generation
    assert {"acme"} == {made.scope, changed.scope}
    assert ("6789", 5) == (updated.secret_preview, updated.weight)
    assert [("sk-new-0123456789", 5)] == [(key.secret, key.weight) for key in answer.keys]


async def test_what_is_deleted_is_not_given_out(auth: OneService) -> None:
    """A deleted key, and those of a deleted gateway, are gone from the next answer."""
    one, two = await _create(auth), await _create(auth)
    await _configs(auth).DeleteProviderConfig(pb.DeleteProviderConfigRequest(**_named(one)), timeout=5)
    left = await _resolve(auth)
    request = pb.DeleteGatewayConfigsRequest(account_id="acme", gateway_id="prod")
    deleted = await _configs(auth).DeleteGatewayConfigs(request, timeout=5)

    assert [two.id] == [key.id for key in left.keys]
    assert 1 == deleted.deleted_count
    assert [] == list((await _resolve(auth)).keys)


async def test_references_are_read_where_they_point(auth: OneService, tmp_path: Path) -> None:
    """A file's key is given out as it is now, one of the environment too; nothing of them is stored."""
    directory = tmp_path / "secrets" / "acme"
    directory.mkdir(parents=True)
    (directory / "openai").write_text("sk-file-one\n")
    by_file = await _create(auth, "", secret_ref="file:openai", alias="file")
    await _create(auth, "", secret_ref="env:OPENAI", alias="env")
    before = await _resolve(auth, alias="file")
    (directory / "openai").write_text("sk-file-two\n")
    after = await _resolve(auth, alias="file")
    env = await _resolve(auth, alias="env")
    counts = (await _vault(auth).GetVault(vault_pb2.GetVaultRequest(), timeout=5)).sealed_counts

    assert ("file:openai", "") == (by_file.secret_ref, by_file.secret_preview)
    assert ["sk-file-one", "sk-file-two", "sk-from-the-environment"] == [
        answer.keys[0].secret for answer in (before, after, env)
    ]
    assert {} == dict(counts)


async def test_a_key_that_cannot_be_read_stops_no_other(auth: OneService) -> None:
    """Of a pool those are given out that can be had; if none can, the answer is that for now."""
    await _create(auth, "", secret_ref="file:missing")
    with pytest.raises(GatewayError) as caught:
        await _resolve(auth)
    good = await _create(auth)

    assert Reason.SERVICE_UNAVAILABLE == caught.value.reason
    assert [good.id] == [key.id for key in (await _resolve(auth)).keys]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"secret": ""}, "secret"),
        ({"secret_ref": "file:a"}, "secret_ref"),
        ({"secret": "", "secret_ref": "vault:a#b"}, "secret_ref"),
        ({"secret": "", "secret_ref": "file:../a"}, "secret_ref"),
        ({"secret": "", "secret_ref": "env:A", "account_id": "other"}, "secret_ref"),
        ({"secret": "x" * 65_537}, "secret"),
        ({"alias": ""}, "alias"),
        ({"provider": "nonesuch"}, "provider"),
        ({"provider": "custom-"}, "provider"),
        ({"gateway_id": ""}, "gateway_id"),
        ({"account_id": ""}, "account_id"),
        ({"weight": 1001}, "weight"),
        ({"weight": -1}, "weight"),
        ({"rate_limit": 0}, "rate_limit"),
    ],
)
async def test_what_is_not_well_formed_is_refused(
    auth: OneService, fields: dict[str, Any], param: str
) -> None:
    """Each bad member is named."""
    with pytest.raises(GatewayError) as caught:
        await _create(auth, **fields)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


async def test_reports_are_shown(auth: OneService) -> None:
    """How a key was taken stands in what people see of it."""
    config = await _create(auth)
    used = Timestamp(seconds=config.update_time.seconds + 60)
    report = credential_pb2.KeyReport(id=config.id, status=pb.KEY_STATUS_LIMITED, use_time=used)
    request = credential_pb2.ReportKeysRequest(reports=[report])
    await _credentials(auth).ReportKeys(request, timeout=5)
    got = await _configs(auth).GetProviderConfig(pb.GetProviderConfigRequest(**_named(config)), timeout=5)

    assert (pb.KEY_STATUS_LIMITED, used) == (got.config.status, got.config.last_use_time)


async def test_a_rotation_tells_how_far_it_is(auth: OneService, env: dict[str, str]) -> None:
    """Everything is sealed under a new key then, and still opens after a restart."""
    for _ in range(3):
        await _create(auth)
    before = await _vault(auth).GetVault(vault_pb2.GetVaultRequest(), timeout=5)
    steps = await _rotate(auth, generate=True)
    after = await _vault(auth).GetVault(vault_pb2.GetVaultRequest(), timeout=5)
    await auth.stop()
    async with serve(build, env) as again:
        secrets = [key.secret for key in (await _resolve(again)).keys]

    assert [(0, 3), (3, 3)] == [(step.done_count, step.total_count) for step in steps]
    assert {steps[-1].master_key_id: 3} == dict(after.sealed_counts)
    assert [steps[-1].master_key_id] == list(after.master_key_ids) != list(before.master_key_ids)
    assert [SECRET] * 3 == secrets


async def test_a_key_in_the_environment_is_changed_by_the_operator(env: dict[str, str]) -> None:
    """Auth makes no key of its own then; what to do is said, and works."""
    env["HEADRACE_MASTER_KEY"] = OLD.encode().reveal()
    async with serve(build, env) as one:
        await _create(one)
        with pytest.raises(GatewayError, match="put a new key before the old one"):
            await _rotate(one, generate=True)
        assert not (one.settings.data_dir / "master.key").exists()
    env["HEADRACE_MASTER_KEY"] = f"{NEW.encode().reveal()} {OLD.encode().reveal()}"
    async with serve(build, env) as one:
        await _rotate(one, generate=False)
    env["HEADRACE_MASTER_KEY"] = NEW.encode().reveal()
    async with serve(build, env) as one:
        assert [SECRET] == [key.secret for key in (await _resolve(one)).keys]


async def test_a_lost_master_key_stops_nothing_else(env: dict[str, str]) -> None:
    """Without it sealed keys cannot be had, and references and everything else go on."""
    env["HEADRACE_MASTER_KEY"] = OLD.encode().reveal()
    async with serve(build, env) as one:
        await _create(one)
        await _create(one, "", secret_ref="env:OPENAI", alias="env")
    env["HEADRACE_MASTER_KEY"] = NEW.encode().reveal()
    async with serve(build, env) as one:
        with pytest.raises(GatewayError) as caught:
            await _resolve(one)
        assert Reason.SERVICE_UNAVAILABLE == caught.value.reason
        assert ["sk-from-the-environment"] == [key.secret for key in (await _resolve(one, alias="env")).keys]
