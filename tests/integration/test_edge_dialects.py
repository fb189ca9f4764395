"""Calls in each dialect, as the provider service gets them and as its answers come back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from yarl import URL

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2
from headrace.router.v1 import custom_provider_pb2, router_service_pb2
from tests.fakes.edge_calls import ANSWER, AUTH, failure
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MESSAGES = [{"role": "user", "content": "hi"}]
CONTENTS = {"contents": [{"parts": [{"text": "hi"}]}]}
GEMINI = "/v1beta/models/openai/gpt-x"
COMPAT = "/v1/local/default/compat"


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop")]
        yield found


async def send(peers: Peers, path: str, data: Any, method: str = "POST", **headers: str) -> tuple[int, Any]:
    sent = {"json": data} if isinstance(data, dict) else {"data": data}
    url = URL(peers.base + path, encoded=True)
    async with peers.client.request(method, url, headers=headers or AUTH, **sent) as answer:
        body = await answer.read()
        return answer.status, orjson.loads(body) if body else None


CALLS: list[tuple[str, dict[str, Any], str, str, bool]] = [
    ("/v1/responses", {"model": "openai/gpt-x", "input": "hi"}, "OPENAI_RESPONSES", "", False),
    ("/v1/responses", {"model": "openai/gpt-x", "stream": True}, "OPENAI_RESPONSES", "", True),
    ("/v1/messages", {"model": "openai/gpt-x", "messages": MESSAGES}, "ANTHROPIC_MESSAGES", "", False),
    (
        f"{COMPAT}/v1/messages",
        {"model": "openai/gpt-x", "messages": MESSAGES, "stream": True},
        "ANTHROPIC_MESSAGES",
        "",
        True,
    ),
    (
        "/v1/messages/count_tokens",
        {"model": "openai/gpt-x", "messages": MESSAGES},
        "ANTHROPIC_MESSAGES",
        "count_tokens",
        False,
    ),
    ("/v1/completions", {"model": "openai/gpt-x", "prompt": "a"}, "OPENAI_OTHER", "completions", False),
    (
        f"{COMPAT}/images/generations",
        {"model": "openai/gpt-x", "stream": True},
        "OPENAI_OTHER",
        "images/generations",
        True,
    ),
    ("/v1/audio/speech", {"model": "openai/gpt-x"}, "OPENAI_OTHER", "audio/speech", False),
    (
        "/v1/audio/speech",
        {"model": "openai/gpt-x", "stream_format": "sse"},
        "OPENAI_OTHER",
        "audio/speech",
        True,
    ),
    ("/v1/moderations", {"model": "openai/gpt-x", "input": "a"}, "OPENAI_OTHER", "moderations", False),
    ("/v1/rerank", {"model": "openai/gpt-x", "query": "a"}, "OPENAI_OTHER", "rerank", False),
    (f"{GEMINI}:generateContent", CONTENTS, "GEMINI", "", False),
    (f"{GEMINI}:streamGenerateContent?alt=sse", CONTENTS, "GEMINI", "", True),
    (f"{GEMINI}:streamGenerateContent?%24alt=sse", CONTENTS, "GEMINI", "", True),
    (f"{GEMINI}:streamGenerateContent", CONTENTS, "GEMINI", "streamGenerateContent:array", True),
    (f"{COMPAT}/v1beta/models/openai/gpt-x:countTokens", CONTENTS, "GEMINI", "countTokens", False),
    (f"{GEMINI}:embedContent", {"content": {}}, "GEMINI", "embedContent", False),
    (f"{GEMINI}:batchEmbedContents", {"requests": []}, "GEMINI", "batchEmbedContents", False),
]


@pytest.mark.parametrize(("path", "body", "dialect", "operation", "stream"), CALLS)
async def test_call_as_the_provider_service_gets_it(
    peers: Peers,
    path: str,
    body: dict[str, Any],
    dialect: str,
    operation: str,
    stream: bool,  # noqa: FBT001 - a table's column
) -> None:
    """Dialect, operation, model and stream are said; the body is as it was."""
    status, _ = await send(peers, path, body)
    request = peers.provider.requests[0]

    assert (200, f"DIALECT_{dialect}", operation, "openai", "gpt-x", stream) == (
        status,
        http_pb2.Dialect.Name(request.client_dialect),
        request.operation,
        request.provider,
        request.model,
        request.stream,
    )
    assert orjson.loads(request.body) == body
    assert not request.HasField("native")


@pytest.mark.parametrize("operation", ["audio/transcriptions", "audio/translations", "images/edits"])
async def test_model_in_a_form(peers: Peers, operation: str) -> None:
    """The form's field names provider and model, and the form goes on to the byte."""
    form = aiohttp.FormData()
    form.add_field("file", b"\x00\r\n--x" * 1000, filename="a.mp3", content_type="audio/mpeg")
    form.add_field("model", "openai/gpt-x")
    form.add_field("stream", "true")
    status, _ = await send(peers, f"/v1/{operation}", form)
    request = peers.provider.requests[0]

    assert (200, "openai", "gpt-x", operation, True) == (
        status,
        request.provider,
        request.model,
        request.operation,
        request.stream,
    )
    assert request.body.count(b"\x00\r\n--x") == 1000
    sent = {header.name: header.value for header in request.headers}
    assert sent["content-type"].startswith(b"multipart/form-data; boundary=")


