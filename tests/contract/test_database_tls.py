"""PostgreSQL with TLS: whom services trust by the address, and what they say when they do not."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.certificates import Authority, lay
from kit.database_errors import DatabaseAwayError
from kit.database_postgres import connect
from kit.secret import Secret
from tests.fakes.postgres import shared_postgres
from tests.fakes.postgres_tls import tls_front

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from kit.database import PostgresSchema

PASSWORD = "canary-of-a-password"
NOT_FULL = (
    "`sslmode` of the address must be verify-full where the system says who is trusted: anybody has a "
    "certificate of a public authority for some name"
)
CANNOT = "of the address: the file {} cannot be used: No such file or directory"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Servers, and a file with the authority that signed for `localhost` and for no other name."""

    tls: int
    plain: int
    place: PostgresSchema
    ca: Path
    stranger: Path

    async def ask(self, query: str, *, host: str = "localhost", port: int | None = None) -> str:
        """Connect, and tell whether that worked, or why not."""
        url = f"postgresql://postgres:{PASSWORD}@{host}:{port or self.tls}/postgres?{query}"
        try:
            connection = await connect(dataclasses.replace(self.place, url=Secret(url)), application="x")
        except DatabaseAwayError as error:
            return f"{error}{'' if error.lasting else ', for now'}"
        answer = await connection.fetchval("SELECT 'it answers'")
        await connection.close()
        return str(answer)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("HOME", str(tmp_path))
    place = shared_postgres().new_schema()
    directory = parse_qs(urlsplit(place.url.reveal()).query)["host"][0]
    authority = Authority.new()
    lay(tmp_path / "server", authority.issue(dns=["localhost"]))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "stranger.pem").write_bytes(Authority.new("stranger").pem)

    async def reach() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(f"{directory}/.s.PGSQL.5432")

    async with tls_front(reach, tmp_path / "server") as tls, tls_front(reach, None) as plain:
        yield World(
            tls=tls, plain=plain, place=place, ca=tmp_path / "ca.pem", stranger=tmp_path / "stranger.pem"
        )


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_file_says_who_is_trusted(world: World, mode: str) -> None:
    """Who is not in it is refused, also by `require`, as libpq does it."""
    assert "it answers" == await world.ask(f"sslmode={mode}&sslrootcert={world.ca}")
    refused = await world.ask(f"sslmode={mode}&sslrootcert={world.stranger}")

    assert refused.startswith("its certificate is refused: ")
    assert refused.endswith("; `sslrootcert` of the address names the file of who is trusted")


async def test_the_full_check_is_also_of_the_name(world: World) -> None:
    """A certificate of another name is good enough for `verify-ca` alone."""
    full = await world.ask(f"sslmode=verify-full&sslrootcert={world.ca}", host="127.0.0.1")

    assert "its certificate is refused: IP address mismatch, certificate is not valid for '127.0.0.1'" == full
    assert "it answers" == await world.ask(f"sslmode=verify-ca&sslrootcert={world.ca}", host="127.0.0.1")


@pytest.mark.parametrize(
    "query", ["sslmode=verify-full", "sslmode=verify-full&sslrootcert=system", "sslrootcert=system"]
)
async def test_without_a_file_the_system_says_who_is_trusted(
    world: World, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod has no home directory with a file in it, but it has the system's authorities."""
    monkeypatch.setenv("SSL_CERT_FILE", str(world.stranger))
    assert (await world.ask(query)).startswith("its certificate is refused: ")
    monkeypatch.setenv("SSL_CERT_FILE", str(world.ca))

    assert "it answers" == await world.ask(query)
    assert "it answers" != await world.ask(query, host="127.0.0.1")


async def test_a_file_at_home_goes_before_the_system(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where libpq looks."""
    monkeypatch.setenv("SSL_CERT_FILE", str(world.stranger))
    usual = world.ca.parent / ".postgresql" / "root.crt"
    usual.parent.mkdir()
    usual.write_bytes(world.ca.read_bytes())

    assert "it answers" == await world.ask("sslmode=verify-full")


@pytest.mark.parametrize("query", ["sslmode=require", "sslmode=prefer", ""])
async def test_less_is_encryption_alone(world: World, query: str) -> None:
    """Nobody is trusted, and nobody is refused."""
    assert "it answers" == await world.ask(query)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("sslmode=verify-full&sslrootcert=/no/such.pem", f"`sslrootcert` {CANNOT.format('/no/such.pem')}"),
        ("sslmode=verify-full&sslcert=/no/mine.pem", f"`sslcert` {CANNOT.format('/no/mine.pem')}"),
        ("sslmode=verify-full&sslcrl=/no/list.pem", f"`sslcrl` {CANNOT.format('/no/list.pem')}"),
        (
            "sslmode=require&sslrootcert=/dev/null",
            "`sslrootcert` of the address: the file /dev/null cannot be used: no certificate or crl found",
        ),
        (
            "sslmode=full",
            "`sslmode` of the address must be one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        (
            "sslmode=verify-full&ssl_min_protocol_version=9",
            "`ssl_min_protocol_version` of the address must be one of TLSv1.2, TLSv1.3",
        ),
        ("sslmode=verify-ca", NOT_FULL),
        ("sslmode=require&sslrootcert=system", NOT_FULL),
    ],
)
async def test_what_is_wrong_is_said(world: World, query: str, why: str) -> None:
    """The sentence names the parameter and the file, not the password, and waiting is of no use."""
    assert why == await world.ask(query)


async def test_a_server_without_tls_is_refused(world: World) -> None:
    """What was to be encrypted is not sent in plain text."""
    refused = await world.ask(f"sslmode=verify-full&sslrootcert={world.ca}", port=world.plain)

    assert "it does not offer TLS, which `sslmode` of the address asks for" == refused
    assert "it answers" == await world.ask("sslmode=prefer", port=world.plain)
