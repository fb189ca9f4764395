"""
The adapter of Vertex AI: places, credentials, Google's models and Anthropic's.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode, urlsafe_b64decode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.adapters.google_tokens import GoogleTokens, ServiceAccount, read_account
from services.providers.adapters.vertex import VertexAdapter
from services.providers.call import Call, ClientDialect, Exchange, NativeTarget
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.dialects.failures import FailureClass
from services.providers.registry import PROVIDERS
from services.providers.upstream import Upstream
from tests.fakes.stopped_clock import StoppedClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Json = dict[str, Any]

ROW = PROVIDERS["google-vertex-ai"]
CHAT = {"messages": [{"role": "user", "content": "Hello?"}]}
CONTENTS = [{"role": "user", "parts": [{"text": "Hello?"}]}]
BEARER = [("authorization", b"Bearer ya29.direct"), ("anthropic-beta", b"b1")]
EAST = "projects/p/locations/us-east4"
CENTRAL = "https://us-central1-aiplatform.googleapis.com/v1/projects/my-project/locations/us-central1"


@cache
def private_key() -> str:
    """Return a key of RSA's in PEM, made once."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def account_json(**more: Any) -> str:
    """Write the key of a service account as Google gives it."""
    members = {
        "type": "service_account",
        "project_id": "own-project",
        "private_key_id": "kid",
        "private_key": private_key(),
        "client_email": "svc@own-project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return orjson.dumps(members | more).decode()


def in_header(text: str) -> list[tuple[str, bytes]]:
    """Write a key as clients send it."""
    return [("authorization", b"Bearer " + b64encode(text.encode()))]


@dataclass
class TokenServer:
    """Gives tokens, numbered."""

    answer: Json = field(default_factory=lambda: {"expires_in": 3600, "token_type": "Bearer"})
    status: int = 200
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    url: URL = field(default_factory=URL)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a question for a token."""
        self.asked.append(parse_qs(await request.text()))
        self.reached.set()
        await self.open.wait()
        body = {"access_token": f"ya29.minted{len(self.asked)}"} if self.status == 200 else {}
        return web.json_response(body | self.answer, status=self.status)


@asynccontextmanager
async def token_server() -> AsyncIterator[TokenServer]:
    """Run a server for tokens on loopback."""
    server = TokenServer()
    server.open.set()
    app = web.Application()
    app.router.add_post("/token", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = URL(f"http://127.0.0.1:{runner.addresses[0][1]}/token")
    try:
        yield server
    finally:
        await runner.cleanup()


def adapter(*, key: str = "", **settings: Any) -> VertexAdapter:
    """Make the adapter with an operator's settings."""
    given = {"region": "us-central1", "project": "my-project"} | settings
    secret = Secret(key) if key else None
    return VertexAdapter(ROW, ProviderSettings(slug=ROW.slug, api_key=secret, **given), ProvidersConfig())


def call(dialect: ClientDialect, body: Any, model: str = "google/gemini-2.5-flash", **given: Any) -> Call:
    """Make a call, with a token of the client's own unless it says otherwise."""
    members: Json = {"stream": False, "headers": BEARER}
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Call(dialect=dialect, model=model, body=data, **members | given)


def header(made: Exchange, name: str) -> str | None:
    """Return a header of a request."""
    return next((value for found, value in made.headers if found == name), None)


async def refused(made: VertexAdapter, asked: Call) -> GatewayError:
    """Return the error that a call is refused with."""
    with pytest.raises(GatewayError) as caught:
        await made.exchange(asked)
    return caught.value


async def test_a_chat_with_gemini() -> None:
    """A chat goes to the region's host, under project and publisher, with the client's token."""
    made = await adapter().exchange(call(ClientDialect.OPENAI_CHAT, CHAT))

    assert f"{CENTRAL}/publishers/google/models/gemini-2.5-flash:generateContent" == str(made.url)
    assert ("Bearer ya29.direct", None, True) == (
        header(made, "authorization"),
        header(made, "anthropic-beta"),
        made.guarded,
    )
    assert {"contents": CONTENTS} == orjson.loads(made.body)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("europe-west12", "europe-west12-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
async def test_hosts(region: str, host: str) -> None:
    """Each region has a host, the global one has no prefix, and a group of regions another domain."""
    made = await adapter(region=region).exchange(call(ClientDialect.OPENAI_CHAT, CHAT, stream=True))

    path = f"/v1/projects/my-project/locations/{region}/publishers/google/models/gemini-2.5-flash"
    assert f"https://{host}{path}:streamGenerateContent?alt=sse" == str(made.url)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("google/gemini-2.5-pro", "google/models/gemini-2.5-pro:generateContent"),
        ("gemini-2.5-pro", "google/models/gemini-2.5-pro:generateContent"),
        ("publishers/google/models/gemini-2.5-pro", "google/models/gemini-2.5-pro:generateContent"),
        ("anthropic/claude-sonnet-4@20250514", "anthropic/models/claude-sonnet-4@20250514:rawPredict"),
        ("claude-opus-4-1", "anthropic/models/claude-opus-4-1:rawPredict"),
    ],
)
async def test_names_of_models(model: str, path: str) -> None:
    """A model's name says its publisher; a bare one tells by itself."""
    made = await adapter().exchange(call(ClientDialect.OPENAI_CHAT, CHAT, model))

    assert f"{CENTRAL}/publishers/{path}" == str(made.url)