BAD: list[tuple[str, Any, str]] = [
    ("/v1/responses", {"model": "openai/x", "input": 3}, "`input`"),
    ("/v1/responses", {"model": "openai/x", "stream": 1}, "`stream`"),
    ("/v1/moderations", {"input": "a"}, "`model`"),
    ("/v1/audio/transcriptions", b"--x--", "not valid JSON"),
    ("/v1/audio/transcriptions", b"{}", "`model`"),
]


@pytest.mark.parametrize(("path", "body", "named"), BAD)
async def test_bad_calls_of_openais_endpoints(peers: Peers, path: str, body: Any, named: str) -> None:
    """What the gateway needs and does not find is named, in OpenAI's shape."""
    status, told = await send(peers, path, body)

    assert (400, "bad_chat_format", 2019) == (status, told["error"]["code"], told["internalCode"])
    assert named in told["error"]["message"]
    assert peers.provider.requests == []


async def test_conversations_are_bounded_in_every_dialect(tmp_path: Path) -> None:
    """More turns than allowed are refused, however the dialect calls them."""
    calls = {
        "/v1/responses": {"model": "openai/x", "input": [{}] * 3},
        "/v1/messages": {"model": "openai/x", "messages": MESSAGES * 3},
        f"{GEMINI}:generateContent": {"contents": [{}] * 3},
        f"{GEMINI}:batchEmbedContents": {"requests": [{}] * 3},
    }
    async with edge_between(tmp_path, edge_max_messages="2") as peers:
        statuses = {path: (await send(peers, path, body))[0] for path, body in calls.items()}

    assert dict.fromkeys(calls, 413) == statuses


@pytest.mark.parametrize(
    "path",
    ["/v1/messages", "/v1/messages/count_tokens", f"{COMPAT}/v1/messages", f"{COMPAT}/messages/count_tokens"],
)
async def test_errors_in_anthropics_shape(peers: Peers, path: str) -> None:
    """Case 80: a refusal of `messages` and `count_tokens` has Anthropic's members, and ours beside."""
    kind = "invalid_request_error"
    for bad in (
        b"{oops",
        {"model": "gpt", "messages": MESSAGES},
        {"model": "openai/x", "messages": []},
        {"model": "nope/x", "messages": MESSAGES},
    ):
        status, told = await send(peers, path, bad)

        assert (400, "error", kind, False) == (status, told["type"], told["error"]["type"], told["success"])
        assert told["error"]["message"] == told["message"]
    body = {"model": "openai/x", "messages": MESSAGES}
    _, told = await send(peers, path, body, **{"x-api-key": "hr_wrong_token"})

    assert "authentication_error" == told["error"]["type"]


