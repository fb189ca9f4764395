"""
What every provider sees of a stored key: the same as of the operator's, in the header where it reads one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kit.errors import Reason
from kit.tokens import CREDENTIAL_HEADERS
from services.providers.key_reports import ACTIVE, INVALID
from services.providers.registry import PROVIDERS
from tests.fakes.aws_door import AwsDoor
from tests.fakes.google_door import GoogleDoor
from tests.fakes.key_vault import KeyVault, paying
from tests.fakes.provider_calls import chat_request, native_request, provider_harness
from tests.fakes.provider_sides import CHAT_SIDES, SIDES
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.upstream import Received

KEY = "sk-stored-canary-5b1f0e77c2d9"
AWS = {"accessKeyId": "AKIASTOREDSTORED", "secretAccessKey": "very/secret", "region": "eu-west-3"}
# What clients present to the gateway, and no provider may see.
TOKEN = {"authorization": "Bearer hr_aaaaaaaaaaaa_secret"}
OUR_OWN = {"local"}


async def received(slug: str, request: Any, key: str = KEY, **settings: Any) -> Received:
    """Make a call with a stored key, and return what arrived."""
    vault = KeyVault()
    vault.put(slug, key)
    async with (
        FakeUpstream() as upstream,
        paying(vault) as payer,
        provider_harness(upstream.url, payer=payer, **settings) as providers,
    ):
        invoked = await providers.invoke(request)
        assert 200 == invoked.started.status
        (found,) = upstream.journal
        return found


@pytest.mark.parametrize("slug", sorted(CHAT_SIDES.keys() - OUR_OWN))
@pytest.mark.parametrize("operator_key", [None, "sk-operator"])
async def test_a_chat_with_a_stored_key(slug: str, operator_key: str | None) -> None:
    """A stored key stands where the provider reads it, alone, and before the operator's."""
    side = SIDES[slug]
    found = await received(slug, chat_request(slug, "m-1", headers=TOKEN), operator_key=operator_key)

    assert f"{side.key_prefix}{KEY}" == found.header(side.key_header)
    assert {side.key_header} == found.header_names() & CREDENTIAL_HEADERS


@pytest.mark.parametrize("slug", sorted(PROVIDERS.keys() - OUR_OWN))
async def test_a_native_call_with_a_stored_key(slug: str) -> None:
    """Natively it is put beside the client's headers, in place of those that hold keys."""
    side = SIDES[slug]
    row = PROVIDERS[slug]
    found = await received(slug, native_request(slug, side.native_path, headers={**TOKEN, "x-a": "1"}))

    expected = row.auth.headers(KEY)
    assert [(name, found.header(name)) for name, _ in expected] == expected
    assert {name for name, _ in expected} == found.header_names() & CREDENTIAL_HEADERS
    assert "1" == found.header("x-a")


@pytest.mark.parametrize("slug", sorted(PROVIDERS.keys() - OUR_OWN))
async def test_a_key_of_the_request_comes_first(slug: str) -> None:
    """A request's own key is used although there is a stored one, and nobody is asked for that."""
    vault = KeyVault()
    vault.put(slug, KEY)
    side = SIDES[slug]
    headers = {side.key_header: f"{PROVIDERS[slug].auth.prefix}sk-own"}
    async with (
        FakeUpstream() as upstream,
        paying(vault) as payer,
        provider_harness(upstream.url, payer=payer) as providers,
    ):
        await providers.invoke(native_request(slug, side.native_path, headers=headers))

    assert headers[side.key_header] == upstream.journal[0].header(side.key_header)
    assert [] == vault.asked


@pytest.mark.parametrize("native", [False, True])
async def test_a_stored_access_key_of_aws_signs(native: bool) -> None:  # noqa: FBT001
    """Bedrock gets a signature that its stored access key made, for the key's region or the path's."""
    side = SIDES["aws-bedrock"]
    if native:
        request = native_request("aws-bedrock", side.native_chat, body={"messages": []}, headers=TOKEN)
    else:
        request = chat_request("aws-bedrock", "m-1", headers=TOKEN)
    found = await received("aws-bedrock", request, orjson.dumps(AWS).decode())

    headers = {name.lower(): value for name, value in found.headers}
    door = AwsDoor({AWS["accessKeyId"]: AWS["secretAccessKey"]})
    assert door.admits(found.method, found.path, headers, found.body)
    assert f"/{'us-west-2' if native else 'eu-west-3'}/bedrock/" in headers["authorization"]