@pytest.mark.parametrize("model", ["meta/llama", "google/", "google/a/b", "google/../x", "", "google/a:b"])
async def test_names_that_no_model_has(model: str) -> None:
    """What cannot be a model here is refused by name."""
    error = await refused(adapter(), call(ClientDialect.OPENAI_CHAT, CHAT, model))

    assert (Reason.INVALID_REQUEST, "model") == (error.reason, error.metadata["param"])


async def test_same_dialect() -> None:
    """Gemini's own dialect goes as it is; what Vertex AI does not have is unsupported."""
    body = b'{ "contents":[] }'
    made = await adapter().exchange(call(ClientDialect.GEMINI, body, operation="countTokens"))
    error = await refused(adapter(), call(ClientDialect.GEMINI, body, operation="batchEmbedContents"))

    assert (body, f"{CENTRAL}/publishers/google/models/gemini-2.5-flash:countTokens") == (
        made.body,
        str(made.url),
    )
    assert Reason.UNSUPPORTED is error.reason


async def test_claude_in_its_own_dialect() -> None:
    """Anthropic's messages go with the version in the body and the model in the path, in their order."""
    body = {"model": "x", "max_tokens": 5, "messages": [], "stream": True}

    made = await adapter().exchange(
        call(ClientDialect.ANTHROPIC_MESSAGES, body, "anthropic/claude-sonnet-4", stream=True)
    )

    assert f"{CENTRAL}/publishers/anthropic/models/claude-sonnet-4:streamRawPredict" == str(made.url)
    expected = b'{"max_tokens":5,"messages":[],"stream":true,"anthropic_version":"vertex-2023-10-16"}'
    assert (expected, "b1") == (made.body, header(made, "anthropic-beta"))


async def test_claude_counts_tokens() -> None:
    """Counting has a path of its own, where the body names the model."""
    asked = call(
        ClientDialect.ANTHROPIC_MESSAGES,
        {"messages": []},
        "anthropic/claude-sonnet-4",
        operation="count_tokens",
    )

    made = await adapter().exchange(asked)

    assert f"{CENTRAL}/publishers/anthropic/models/count-tokens:rawPredict" == str(made.url)
    assert "claude-sonnet-4" == orjson.loads(made.body)["model"]
    assert b'{"input_tokens":4}' == made.reading.whole(b'{"input_tokens":4}').body


async def test_claude_for_clients_of_openai() -> None:
    """A chat for Claude is translated into Anthropic's messages, and the answer back."""
    made = await adapter().exchange(call(ClientDialect.OPENAI_CHAT, CHAT, "anthropic/claude-sonnet-4"))

    body = orjson.loads(made.body)
    assert ("vertex-2023-10-16", False) == (body["anthropic_version"], "model" in body)
    assert "Hello?" in made.body.decode()
    answer = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4",
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    read = orjson.loads(made.reading.whole(orjson.dumps(answer)).body)
    assert "Hi." == read["choices"][0]["message"]["content"]