async def test_count_tokens_of_a_provider_without_it(peers: Peers) -> None:
    """Case 80: what the provider service refuses, or the provider, is told in Anthropic's shape too."""
    from kit.errors import GatewayError, Reason

    peers.provider.script = [GatewayError(Reason.UNSUPPORTED, "Tokens cannot be counted there.")]
    status, told = await send(
        peers, "/v1/messages/count_tokens", {"model": "openai/gpt-x", "messages": MESSAGES}
    )

    assert (400, "error", "invalid_request_error", "Tokens cannot be counted there.") == (
        status,
        told["type"],
        told["error"]["type"],
        told["error"]["message"],
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        (f"{GEMINI}:generateContent", b"{oops", 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/gpt:countTokens", CONTENTS, 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/nope/x:embedContent", CONTENTS, 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/openai/x:predict", CONTENTS, 405, "UNIMPLEMENTED"),
        ("/v1beta/files", CONTENTS, 404, "NOT_FOUND"),
    ],
)
async def test_errors_in_googles_shape(peers: Peers, path: str, body: Any, status: int, word: str) -> None:
    """A refusal has Google's members with its own words, and the gateway's beside."""
    got, told = await send(peers, path, body)

    assert (status, status, word, False) == (
        got,
        told["error"]["code"],
        told["error"]["status"],
        told["success"],
    )
    assert told["error"]["message"] == told["message"]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/messages", {"model": "openai/x", "messages": MESSAGES}, b'event: error\ndata: {"type":"error"'),
        (f"{GEMINI}:streamGenerateContent?alt=sse", CONTENTS, b'data: {"error":{"code":502,'),
        ("/v1/responses", {"model": "openai/x"}, b'event: error\ndata: {"type":"error"'),
        ("/v1/completions", {"model": "openai/x"}, b'data: {"error":{"message":'),
    ],
)
async def test_cut_streams_are_told_in_the_clients_dialect(
    peers: Peers, path: str, body: dict[str, Any], told: bytes
) -> None:
    """The event that ends them is one that the dialect's SDKs raise for."""
    dialect = peers.provider
    cut = failure(provider_service_pb2.FAILURE_CLASS_CUT, message="The answer broke off.")
    dialects = {
        "/v1/messages": http_pb2.DIALECT_ANTHROPIC_MESSAGES,
        "/v1/responses": http_pb2.DIALECT_OPENAI_RESPONSES,
        "/v1/completions": http_pb2.DIALECT_OPENAI_OTHER,
    }
    dialect.script = [
        head(200, "text/event-stream", body_dialect=dialects.get(path, http_pb2.DIALECT_GEMINI)),
        chunk(b"data: {}\n\n"),
        tail(failure=cut),
    ]
    url = URL(peers.base + path, encoded=True)
    async with peers.client.post(url, json={**body, "stream": True}, headers=AUTH) as answer:
        received = await answer.read()

    assert told in received
    assert b"The answer broke off." in received


@pytest.mark.parametrize("header", ["x-api-key", "x-goog-api-key", "authorization", "api-key"])
@pytest.mark.parametrize("path", ["/v1/messages", f"{GEMINI}:generateContent", f"{COMPAT}/v1/messages"])
async def test_a_token_wherever_an_sdk_puts_its_key(peers: Peers, path: str, header: str) -> None:
    """It lets the caller in and goes no further; any other key beside it is the provider's."""
    body = {**CONTENTS, "model": "openai/gpt-x", "messages": MESSAGES}
    status, _ = await send(peers, path, body, **{header: TOKEN, "xi-api-key": "theirs"})
    sent = {each.name: each.value for each in peers.provider.requests[0].headers}

    assert (200, b"theirs") == (status, sent["xi-api-key"])
    assert header not in sent
    assert TOKEN.encode() not in peers.provider.requests[0].SerializeToString()


async def test_a_token_in_geminis_query(peers: Peers) -> None:
    """`?key=` holds the caller's token, which reaches neither the provider service nor the log."""
    status, _ = await send(peers, f"{GEMINI}:generateContent?key={TOKEN}", CONTENTS, **{"x-client": "curl"})
    entry = await peers.entry()

    assert (200, "t1") == (status, entry.caller.token_id)
    assert TOKEN.encode() not in peers.provider.requests[0].SerializeToString()
    assert TOKEN.encode() not in entry.SerializeToString()


async def test_a_wrong_token_in_geminis_query(peers: Peers) -> None:
    """It is refused, and not repeated."""
    status, told = await send(
        peers, f"{GEMINI}:generateContent?key=hr_wrong_token", CONTENTS, **{"x-client": "curl"}
    )

    assert (401, "UNAUTHENTICATED") == (status, told["error"]["status"])
    assert "hr_wrong" not in str(told)


