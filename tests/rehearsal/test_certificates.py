"""
Certificates between services and of the front door: renewed under load, and refused where they are not
right.
"""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from deploy.certificates import Authority, service_names
from tests.rehearsal.judging import counts, demand_nothing_failed, demand_right_books
from tests.rehearsal.system import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.rehearsal.conftest import Figure
    from tests.rehearsal.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

AUTHENTICATE = "/headrace.auth.v1.AuthService/Authenticate"
VAULT = "/headrace.auth.v1.VaultService/GetVault"
EXPIRY = re.compile(r"^headrace_tls_certificate_expiry_seconds(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


async def replace(system: System, secrets: Mapping[str, Mapping[str, bytes]]) -> None:
    """Give Secrets new contents, as cert-manager does it."""
    for name, data in secrets.items():
        await system.cluster.update_secret(name, {key: value.decode() for key, value in data.items()})


async def used_by_all(system: System, end: datetime, *, timeout_s: float = 90) -> float:
    """
    Wait until every process of ours uses a certificate that ends then.

    Returns:
        How long it took, in seconds.
    """
    began = time.monotonic()
    ours = [
        pod
        for pod in system.cluster.pods()
        if pod.workload.startswith(("edge", "auth", "router", "cache", "ledger", "providers"))
    ]
    async with asyncio.timeout(timeout_s):
        for pod in ours:
            while True:
                looked = await system.probe(pod, "http", "http://127.0.0.1:9100/metrics")
                left_s = (end - datetime.now(UTC)).total_seconds()
                if any(abs(float(each) - left_s) < 3600 for each in EXPIRY.findall(looked["body"])):
                    break
                await asyncio.sleep(0.5)
    return time.monotonic() - began


async def test_renewed_certificates_are_taken_under_load(system: System, figure: Figure) -> None:
    """
    Every leaf is replaced at once, that of the front door too; every process uses its new one, and nobody
    notices.
    """
    load = await system.load(*EVERYTHING)
    lifetime = timedelta(days=5)
    end = datetime.now(UTC) + lifetime
    await replace(system, system.manifests.issued(lifetime=lifetime))
    figure("new leaves used by all after s", round(await used_by_all(system, end), 1))
    await load.goes_on(count=30)
    outcomes = await load.stop()
    figure("requests while leaves changed", counts(outcomes))

    demand_nothing_failed(outcomes)
    await demand_right_books(system, load)


@pytest.mark.whole
async def test_another_authority_takes_over_under_load(system: System, figure: Figure) -> None:
    """Both are trusted, then all leaves are of the new one, then only that is trusted: nobody notices."""
    old, new = system.manifests.internal, Authority.new("next")
    load = await system.load(*EVERYTHING)
    steps = ((old, (old, new), 11), (new, (old, new), 12), (new, (new,), 13))
    for by, trusted, days in steps:
        end = datetime.now(UTC) + timedelta(days=days)
        await replace(system, system.manifests.issued(by=by, trusted=trusted, lifetime=timedelta(days=days)))
        figure(f"step of day {days} used by all after s", round(await used_by_all(system, end), 1))
        await load.goes_on(count=20)
    system.manifests.internal = new
    outcomes = await load.stop()
    figure("requests while the authority changed", counts(outcomes))

    demand_nothing_failed(outcomes)
    await demand_right_books(system, load)


def shown(directory: Path, data: Mapping[str, bytes]) -> str:
    """Write a certificate into a directory, and return that."""
    directory.mkdir()
    for name, content in data.items():
        (directory / name).write_bytes(content)
    return str(directory)


async def test_only_the_right_certificate_opens_a_service(system: System, tmp_path: Path) -> None:
    """From where an edge is, auth takes an edge; the expired, the foreign and the misnamed are refused."""
    [pod, *_] = system.cluster.pods("edge")
    authority, day = system.manifests.internal, timedelta(days=1)
    names, uri = service_names("edge"), "spiffe://headrace/edge"
    made = {
        "right": authority.issue(dns=names, uri=uri),
        "expired": authority.issue(dns=names, uri=uri, not_before=datetime.now(UTC) - 2 * day, lifetime=day),
        "of-tomorrow": authority.issue(dns=names, uri=uri, not_before=datetime.now(UTC) + day),
        "foreign": Authority.new("stranger").issue(dns=names, uri=uri),
        "nobody": authority.issue(dns=names),
        "other-domain": authority.issue(dns=names, uri="spiffe://elsewhere/edge"),
        "cache": authority.issue(dns=service_names("cache"), uri="spiffe://headrace/cache"),
    }
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    common = ("--ca", str(tmp_path / "ca.crt"), "--timeout-s", "5")

    async def look(
        name: str | None, method: str, target: str = "auth:9000", *more: str
    ) -> tuple[str, str | None]:
        certificate = (
            () if name is None else ("--certificate", shown(tmp_path / f"{name}{method[-3:]}", made[name]))
        )
        found = await system.probe(pod, "call", target, method, *common, *certificate, *more)
        return found["status"], found["reason"]

    refused = {name: await look(name, AUTHENTICATE) for name in ("expired", "of-tomorrow", "foreign", None)}
    unknown = {name: await look(name, AUTHENTICATE) for name in ("nobody", "other-domain")}
    right = await look("right", AUTHENTICATE)
    not_theirs = await look("cache", VAULT)
    router = (await system.cluster.resolve("router"))[0]
    wrong_server = await look("right", VAULT, f"{router}:9000", "--server-name", "auth")

    assert {("UNAVAILABLE", None)} == set(refused.values()), refused
    assert {"CALLER_NOT_ALLOWED"} == {reason for _, reason in unknown.values()} - {None}, unknown
    assert "CALLER_NOT_ALLOWED" != right[1], right
    assert "UNAVAILABLE" != right[0], right
    assert ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED") == not_theirs
    assert ("UNAVAILABLE", None) == wrong_server


async def test_the_front_door_refuses_a_certificate_that_is_not_good(system: System, tmp_path: Path) -> None:
    """Who shows none is a client like any other; who shows a bad one does not get in."""
    day = timedelta(days=1)
    uri = "spiffe://headrace/caller/reporting"
    made = {
        "expired": system.manifests.internal.issue(
            uri=uri, not_before=datetime.now(UTC) - 2 * day, lifetime=day
        ),
        "foreign": Authority.new("stranger").issue(uri=uri),
    }
    common = ("--ca", str(system.ca_file), "--server-name", "ai.example.com", "--timeout-s", "5")
    health = ("call", f"{system.address}:9443", "/grpc.health.v1.Health/Check")
    found = {
        name: await system.probe(
            system.cluster.outside, *health, *common, "--certificate", shown(tmp_path / name, data)
        )
        for name, data in made.items()
    }
    without = await system.probe(system.cluster.outside, *health, *common)

    assert {"UNAVAILABLE"} == {one["status"] for one in found.values()}, found
    assert "OK" == without["status"], without