async def test_claude_for_clients_of_gemini() -> None:
    """A stream that was not asked for as events is an array also when Claude is who answers."""
    asked = call(
        ClientDialect.GEMINI,
        {"contents": CONTENTS},
        "anthropic/claude-sonnet-4",
        stream=True,
        operation="streamGenerateContent:array",
    )
    made = await adapter().exchange(asked)
    events: list[Json] = [
        {"type": "message_start", "message": {"id": "m1", "model": "claude", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]

    stream = made.reading.stream()
    out = stream.feed(b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in events)) + stream.finish()

    texts = [
        part.get("text", "")
        for element in orjson.loads(out)
        for candidate in element.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
    ]
    assert "Hi." == "".join(texts)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 429, "message": "Slow.", "status": "RESOURCE_EXHAUSTED"}},
        [{"error": {"code": 429, "message": "Slow.", "status": "RESOURCE_EXHAUSTED"}}],
        {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow."}},
    ],
)
async def test_errors_for_clients_of_anthropic(body: Any) -> None:
    """Errors of the platform and of the model alike have Anthropic's shape for Anthropic's clients."""
    asked = call(ClientDialect.ANTHROPIC_MESSAGES, {"messages": []}, "anthropic/claude-sonnet-4")
    made = await adapter().exchange(asked)

    found = made.reading.error(429, orjson.dumps(body), {})

    expected = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow."}}
    assert (FailureClass.RATE_LIMIT, expected) == (found.failure_class, orjson.loads(found.body))


async def test_embeddings() -> None:
    """OpenAI's embeddings become predictions, whose tokens are counted."""
    asked = {"input": ["a", "b"], "dimensions": 8, "encoding_format": "float"}
    made = await adapter().exchange(call(ClientDialect.OPENAI_EMBEDDINGS, asked, "google/text-embedding-005"))
    rows = [{"embeddings": {"values": [index], "statistics": {"token_count": 2.0}}} for index in (0, 1)]

    answer = made.reading.whole(orjson.dumps({"predictions": rows}))

    assert f"{CENTRAL}/publishers/google/models/text-embedding-005:predict" == str(made.url)
    assert {
        "instances": [{"content": "a"}, {"content": "b"}],
        "parameters": {"outputDimensionality": 8},
    } == orjson.loads(made.body)
    document = orjson.loads(answer.body)
    assert ([[0], [1]], 4) == (
        [row["embedding"] for row in document["data"]],
        document["usage"]["prompt_tokens"],
    )


async def test_what_has_no_translation() -> None:
    """Other endpoints of OpenAI's are unsupported, with either publisher."""
    for model in ("google/gemini-2.5-flash", "anthropic/claude-sonnet-4"):
        error = await refused(
            adapter(), call(ClientDialect.OPENAI_OTHER, {}, model, operation="audio/speech")
        )
        assert Reason.UNSUPPORTED is error.reason


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"region": "", "project": "p"}, "region"),
        ({"project": ""}, "project"),
        ({"region": "evil.example.com/"}, "region"),
        ({"region": "us-central1.evil"}, "region"),
        ({"project": "a/../b"}, "project"),
    ],
)
async def test_places_that_cannot_be(settings: Json, param: str) -> None:
    """A region and a project are needed, and go into an address only when they can be one."""
    error = await refused(adapter(**settings), call(ClientDialect.OPENAI_CHAT, CHAT))

    assert (Reason.INVALID_REQUEST, param) == (error.reason, error.metadata["param"])


async def test_no_credential() -> None:
    """Without any credential there is no call."""
    error = await refused(adapter(), call(ClientDialect.OPENAI_CHAT, CHAT, headers=[]))

    assert Reason.CREDENTIAL_MISSING is error.reason


@asynccontextmanager
async def minting(**settings: Any) -> AsyncIterator[tuple[VertexAdapter, TokenServer]]:
    """Run an adapter whose hosts are all the token server's."""
    upstream = Upstream(ProvidersConfig())
    async with token_server() as server:
        given = ProviderSettings(slug=ROW.slug, base_url=server.url.origin(), **settings)
        try:
            yield VertexAdapter(ROW, given, ProvidersConfig(), upstream=upstream), server
        finally:
            await upstream.close()


async def test_a_service_account_in_the_request() -> None:
    """Base64 of a key with a region is exchanged for a token, once; project and region are the key's."""
    headers = in_header(account_json(region="europe-west4"))
    async with minting(region="us-central1", project="my-project") as (made, server):
        first = await made.exchange(call(ClientDialect.OPENAI_CHAT, CHAT, headers=headers))
        second = await made.exchange(call(ClientDialect.GEMINI, {}, headers=headers))

        origin = str(server.url.origin())

    parent = "/v1/projects/own-project/locations/europe-west4"
    path = f"{parent}/publishers/google/models/gemini-2.5-flash:generateContent"
    assert [f"{origin}{path}"] * 2 == [str(first.url), str(second.url)]
    assert ["Bearer ya29.minted1"] * 2 == [header(one, "authorization") for one in (first, second)]
    assert 1 == len(server.asked)
    assert not first.guarded