async def test_a_providers_key_in_geminis_query(peers: Peers) -> None:
    """A key of Google's goes on where the provider's adapter looks for one."""
    status, _ = await send(
        peers, f"{GEMINI}:generateContent?key=AIza-theirs", CONTENTS, **{"cf-aig-authorization": TOKEN}
    )
    sent = {each.name: each.value for each in peers.provider.requests[0].headers}

    assert (200, b"AIza-theirs") == (status, sent["x-goog-api-key"])


async def test_every_dialect_is_cached_and_logged(peers: Peers) -> None:
    """A whole answer is kept and found again; the entries say what was called and hold the bodies."""
    calls = {
        "/v1/messages": {"model": "openai/a", "messages": MESSAGES},
        "/v1/responses": {"model": "openai/b", "input": "x"},
        f"{GEMINI}:generateContent": CONTENTS,
        "/v1/rerank": {"model": "openai/c"},
    }
    for path, body in calls.items():
        for status in ("MISS", "HIT"):
            headers = {**AUTH, "cf-aig-cache-ttl": "60"}
            async with peers.client.post(path, json=body, headers=headers) as answer:
                assert (status, ANSWER) == (answer.headers["cf-aig-cache-status"], await answer.read())
    await peers.ledger.recorded.wait()
    endpoints = {request.endpoint for request in peers.cache.looked_up}

    assert endpoints == {
        "compat/messages",
        "compat/responses",
        "compat/v1beta/models:generateContent",
        "compat/rerank",
    }
    assert len(peers.provider.requests) == len(calls)


@pytest.mark.parametrize(
    "path", [f"{GEMINI}:streamGenerateContent", f"{GEMINI}:streamGenerateContent?alt=sse"]
)
async def test_streams_of_gemini_are_cached_as_streams(peers: Peers, path: str) -> None:
    """Whether a stream was asked for stands in the path, and is seen there."""
    peers.provider.script = [head(200, "text/event-stream"), chunk(b"data: {}\n\n"), tail()]
    async with peers.client.post(path, json=CONTENTS, headers={**AUTH, "cf-aig-cache-ttl": "60"}) as answer:
        await answer.read()

    assert [True] == [request.stream for request in peers.cache.looked_up]


async def test_first_piece_of_an_array_is_not_held_back(peers: Peers) -> None:
    """Gemini's stream as one JSON array reaches the client piece by piece, from the first one on."""
    gate = asyncio.Event()
    dialect = http_pb2.DIALECT_GEMINI
    peers.provider.script = [head(body_dialect=dialect), chunk(b'[{"a":1}'), gate.wait, chunk(b"]"), tail()]
    async with peers.client.post(f"{GEMINI}:streamGenerateContent", json=CONTENTS, headers=AUTH) as answer:
        async with asyncio.timeout(5):
            first = await answer.content.readany()
        gate.set()
        rest = await answer.read()

    assert (b'[{"a":1}', b"]") == (first, rest)


async def test_array_that_breaks_off_is_cut(peers: Peers) -> None:
    """There is no event to tell it by, and half an array must not end like a whole one."""
    cut = failure(provider_service_pb2.FAILURE_CLASS_CUT, message="The answer broke off.")
    peers.provider.script = [
        head(body_dialect=http_pb2.DIALECT_GEMINI),
        chunk(b'[{"a":1}'),
        chunk(b',{"b":2}'),
        tail(failure=cut),
    ]
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        async with peers.client.post(
            f"{GEMINI}:streamGenerateContent", json=CONTENTS, headers=AUTH
        ) as answer:
            await answer.read()


async def test_error_in_place_of_an_array_is_whole(peers: Peers) -> None:
    """A provider's refusal of a stream is an answer with a length, whatever was asked for."""
    refused = failure(provider_service_pb2.FAILURE_CLASS_INVALID_REQUEST)
    peers.provider.script = [
        head(400, body_dialect=http_pb2.DIALECT_GEMINI, failure=refused),
        chunk(b'{"error":{}}'),
        tail(),
    ]
    async with peers.client.post(f"{GEMINI}:streamGenerateContent", json=CONTENTS, headers=AUTH) as answer:
        assert (400, "12") == (answer.status, answer.headers["content-length"])


