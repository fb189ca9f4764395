"""
A new operator's path: docs/install.md, every shell block as it stands, until a request is answered and all
is removed.

What a machine does in place of it: images are neither built nor pushed; PostgreSQL, Valkey and the provider
are those of the rehearsal, PostgreSQL behind TLS with a certificate of an authority of its own; cert-manager
is `manifests`; and adapters that nobody asks are left out, to start in seconds.
"""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy.certificates import Authority, lay
from deploy.rehearsal import Cluster, HostSpec
from deploy.rehearsal.images import ROOT
from scripts.k8s_render import render
from scripts.kubectl import kubectl
from tests.rehearsal.manifests import Manifests, shortened
from tests.rehearsal.operator_page import Answer, Follower, blocks_of
from tests.rehearsal.system import OUTSIDE, POSTGRES, PROVIDER, PROVIDER_HOST, VALKEY, images

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.rehearsal.conftest import Figure
    from tests.rehearsal.operator_page import Asked

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.whole]

PAGE = ROOT / "docs" / "install.md"
CHOSEN = """
export DATABASE_URL=$(echo "$DATABASE_URL" | sed 's|:password@|:rehearsal@|
  s|=system|=/etc/headrace/store-ca/postgresql.pem|')
export VALKEY_URL=valkey://valkey.rehearsal:6379/0
"""
HOST = "ai.example.com"
# The PostgreSQL that the page's address names: TLS, and behind it the rehearsal's, which has none.
POSTGRES_TLS = HostSpec(name="postgres-tls", address="192.168.77.12", names=("postgres.example.internal",))


class Operator:
    """Does what the page's commands ask for, in the rehearsal where that needs a cluster."""

    def __init__(self, cluster: Cluster, work: Path) -> None:
        self._cluster = cluster
        self._work = work
        self._manifests = Manifests(rendered=())
        self.removed: set[str] = set()

    async def make(self, asked: Asked) -> Answer:
        """Set nothing up: this environment is what `make setup` makes."""
        return Answer(0 if asked.argv == ["make", "setup"] else 2)

    async def docker(self, asked: Asked) -> Answer:
        """Build and push nothing, but look whether it could be."""
        built = asked.argv[1] != "build" or (asked.cwd / asked.argv[-1] / "Dockerfile").exists()
        return Answer(0 if built else 1)

    async def headrace(self, asked: Asked) -> Answer:
        """Run the command where the operator is, outside of the cluster."""
        env = {name: value for name, value in asked.env.items() if name.startswith("HEADRACE_")}
        return await self._outside([str(ROOT / "headrace"), *asked.argv[1:]], env)

    async def curl(self, asked: Asked) -> Answer:
        """Ask from outside of the cluster."""
        return await self._outside([str(await asyncio.to_thread(_found, "curl")), *asked.argv[1:]], {})

    async def kubectl(self, asked: Asked) -> Answer:
        """Render with the real one; what needs a cluster, the rehearsal does."""
        words = [word for word in asked.argv[1:] if word not in {"-n", "headrace"}]
        match words:
            case ["kustomize", *_]:
                answer = await _real(asked.argv[1:], asked.cwd)
            case ["create", *_]:
                answer = await _real([*asked.argv[1:], "--dry-run=client", "-o", "yaml"], asked.cwd)
                if answer.status == 0:
                    await self._apply(list(yaml.safe_load_all(answer.out)))
            case ["apply", "-k", directory]:
                answer = await self._apply_overlay(asked.cwd / directory)
            case ["wait", "--for=condition=complete", "job", *_] | ["rollout", "status", *_]:
                names = () if words[0] == "wait" else (words[2].partition("/")[2],)
                await self._cluster.rolled_out(*names, timeout_s=300)
                answer = Answer()
            case ["get", "pods"]:
                answer = Answer(out="".join(f"{pod!r}\n" for pod in self._cluster.pods()))
            case ["get", "service", "front-door", *_]:
                answer = await self._name()
            case ["delete", "-k", directory]:
                rendered = await asyncio.to_thread(render, asked.cwd / directory)
                self.removed = {each["metadata"]["name"] for each in rendered if each["kind"] == "Deployment"}
                answer = Answer()
            case ["delete", "namespace"]:
                answer = Answer()
            case _:
                answer = Answer(1, "", f"nobody knows how to do this here: {asked.argv}\n")
        return answer

    async def _name(self) -> Answer:
        """Give the front door's address, and do with it what the page says: the record of the name."""
        address = await self._cluster.address("front-door")
        hosts = self._cluster.work_dir / "hosts" / "outside" / "hosts"
        await asyncio.to_thread(_add_line, hosts, f"{address} {HOST}\n")
        return Answer(out=f"{address}\n")

    async def _apply(self, documents: list[dict[str, Any]]) -> None:
        for document in documents:
            # kubectl prints these, and a server passes them over.
            document.pop("status", None)
            document["metadata"].pop("creationTimestamp", None)
            if document["kind"] != "Namespace":
                document["metadata"].setdefault("namespace", "headrace")
        await self._cluster.apply(documents)

    async def _apply_overlay(self, directory: Path) -> Answer:
        rendered = await asyncio.to_thread(render, directory)
        tried = await _real(
            ["apply", "--dry-run=client", "--validate=false", "-k", str(directory)], directory
        )
        for each in rendered:
            if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("headrace-providers"):
                each["data"]["HEADRACE_PROVIDER_OPENAI_BASE_URL"] = f"http://{PROVIDER}/v1"
        self._manifests = Manifests(rendered=shortened(rendered))
        await asyncio.to_thread((self._work / "public-ca.crt").write_bytes, self._manifests.public.pem)
        await self._cluster.apply(self._manifests.without_brought())
        return Answer(out=tried.out)

    async def _outside(self, argv: list[str], env: dict[str, str]) -> Answer:
        trusted = str(self._work / "public-ca.crt")
        process = await self._cluster.outside.run(
            argv, {**env, "SSL_CERT_FILE": trusted, "CURL_CA_BUNDLE": trusted}
        )
        status = await asyncio.wait_for(process.wait(), 60)
        return Answer(status, process.output())


