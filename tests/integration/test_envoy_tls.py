"""TLS at the front door and behind it: a real Envoy with certificates made for the test."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web
from cryptography import x509

from deploy.certificates import Authority, lay
from deploy.envoy.render import Identity, PublicTls
from tests.fakes import http3_client
from tests.fakes.front_door import RunningFrontDoor, running_front_door
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

METHOD = "/headrace.inference.v1.InferenceService/Chat"
FORGED = (("headrace-caller", "caller/reporting"), ("x-forwarded-client-cert", "URI=spiffe://headrace/auth"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Who vouches for whom, and where it lies."""

    public: Authority
    internal: Authority
    public_dir: Path
    own_dir: Path

    @property
    def public_ca(self) -> Path:
        """File with the public authority's certificate."""
        return self.public_dir / "ca.crt"

    def trusting(self, *protocols: str) -> ssl.SSLContext:
        """Give a client's context that trusts the public authority."""
        context = ssl.create_default_context(cafile=str(self.public_ca))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


@pytest.fixture(scope="module")
def authorities() -> tuple[Authority, Authority]:
    """Two authorities: the world's and the installation's."""
    return Authority.new("public"), Authority.new("internal")


@pytest.fixture
def certificates(tmp_path: Path, authorities: tuple[Authority, Authority]) -> Certificates:
    """Envoy's two certificates, as Kubernetes would mount them."""
    public, internal = authorities
    made = Certificates(
        public=public, internal=internal, public_dir=tmp_path / "public", own_dir=tmp_path / "own"
    )
    lay(made.public_dir, public.issue(dns=["localhost"]))
    lay(made.own_dir, internal.issue(dns=["envoy"], uri="spiffe://headrace/envoy"))
    return made


@asynccontextmanager
async def secured(
    tmp_path: Path, certificates: Certificates, **changes: Any
) -> AsyncIterator[RunningFrontDoor]:
    """Run a front door that speaks TLS to clients and, over the network, to services."""
    public = PublicTls(
        directory=certificates.public_dir,
        port=free_port(),
        http3_port=free_port(),
        grpc_port=free_port(),
        alt_svc=":443",
    )
    identity = Identity(directory=certificates.own_dir, trust_domain="headrace")
    async with running_front_door(tmp_path, public_tls=public, identity=identity, **changes) as door:
        yield door


def channel(
    door: RunningFrontDoor, certificates: Certificates, own: Mapping[str, bytes] | None = None
) -> grpc.aio.Channel:
    """Connect to the port for gRPC with TLS, with a certificate or without one."""
    shown = (own["tls.key"], own["tls.crt"]) if own else (None, None)
    return grpc.aio.secure_channel(
        door.grpc_tls_address, grpc.ssl_channel_credentials(certificates.public.pem, *shown)
    )


async def callers(
    door: RunningFrontDoor, certificates: Certificates, own: Mapping[str, bytes] | None = None
) -> list[str]:
    """Say who the edge is told that calls, whatever the client itself says."""
    async with channel(door, certificates, own) as connected:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = connected.unary_unary(METHOD)
        echo = json.loads(await call(b"", metadata=FORGED, timeout=10))
    names = [key for key, _ in echo["metadata"]]
    assert "x-forwarded-client-cert" not in names
    return [value for key, value in echo["metadata"] if key == "headrace-caller"]


async def served(door: RunningFrontDoor, context: ssl.SSLContext) -> tuple[bytes, str | None]:
    """Connect, and give the certificate that is shown and the protocol that is agreed on."""
    assert door.front.public_tls is not None
    _, writer = await asyncio.open_connection("localhost", door.front.public_tls.port, ssl=context)
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    found = tls.getpeercert(binary_form=True) or b"", tls.selected_alpn_protocol()
    writer.close()
    return found


async def test_three_versions_of_http(tmp_path: Path, certificates: Certificates) -> None:
    """HTTP/1.1, HTTP/2 and HTTP/3 are served, and clients are told of the last, which has its own port."""
    async with secured(tmp_path, certificates) as door:
        assert door.front.public_tls is not None
        async with door.http.get(door.tls_url + "/v1/x", ssl=certificates.trusting()) as answer:
            first = (answer.status, await answer.read())
            told = answer.headers["alt-svc"]
        agreed = [
            (await served(door, certificates.trusting(*names)))[1] for names in (("h2",), ("http/1.1",))
        ]
        headers, body = await http3_client.get(
            door.front.public_tls.http3_port, "/v1/x?key=secret", certificates.public_ca
        )
        entries = await door.access_log(2)

    assert ((200, b"hello"), 'h3=":443"; ma=86400') == (first, told)
    assert ["h2", "http/1.1"] == agreed
    assert ("200", b"hello") == (headers[":status"], body)
    assert ["HTTP/1.1", "HTTP/3"] == [entry["protocol"] for entry in entries]
    assert "secret" not in json.dumps(entries)
    assert ["https"] * 2 == [request.headers["x-forwarded-proto"] for request in door.edge.requests]