async def test_headers_of_a_whole_answer(peers: Peers) -> None:
    """Usage as JSON, notes of the translation, provider and model; a stream has no usage to tell yet."""
    peers.provider.script = [
        head(translation_notes=["dropped=seed", "clamped=temperature:1"]),
        chunk(b"{}"),
        tail(),
    ]
    async with peers.client.post(
        "/v1/messages", json={"model": "openai/gpt-x", "messages": MESSAGES}, headers=AUTH
    ) as answer:
        found = dict(answer.headers)
    peers.provider.script = [
        head(200, "text/event-stream", translation_notes=["dropped=seed"]),
        chunk(b"data: {}\n\n"),
        tail(),
    ]
    async with peers.client.post(
        "/v1/messages", json={"model": "openai/gpt-x", "messages": MESSAGES, "stream": True}, headers=AUTH
    ) as answer:
        streamed = dict(answer.headers)

    assert ("dropped=seed; clamped=temperature:1", "openai", "gpt-x") == tuple(
        found[f"cf-aig-{name}"] for name in ("translation", "provider", "model")
    )
    assert {"input_tokens": 3, "output_tokens": 5} == orjson.loads(found["cf-aig-usage"])
    assert "dropped=seed" == streamed["cf-aig-translation"]
    assert not {"cf-aig-usage", "cf-aig-cost"} & set(streamed)


@pytest.mark.parametrize(
    ("sent", "setting", "strict"), [("true", False, True), ("false", True, False), ("", True, True)]
)
async def test_strict_translation(peers: Peers, sent: str, setting: bool, strict: bool) -> None:  # noqa: FBT001 - a table's columns
    """The header wins over the gateway's setting."""
    peers.router.settings["strict_translation"] = setting
    headers = {**AUTH, **({"cf-aig-strict": sent} if sent else {})}
    await send(peers, "/v1/messages", {"model": "openai/gpt-x", "messages": MESSAGES}, **headers)

    assert strict is peers.provider.requests[0].strict_translation


async def test_an_accounts_own_provider_goes_along(peers: Peers) -> None:
    """What the plan says of it is in the request, and the headers name it."""
    custom = custom_provider_pb2.CustomProvider(slug="mine", base_url="https://llm.example", enabled=True)
    peers.router.steps = [router_service_pb2.Step(provider="custom-mine", model="m", custom=custom)]
    async with peers.client.post(
        "/v1/messages", json={"model": "custom-mine/m", "messages": MESSAGES}, headers=AUTH
    ) as answer:
        assert "custom-mine" == answer.headers["cf-aig-provider"]
    request = peers.provider.requests[0]

    assert ("custom-mine", custom) == (request.provider, request.custom)
    samples = {
        sample.labels["provider"]
        for metric in peers.runtime.metrics.collect()
        for sample in metric.samples
        if sample.name == "headrace_requests_total"
    }
    # A name that an account chose is no name of a series.
    assert {"custom"} == samples


@pytest.mark.parametrize(
    ("allowed", "status"), [(["xai"], 200), (["grok"], 200), (["openai"], 403), (["xai/m"], 403)]
)
async def test_restrictions_may_use_another_name(peers: Peers, allowed: list[str], status: int) -> None:
    """A token for `xai` reaches `grok`, which is the same."""
    peers.router.steps = [router_service_pb2.Step(provider="grok", model="m")]
    peers.auth.restrictions.providers.extend(allowed)
    got, _ = await send(peers, "/v1/messages", {"model": "grok/m", "messages": MESSAGES})

    assert status == got


async def test_a_gateways_name_is_no_providers(peers: Peers) -> None:
    """A token for the gateway `google` is none for one called as the provider is that it stands for."""
    peers.auth.restrictions.gateway_ids.append("google")
    status, _ = await send(peers, "/v1/messages", {"model": "openai/m", "messages": MESSAGES})

    assert 403 == status


async def test_a_body_of_unknown_length_above_the_limit(tmp_path: Path) -> None:
    """A form that is longer than what is held in memory is 413, in the dialect's shape."""
    async with edge_between(tmp_path, edge_max_body_bytes="2048") as peers:
        form = aiohttp.FormData({"model": "openai/x"})
        form.add_field("file", b"x" * 4096, filename="a.mp3")
        status, told = await send(peers, "/v1/audio/transcriptions", form)

        assert (413, "request_too_large") == (status, told["error"]["type"])