def _found(name: str) -> str:
    import shutil

    return shutil.which(name) or pytest.skip(f"there is no {name} on this machine")


def _add_line(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line)


async def _real(arguments: list[str], cwd: Path) -> Answer:
    command = [str(await asyncio.to_thread(kubectl)), *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=cwd, capture_output=True, text=True, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


async def test_the_page_leads_from_nothing_to_an_answer(
    possible: None, tmp_path: Path, figure: Figure
) -> None:
    """No step fails, none is missing, and the last ones show an answer, a token and a log."""
    checkout = tmp_path / "checkout"
    await asyncio.to_thread(checkout.mkdir)
    for name in ("deploy", "Dockerfile"):
        await asyncio.to_thread((checkout / name).symlink_to, ROOT / name)
    blocks = blocks_of(PAGE)
    assert "export DATABASE_URL" in blocks[0]
    blocks[0] += CHOSEN
    await asyncio.to_thread(_certify, POSTGRES_TLS.names, tmp_path / "postgres-tls", checkout)
    hosts = (PROVIDER_HOST, POSTGRES, POSTGRES_TLS, VALKEY)
    async with Cluster(
        [], images=images(), outside=OUTSIDE, hosts=hosts, work_dir=tmp_path / "work"
    ) as cluster:
        host, _, port = PROVIDER.partition(":")
        await cluster.host("provider").run(_upstream(host, port))
        await cluster.host(POSTGRES_TLS.name).run(_tls_front(tmp_path / "postgres-tls"))
        operator = Operator(cluster, tmp_path)
        follower = Follower(
            checkout,
            {
                "make": operator.make, "docker": operator.docker, "kubectl": operator.kubectl,
                "curl": operator.curl, "./headrace": operator.headrace,
            },
        )  # fmt: skip
        status, printed = await follower.follow(blocks, timeout_s=900)
    figure("blocks, commands that were stood in for", (len(blocks), len(follower.asked)))

    assert 0 == status, printed
    assert f"### block {len(blocks)}" in printed
    assert '"choices"' in printed, printed
    assert "team-a" in printed
    assert '"tokens_out":3' in printed.replace(" ", ""), printed
    assert {"envoy", "auth"} <= operator.removed


def _certify(names: Iterable[str], directory: Path, checkout: Path) -> None:
    """Lay a certificate for the server, and who signed it where the page's commands look for that."""
    authority = Authority.new("stores")
    lay(directory, authority.issue(dns=names))
    (checkout / "postgresql.pem").write_bytes(authority.pem)


def _tls_front(certificate: Path) -> list[str]:
    import sys

    front = [sys.executable, "-m", "tests.fakes.postgres_tls", "--listen", f"{POSTGRES_TLS.address}:5432"]
    return [*front, "--to", f"{POSTGRES.address}:5432", "--certificate", str(certificate)]


def _upstream(host: str, port: str) -> list[str]:
    import sys

    return [sys.executable, "-m", "tests.rehearsal.upstream", "--host", host, "--port", port]