async def test_a_new_certificate_is_shown(tmp_path: Path, certificates: Certificates) -> None:
    """After a rotation new connections get the new certificate, and one that is open goes on."""
    release = asyncio.Event()

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begin ")
        await release.wait()
        await response.write(b"end")
        return response

    fresh = certificates.public.issue(dns=["localhost"])
    wanted = ssl.PEM_cert_to_DER_cert(fresh["tls.crt"].decode())
    async with secured(tmp_path, certificates, handler=stream) as door:
        running = await door.http.get(door.tls_url + "/v1/x", ssl=certificates.trusting())
        lay(certificates.public_dir, fresh)
        async with asyncio.timeout(10):
            while (await served(door, certificates.trusting()))[0] != wanted:  # noqa: ASYNC110  # Envoy's to know
                await asyncio.sleep(0.02)
        release.set()
        body = await running.read()

    assert b"begin end" == body


async def test_callers_are_who_their_certificate_says(tmp_path: Path, certificates: Certificates) -> None:
    """The name in a caller's certificate counts; a service's does not, and what a client says never does."""
    issue = certificates.internal.issue
    async with secured(tmp_path, certificates, services=True) as door:
        found = {
            "nobody": await callers(door, certificates),
            "reporting": await callers(door, certificates, issue(uri="spiffe://headrace/caller/reporting")),
            "a service": await callers(door, certificates, issue(uri="spiffe://headrace/auth")),
            "elsewhere": await callers(door, certificates, issue(uri="spiffe://other/caller/reporting")),
            "a longer path": await callers(
                door, certificates, issue(uri="spiffe://headrace/caller/reporting/more")
            ),
            "no name": await callers(door, certificates, issue(dns=["reporting"])),
            "two names": await callers(
                door,
                certificates,
                issue(uri=["spiffe://headrace/caller/a", "spiffe://headrace/caller/b"]),
            ),
        }

    expected = {who: ["external"] for who in found} | {"reporting": ["caller/reporting"]}
    assert expected == found


async def test_a_bad_certificate_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """A certificate of another authority, or one that has expired, is worse than none."""
    name = "spiffe://headrace/caller/reporting"
    long_ago = datetime.now(UTC) - timedelta(days=3)
    bad = {
        "another authority": Authority.new("other").issue(uri=name),
        "the public authority": certificates.public.issue(uri=name),
        "expired": certificates.internal.issue(uri=name, not_before=long_ago, lifetime=timedelta(days=1)),
    }
    async with secured(tmp_path, certificates, services=True) as door:
        for own in bad.values():
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await callers(door, certificates, own)

            assert grpc.StatusCode.UNAVAILABLE == failure.value.code()


@dataclass(slots=True)
class SecureEdge:
    """An edge on the network that wants to know who asks."""

    port: int
    names: list[str]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Remember who asks, but for the checks."""
        assert request.transport is not None
        shown: bytes = request.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        extensions = x509.load_der_x509_certificate(shown).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if request.path != "/healthz":
            self.names += names.get_values_for_type(x509.UniformResourceIdentifier)
        return web.Response(body=b"secure")


@asynccontextmanager
async def secure_edge(tmp_path: Path, certificates: Certificates, name: str) -> AsyncIterator[SecureEdge]:
    """Serve HTTP with TLS, to those who show a certificate of the installation's authority."""
    directory = tmp_path / "edge"
    lay(directory, certificates.internal.issue(dns=["edge"], uri=name))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "ca.crt"))
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    context.verify_mode = ssl.CERT_REQUIRED
    edge = SecureEdge(free_port(), [])
    runner = web.ServerRunner(web.Server(edge.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", edge.port, ssl_context=context).start()
    try:
        yield edge
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("name", "status"), [("spiffe://headrace/edge", 200), ("spiffe://headrace/cache", 503)]
)
async def test_services_are_who_their_certificate_says(
    tmp_path: Path, certificates: Certificates, name: str, status: int
) -> None:
    """Envoy shows its own name to an edge, and speaks to nobody who has another name than an edge's."""
    async with secure_edge(tmp_path, certificates, name) as edge:
        address = (f"localhost:{edge.port}",)
        async with (
            secured(tmp_path, certificates, edge_http=address, connect_retries=0) as door,
            aiohttp.ClientSession() as session,
            session.get(door.url + "/v1/x") as answer,
        ):
            assert status == answer.status

    assert (["spiffe://headrace/envoy"] if status == 200 else []) == edge.names
