"""
What a thief of the database and the logs has: no key and no token, in no encoding.

The master key and the file of the first token are what protects, so those two are not among what is searched.
"""

from __future__ import annotations

import base64
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from headrace.auth.v1 import credential_pb2, token_pb2, vault_pb2
from headrace.auth.v1 import provider_config_pb2 as pb
from headrace.auth.v1.credential_pb2_grpc import CredentialServiceStub
from headrace.auth.v1.provider_config_pb2_grpc import ProviderConfigServiceStub
from headrace.auth.v1.token_pb2_grpc import TokenServiceStub
from headrace.auth.v1.vault_pb2_grpc import VaultServiceStub
from kit.errors import GatewayError
from services.auth.app import build
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Has characters that URLs, JSON and base64 write differently.
KEYS = {name: f"canary/{name}+key=7c1f~0a9e&{name[::-1]}" for name in ("first", "second", "moved", "bad")}
PROTECTED = frozenset({"master.key", "token"})


def encodings(secret: str) -> Iterator[bytes]:
    """Yield what a secret may look like in bytes that hold it."""
    plain = secret.encode()
    for content in (plain, plain[::-1]):
        yield content
        yield content.hex().encode()
        yield content.hex().upper().encode()
        yield urllib.parse.quote(content, safe="").encode()
        yield urllib.parse.quote_plus(content).encode()
        yield urllib.parse.quote(content, safe="").lower().encode()
        for shift in range(3):
            # In base64 what stands before a text changes how it is written; the middle of it stays.
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                yield encode(bytes(shift) + content)[4:-4]
        yield base64.b32encode(content).rstrip(b"=")[:-2]
        yield content.decode().encode("utf-16-le")
        yield content.decode().encode("utf-16-be")
        yield bytes(each ^ 0x20 if chr(each).isalpha() else each for each in content)


def leaks(places: Mapping[str, bytes], secrets: Mapping[str, str]) -> list[tuple[str, str]]:
    """Name the places that have a secret, with its name."""
    return [
        (place, name)
        for place, content in places.items()
        for name, secret in secrets.items()
        if any(form in content for form in encodings(secret))
    ]


def test_a_leak_would_be_found() -> None:
    """The search sees each form, wherever it stands."""
    forms = list(encodings(KEYS["first"]))
    places = {str(number): b"\0\xff" + form + b"\n" for number, form in enumerate(forms)}

    assert [(place, "first") for place in places] == leaks({**places, "clean": b"nothing"}, KEYS)


async def _tables(url: str) -> dict[str, bytes]:
    """Read everything that a dump of the PostgreSQL database would have."""
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    found: dict[str, bytes] = {}
    async with engine.connect() as connection:
        names = await connection.execute(
            text("SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^pg_|^information'")
        )
        for schema, table in names.all():
            rows = await connection.execute(text(f'SELECT t::text FROM "{schema}"."{table}" t'))
            found[f"{schema}.{table}"] = "\n".join(rows.scalars()).encode()
            raw = await connection.execute(text(f'SELECT * FROM "{schema}"."{table}"'))
            found[f"{schema}.{table} raw"] = b"\n".join(
                value if isinstance(value, bytes) else str(value).encode()
                for row in raw.all()
                for value in row
            )
    await engine.dispose()
    return found


def _files(directory: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in PROTECTED
    }


async def _use(one: OneService) -> dict[str, str]:
    """Keep, change, give out, refuse, rotate and delete keys; return the tokens that were shown."""
    configs: Any = ProviderConfigServiceStub(one.channel("edge"))
    named: dict[str, Any] = {"account_id": "acme", "gateway_id": "prod"}

    async def keep(secret: str, alias: str = "default") -> pb.ProviderConfig:
        config = pb.ProviderConfig(**named, provider="openai", alias=alias)
        request = pb.CreateProviderConfigRequest(config=config, secret=secret)
        answer: pb.CreateProviderConfigResponse = await configs.CreateProviderConfig(request, timeout=10)
        return answer.config

    first = await keep(KEYS["first"])
    changed = pb.UpdateProviderConfigRequest(**named, id=first.id, secret=KEYS["second"])
    await configs.UpdateProviderConfig(changed, timeout=10)
    moved = await keep(KEYS["moved"], "moved")
    await configs.DeleteProviderConfig(pb.DeleteProviderConfigRequest(**named, id=moved.id), timeout=10)
    with pytest.raises(GatewayError):
        await keep(KEYS["bad"], "no such alias!")
    credentials: Any = CredentialServiceStub(one.channel("providers"))
    request = credential_pb2.ResolveCredentialRequest(**named, provider="openai")
    given = await credentials.ResolveCredential(request, timeout=10)
    assert [KEYS["second"]] == [key.secret for key in given.keys]
    vault: Any = VaultServiceStub(one.channel("cli"))
    async for _ in vault.RotateMasterKey(vault_pb2.RotateMasterKeyRequest(generate=True), timeout=30):
        pass
    tokens: Any = TokenServiceStub(one.channel("edge"))
    spec = token_pb2.TokenSpec(name="canary")
    owner = token_pb2.TokenOwner(account_id="acme")
    made = await tokens.CreateToken(token_pb2.CreateTokenRequest(owner=owner, spec=spec), timeout=10)
    return {"first token": (one.settings.data_dir / "token").read_text().strip(), "token": made.secret}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_copy_without_the_master_key_has_no_secret(
    request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    """Neither while auth runs, its write-ahead log included, nor after it stopped, nor in what it logged."""
    data_dir = tmp_path / "data"
    env = {"HEADRACE_DATA_DIR": str(data_dir), "HEADRACE_ACCOUNT": "acme", "HEADRACE_LOG_LEVEL": "debug"}
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else ""
    if url:
        env["HEADRACE_DATABASE_URL"] = url
    async with serve(build, env) as one:
        tokens = await _use(one)
        master_keys = dict(enumerate((data_dir / "master.key").read_text().split()))
        running = _files(data_dir) | (await _tables(url) if url else {})
    stopped = {f"{place} afterwards": content for place, content in _files(data_dir).items()}
    logged = "".join(capfd.readouterr()).encode()
    secrets = KEYS | tokens | {f"end of {name}": token.split("_", 2)[2] for name, token in tokens.items()}
    secrets |= {f"master key {number}": key for number, key in master_keys.items()}

    assert b"master key rotation ended" in logged
    # The rows are among what is searched.
    assert any(
        b"openai" in content and b"provider_config" in content + place.encode()
        for place, content in running.items()
    )
    assert [] == leaks({**running, **stopped, "log": logged}, secrets)