async def test_what_is_asked_for() -> None:
    """The assertion is signed for Google's endpoint, an hour long, with the scope of the platform."""
    async with minting(region="us-central1") as (made, server):
        await made.exchange(call(ClientDialect.GEMINI, {}, headers=in_header(account_json())))

    (asked,) = server.asked
    head, claims = (
        orjson.loads(urlsafe_b64decode(part + "==")) for part in asked["assertion"][0].split(".")[:2]
    )
    assert ["urn:ietf:params:oauth:grant-type:jwt-bearer"] == asked["grant_type"]
    assert ("RS256", "kid") == (head["alg"], head["kid"])
    assert (
        "svc@own-project.iam.gserviceaccount.com",
        "https://oauth2.googleapis.com/token",
        "https://www.googleapis.com/auth/cloud-platform",
        3600,
    ) == (claims["iss"], claims["aud"], claims["scope"], claims["exp"] - claims["iat"])


async def test_the_operators_service_account() -> None:
    """The operator's key is the JSON itself; what it does not name comes from the settings."""
    async with minting(api_key=Secret(account_json()), region="us-east1") as (made, _):
        exchange = await made.exchange(call(ClientDialect.OPENAI_CHAT, CHAT, headers=[]))

    assert "/v1/projects/own-project/locations/us-east1/" in str(exchange.url)
    assert "Bearer ya29.minted1" == header(exchange, "authorization")


def _native(path: str, headers: list[tuple[str, bytes]], query: str = "") -> Call:
    return Call(
        dialect=ClientDialect.NATIVE,
        model="",
        body=b"{}",
        stream=False,
        headers=headers,
        native=NativeTarget(method="POST", path=path, query=query),
    )


@pytest.mark.parametrize(
    ("path", "place", "dialect"),
    [
        (f"v1/{EAST}/publishers/google/models/m:generateContent", ("us-east4-", ""), "GEMINI"),
        (
            "v1beta1/projects/p/locations/global/publishers/anthropic/models/claude:streamRawPredict",
            ("", ""),
            "ANTHROPIC_MESSAGES",
        ),
        (f"{EAST}/publishers/anthropic/models/count-tokens:rawPredict", ("us-east4-", "v1/"), None),
        (f"v1/{EAST}/endpoints/openapi/chat/completions", ("us-east4-", ""), "OPENAI_CHAT"),
        ("v1/publishers/google/models/m:generateContent", ("us-central1-", ""), "GEMINI"),
    ],
)
async def test_native_places(path: str, place: tuple[str, str], dialect: str | None) -> None:
    """A native call goes to the host of the region in its path, as the client sent it, and is metered."""
    made = await adapter().exchange(_native(path, BEARER))

    prefix, version = place
    url = f"https://{prefix}aiplatform.googleapis.com/{version}{path}"
    assert (url, dialect, True) == (str(made.url), made.dialect, made.guarded)
    assert ("Bearer ya29.direct", "b1") == (header(made, "authorization"), header(made, "anthropic-beta"))
    assert made.reading.verbatim


@pytest.mark.parametrize("path", ["v1/projects/p/locations/evil.com%2F/x", "v1/locations/A/x", "v1/../x"])
async def test_native_places_that_cannot_be(path: str) -> None:
    """No host is made from what is no region."""
    assert Reason.INVALID_REQUEST is (await refused(adapter(), _native(path, BEARER))).reason


async def test_native_calls_with_a_service_account() -> None:
    """Natively a key is exchanged too, and does not go on; nor does any other credential beside it."""
    path = "v1/projects/p/locations/us-east4/publishers/google/models/m:generateContent"
    headers = [*in_header(account_json(region="us-east4")), ("x-goog-api-key", b"hr_x"), ("x-custom", b"1")]
    async with minting() as (made, _):
        exchange = await made.exchange(_native(path, headers))

    assert {"authorization": "Bearer ya29.minted1", "x-custom": "1"} == dict(exchange.headers)


async def test_service_accounts_need_a_client() -> None:
    """An adapter without an HTTP client says that it cannot get tokens."""
    error = await refused(adapter(), call(ClientDialect.GEMINI, {}, headers=in_header(account_json())))

    assert Reason.UNSUPPORTED is error.reason