async def test_a_client_that_signs_for_aws_pays_itself() -> None:
    """A signature of the client's is a key of the request's own."""
    vault = KeyVault()
    vault.put("aws-bedrock", KEY)
    signed = {"authorization": "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=0"}
    request = native_request("aws-bedrock", SIDES["aws-bedrock"].native_chat, body={}, headers=signed)
    async with (
        FakeUpstream() as upstream,
        paying(vault) as payer,
        provider_harness(upstream.url, payer=payer) as providers,
    ):
        await providers.invoke(request)

    assert signed["authorization"] == upstream.journal[0].header("authorization")
    assert [] == vault.asked


@asynccontextmanager
async def google(door: GoogleDoor, asked: list[tuple[str, str]]) -> AsyncIterator[str]:
    """Run what gives tokens and answers calls, and keep path and credential of each of these."""

    async def token(request: web.Request) -> web.Response:
        status, body = door.answer(await request.read())
        return web.json_response(body, status=status)

    async def call(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers["authorization"]))
        return web.json_response({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]})

    app = web.Application()
    app.router.add_post("/token", token)
    app.router.add_post("/{path:.*}", call)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def service_account(**more: str) -> str:
    """Write the key of a service account as it is stored: Google's JSON, and the region."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    members = {"client_email": "svc@p.iam.gserviceaccount.com", "private_key": pem.decode()}
    return orjson.dumps(members | more, option=orjson.OPT_INDENT_2).decode()


@pytest.mark.parametrize("native", [False, True])
async def test_a_stored_service_account_gets_a_token(native: bool) -> None:  # noqa: FBT001
    """Vertex AI gets a token for the stored account, in the region and project that the key names."""
    key = service_account(region="us-east4", project_id="their-project")
    vault = KeyVault()
    vault.put("google-vertex-ai", key)
    place = "/v1/projects/their-project/locations/us-east4/publishers/google/models/m-1:generateContent"
    if native:
        request = native_request("google-vertex-ai", place, body={"contents": []}, headers=TOKEN)
    else:
        request = chat_request("google-vertex-ai", "m-1", headers=TOKEN)
    asked: list[tuple[str, str]] = []
    door = GoogleDoor(orjson.loads(key)["private_key"], "ya29.minted")
    async with (
        google(door, asked) as url,
        paying(vault) as payer,
        provider_harness(url, payer=payer) as providers,
    ):
        invoked = await providers.invoke(request)

    assert 200 == invoked.started.status
    assert [(place, "Bearer ya29.minted")] == asked


async def test_a_stored_service_account_that_google_refuses() -> None:
    """A service account that gets no token gives way to another key of the pool."""
    good = service_account(region="us-east4", project_id="p")
    vault = KeyVault()
    vault.put("google-vertex-ai", service_account(region="us-east4", project_id="p"), good)
    asked: list[tuple[str, str]] = []
    door = GoogleDoor(orjson.loads(good)["private_key"], "ya29.minted")
    async with (
        google(door, asked) as url,
        paying(vault) as payer,
        provider_harness(url, payer=payer) as providers,
    ):
        invoked = await providers.invoke(chat_request("google-vertex-ai", "m-1", headers=TOKEN))

    assert 200 == invoked.started.status
    assert {INVALID, ACTIVE} == set(vault.reports.values())


@pytest.mark.parametrize(
    ("slug", "key"),
    [
        *((slug, "two words-canary") for slug in sorted(PROVIDERS.keys() - OUR_OWN)),
        *((slug, "canary\r\nx-evil: 1") for slug in sorted(PROVIDERS.keys() - OUR_OWN)),
        ("aws-bedrock", '{"accessKeyId": "canary"}'),
        ("aws-bedrock", "{canary"),
        ("google-vertex-ai", "{canary"),
        ("google-vertex-ai", '{"client_email": "canary"}'),
        ("google-vertex-ai", '{"client_email": "a@b.example", "private_key": "canary"}'),
    ],
)
async def test_a_stored_key_that_makes_no_sense(slug: str, key: str) -> None:
    """What cannot be a key of its provider is an error that names the alias, and holds nothing of it."""
    vault = KeyVault()
    vault.put(slug, key, alias="odd")
    request = native_request(slug, SIDES[slug].native_path, headers={}, alias="odd")
    async with (
        FakeUpstream() as upstream,
        paying(vault) as payer,
        provider_harness(upstream.url, payer=payer) as providers,
    ):
        error = await providers.failing(request)

    assert Reason.CREDENTIAL_MISSING is error.reason
    assert {"provider": slug, "alias": "odd"} == error.metadata
    assert "'odd'" in error.message
    assert "canary" not in error.message
    assert [] == upstream.journal
