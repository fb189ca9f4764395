"""The stand-ins themselves: what other tests rely on when they see nothing wrong."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import grpc
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from google.auth import crypt, jwt
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from scripts.node_setup import NODE_DIR
from tests.e2e.calls import call, chat_body
from tests.e2e.keys import OPENAI_KEY, service_account_key
from tests.fakes.aws_door import AwsDoor
from tests.fakes.google_door import GoogleDoor
from tests.fakes.otlp_collector import OtlpCollector

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.upstreams import Upstreams


def span(trace_id: bytes, span_id: bytes, parent_id: bytes, name: str, start: int) -> trace_pb2.Span:
    """Make a span."""
    return trace_pb2.Span(
        trace_id=trace_id, span_id=span_id, parent_span_id=parent_id, name=name, start_time_unix_nano=start
    )


def test_the_collector_makes_trees() -> None:
    """Spans that come in any order and in several exports become one tree, children by their start."""
    trace_id = b"\x01" * 16
    root, first, second = b"\x0a" * 8, b"\x0b" * 8, b"\x0c" * 8
    exports = [
        [span(trace_id, second, root, "second", 3)],
        [span(trace_id, first, root, "first", 2), span(trace_id, root, b"\xff" * 8, "root", 1)],
    ]
    with OtlpCollector() as collector:
        with grpc.insecure_channel(collector.endpoint.removeprefix("http://")) as channel:
            stub = trace_service_pb2_grpc.TraceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            for spans in exports:
                scope = trace_pb2.ScopeSpans(spans=spans)
                stub.Export(
                    trace_service_pb2.ExportTraceServiceRequest(
                        resource_spans=[trace_pb2.ResourceSpans(scope_spans=[scope])]
                    )
                )
        [tree] = collector.wait_for(trace_id.hex(), bool)

    assert tree.span.name == "root"
    assert [child.span.name for child in tree.children] == ["first", "second"]


async def test_aimock_takes_no_key_but_the_ones_it_knows(
    upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """A request with any other key is refused, so an answer proves that the right key went upstream."""
    url = f"{upstreams.front.url}/v1/chat/completions"
    known = await call(session, url, chat_body("gpt-4o-mini", "hi"), token=OPENAI_KEY)
    unknown = await call(session, url, chat_body("gpt-4o-mini", "hi"), token="hr_any_token")

    assert (known.status, unknown.status) == (200, 401)


async def test_the_front_tells_steered_from_relayed(
    upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Only a model with directives is answered by the steerable fake; both are remembered."""
    marker = uuid.uuid4().hex
    url = f"{upstreams.front.url}/v1/chat/completions"
    steered = await call(session, url, chat_body("gpt-4o-mini+echo", marker), token=OPENAI_KEY)
    relayed = await call(session, url, chat_body("gpt-4o-mini", marker), token=OPENAI_KEY)

    assert steered.text == marker
    assert relayed.text == "The stand-in answers."
    assert len(upstreams.received(marker)) == 2
    assert len(upstreams.aimock.asked_with(marker)) == 1


SIGNED_FOR = "aws.example"
SIGNED: dict[str, Any] = {"method": "POST", "raw_path": "/model/m%3A0/converse", "body": b"{}"}


def signed_headers(host: str) -> dict[str, str]:
    """Sign a request for one host, and give its headers as they arrive at another."""
    request = AWSRequest(SIGNED["method"], f"https://{SIGNED_FOR}{SIGNED['raw_path']}", data=SIGNED["body"])
    SigV4Auth(Credentials("KEY", "secret", "session"), "bedrock", "us-east-1").add_auth(request)
    return {"host": host, **{name.lower(): value for name, value in request.headers.items()}}


@pytest.mark.parametrize(
    ("changed", "admitted"),
    [
        ({}, True),
        ({"body": b"other"}, False),
        ({"raw_path": "/model/m%3A0/converse?x=1"}, False),
        ({"method": "GET"}, False),
    ],
)
def test_the_aws_door_opens_to_what_was_signed(changed: dict[str, Any], *, admitted: bool) -> None:
    """A request is let in as it was signed, and with nothing changed."""
    door = AwsDoor({"KEY": "secret"})

    assert admitted is door.admits(headers=signed_headers(SIGNED_FOR), **{**SIGNED, **changed})


def test_the_aws_door_knows_hosts_and_keys() -> None:
    """A signature is for the host that it came to, or one that is named; and made with the right key."""
    elsewhere = signed_headers("gateway.example")

    assert AwsDoor({"KEY": "secret"}, [SIGNED_FOR]).admits(headers=elsewhere, **SIGNED)
    assert not AwsDoor({"KEY": "secret"}).admits(headers=elsewhere, **SIGNED)
    assert not AwsDoor({"KEY": "other"}, [SIGNED_FOR]).admits(headers=elsewhere, **SIGNED)
    assert not AwsDoor({}, [SIGNED_FOR]).admits(headers=elsewhere, **SIGNED)
    assert AwsDoor.is_signed(elsewhere)
    assert not AwsDoor.is_signed({"authorization": "Bearer KEY"})


@pytest.mark.parametrize("member", ["", "assertion", "grant_type"])
def test_the_google_door_opens_to_the_account_only(member: str) -> None:
    """A token is given for an assertion that the account has signed, and for nothing else."""
    private_key = service_account_key()
    now = int(time.time())
    claims = {"aud": "https://oauth2.googleapis.com/token", "iat": now, "exp": now + 60}
    encode: Any = jwt.encode
    read_key: Any = crypt.RSASigner.from_string
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": encode(read_key(private_key), claims).decode(),
    }
    if member:
        form[member] = form[member][:-8] + "AAAAAAAA"
    status, answer = GoogleDoor(private_key, "the token").answer(urlencode(form).encode())

    assert (status, answer.get("access_token")) == ((400, None) if member else (200, "the token"))


def test_the_lock_file_names_versions_and_no_addresses() -> None:
    """Node packages are locked by version and hash, wherever they are downloaded from."""
    text = (NODE_DIR / "package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}

    assert "://" not in text
    assert packages
    assert all(entry["version"] and entry["integrity"].startswith("sha512-") for entry in packages.values())