@pytest.mark.parametrize(
    "given",
    [
        "{",
        "{}",
        "{" + "x" * 60,
        {"private_key": ""},
        {"client_email": "no email"},
        {"token_uri": "https://evil.example.com/token"},
        {"token_uri": 7},
    ],
)
def test_keys_that_are_none(given: str | Json) -> None:
    """What begins like a key but is none is refused, without a word of what it holds."""
    text = given if isinstance(given, str) else account_json(**given)
    for written in (text, b64encode(text.encode() + b" " * 60).decode()):
        with pytest.raises(GatewayError) as caught:
            read_account(written)
        assert Reason.INVALID_REQUEST is caught.value.reason
        assert "PRIVATE" not in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "ya29.token", "AIzaSy", "é" * 50, b64encode(b"x" * 60).decode(), "eyJ" + "a" * 40]
)
def test_what_is_no_key(text: str) -> None:
    """A token is not taken for a key."""
    assert read_account(text) is None


async def test_a_private_key_that_cannot_be_read() -> None:
    """A key that is no key of RSA's is the client's mistake."""
    account = account_json(private_key="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    async with minting(region="us-east1") as (made, server):
        error = await refused(made, call(ClientDialect.GEMINI, {}, headers=in_header(account)))

    assert (Reason.INVALID_REQUEST, []) == (error.reason, server.asked)


@asynccontextmanager
async def tokens() -> AsyncIterator[tuple[GoogleTokens, TokenServer, StoppedClock, ServiceAccount]]:
    """Run the exchange of keys for tokens."""
    clock = StoppedClock()
    account = read_account(account_json())
    assert account is not None
    upstream = Upstream(ProvidersConfig())
    async with token_server() as server:
        try:
            yield GoogleTokens(upstream, clock, provider="v", token_url=server.url), server, clock, account
        finally:
            await upstream.close()


async def test_one_exchange_for_all_who_wait() -> None:
    """Callers at the same time share one exchange, and one that gives up takes it from nobody."""
    async with tokens() as (minted, server, _, account):
        server.open.clear()
        waiting = [asyncio.create_task(minted.token(account)) for _ in range(5)]
        await server.reached.wait()
        waiting[0].cancel()
        server.open.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(found[0], asyncio.CancelledError)
    assert (["ya29.minted1"] * 4, 1) == (found[1:], len(server.asked))


async def test_tokens_are_renewed_before_they_end() -> None:
    """A token is used until shortly before its end, and another key has its own."""
    async with tokens() as (minted, server, clock, account):
        first = await minted.token(account)
        clock.advance(3400)
        kept = await minted.token(account)
        clock.advance(100)
        renewed = await minted.token(account)
        other = await minted.token(
            ServiceAccount(email=account.email, private_key=account.private_key, key_id="other")
        )

    assert ["ya29.minted1", "ya29.minted1", "ya29.minted2", "ya29.minted3"] == [first, kept, renewed, other]
    assert 3 == len(server.asked)


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (400, {"error": "invalid_grant", "error_description": "secret detail"}, Reason.CREDENTIAL_MISSING),
        (401, {}, Reason.CREDENTIAL_MISSING),
        (429, {}, Reason.UPSTREAM_ERROR),
        (503, {}, Reason.UPSTREAM_ERROR),
        (200, {"access_token": ""}, Reason.UPSTREAM_ERROR),
        (200, {"access_token": "a\r\nb"}, Reason.UPSTREAM_ERROR),
        (200, {"access_token": 7}, Reason.UPSTREAM_ERROR),
    ],
)
async def test_exchanges_that_fail(status: int, answer: Json, reason: Reason) -> None:
    """A refused key is told as such, with Google's word alone; a failure is not kept."""
    async with tokens() as (minted, server, _, account):
        server.status, server.answer = status, answer
        with pytest.raises(GatewayError) as caught:
            await minted.token(account)
        server.status, server.answer = 200, {}
        again = await minted.token(account)

    assert reason is caught.value.reason
    assert "secret" not in caught.value.message
    assert "ya29.minted2" == again


async def test_it_has_no_list_of_models() -> None:
    """Vertex AI lists no models."""
    made = adapter()
    await made.check()

    assert await made.models() is None
    assert (ROW, "aiplatform.googleapis.com", False) == (made.provider, made.host, ROW.lists_models)
    assert "svc@x.y" in repr(ServiceAccount(email="svc@x.y", private_key="secret"))
    assert "secret" not in repr(ServiceAccount(email="svc@x.y", private_key="secret"))
