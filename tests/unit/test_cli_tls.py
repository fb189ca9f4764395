"""The command line between hosts: what it shows, and what `headrace doctor` says of certificates."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cli.doctor.certificates import check_certificates
from cli.doctor.finding import Level
from cli.rpc import channel
from deploy.certificates import Authority, lay
from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc
from kit.config import ConfigError, load
from kit.errors import GatewayError, Reason
from kit.runtime_config import RuntimeConfig
from tests.fakes.tls_world import spiffe, tls_world

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = Authority.new()


def runtime_of(directory: Path | None, **env: str) -> RuntimeConfig:
    """Read settings with a directory of certificates."""
    return load(RuntimeConfig, {**({} if directory is None else {"HEADRACE_TLS_DIR": str(directory)}), **env})


async def test_commands_show_the_certificate_of_the_command_line(tmp_path: Path) -> None:
    """The service sees the identity `cli`, and refuses it here, as only edges are on its list."""
    async with tls_world(tmp_path) as world:
        lay(tmp_path / "cli", world.authority.issue(uri=spiffe("cli")))
        runtime = runtime_of(tmp_path / "cli", HEADRACE_AUTH_ADDRESS=world.target)
        async with channel("auth", runtime) as opened:
            stub = auth_service_pb2_grpc.AuthServiceStub(opened)
            with pytest.raises(GatewayError) as caught:
                await stub.Authenticate(pb.AuthenticateRequest(), timeout=5)

    assert (Reason.CALLER_NOT_ALLOWED, "cli") == (caught.value.reason, caught.value.metadata["caller"])


def test_unusable_certificate_is_a_wrong_setting(tmp_path: Path) -> None:
    """A command says which file is wrong."""

    async def call() -> None:
        async with channel("auth", runtime_of(tmp_path, HEADRACE_AUTH_ADDRESS="127.0.0.1:1")):
            pass

    with pytest.raises(ConfigError, match=r"HEADRACE_TLS_DIR: .*tls\.crt cannot be read"):
        asyncio.run(call())


@pytest.mark.parametrize(
    ("files", "levels", "said"),
    [
        (AUTHORITY.issue(uri=spiffe("edge")), [Level.OK], "edge, until "),
        (AUTHORITY.issue(dns=["edge"]), [Level.BROKEN], "names no identity of the trust domain headrace"),
        (
            AUTHORITY.issue(uri=spiffe("edge"), trusted=[Authority.new()]),
            [Level.NOTE, Level.OK],
            "does not hold the authority",
        ),
        (AUTHORITY.issue(uri=spiffe("edge"), lifetime=timedelta(hours=1)), [Level.NOTE], "ends at "),
        (
            AUTHORITY.issue(uri=spiffe("edge"), not_before=datetime(2020, 1, 1, tzinfo=UTC)),
            [Level.BROKEN],
            "tls.crt expired at 2020-",
        ),
    ],
)
def test_doctor(tmp_path: Path, files: dict[str, bytes], levels: list[Level], said: str) -> None:
    """It names who the certificate is, and what would keep others from believing it."""
    lay(tmp_path, files)
    findings = list(check_certificates(runtime_of(tmp_path)))

    assert levels == [finding.level for finding in findings]
    assert said in findings[0].text


def test_doctor_without_tls() -> None:
    """Nothing is said of what is not used."""
    assert [] == list(check_certificates(runtime_of(None)))
