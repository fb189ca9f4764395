"""
The adapter of OpenAI's API and its like: in which dialect a call goes out, where to, and its answer.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web
from yarl import URL

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.adapters.openai import OpenAIAdapter
from services.providers.adapters.translated import CLIENTS
from services.providers.app import endpoint_of
from services.providers.call import Call, ClientDialect, Exchange
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.dialects.openai_chat import hosts
from services.providers.endpoint import Endpoint
from services.providers.registry import PROVIDERS
from tests.fakes.provider_calls import chat_request, provider_harness

Json = dict[str, Any]
MESSAGES = [{"role": "user", "content": "Hello?"}]
FORM = (
    b'--b"x\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n\x00\xff--b\r\nmodel\r\n'
    b'--b"x\r\ncontent-disposition: form-data; name=model\r\n\r\ngroq/whisper\r\n'
    b'--b"x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xc3\xa9\r\n--b"x--\r\n'
)


def adapter(slug: str, **changes: Any) -> OpenAIAdapter:
    row = replace(PROVIDERS[slug], **changes)
    settings = ProviderSettings(
        slug=slug, base_url=URL("http://127.0.0.1:9/v1") if not row.base_url else None
    )
    return OpenAIAdapter(row, endpoint_of(row, settings), Secret("k"), ProvidersConfig())


async def exchange(slug: str, dialect: ClientDialect, body: Any, **members: Any) -> Exchange:
    changes = members.pop("changes", {})
    call = Call(
        model=members.pop("model", "m-1"),
        dialect=dialect,
        body=body if isinstance(body, bytes) else orjson.dumps(body),
        stream=members.pop("stream", False),
        headers=members.pop("headers", ()),
        **members,
    )
    return await adapter(slug, **changes).exchange(call)


@pytest.mark.parametrize(
    ("slug", "url"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions"),
        ("parallel", "https://api.parallel.ai/v1beta/chat/completions"),
        ("perplexity-ai", "https://api.perplexity.ai/chat/completions"),
        ("groq", "https://api.groq.com/openai/v1/chat/completions"),
    ],
)
async def test_chat_path(slug: str, url: str) -> None:
    """Chats go to the path that the provider's row names."""
    made = await exchange(slug, ClientDialect.OPENAI_CHAT, {"model": "x", "messages": MESSAGES})

    assert url == str(made.url)


@pytest.mark.parametrize(("slug", "asks"), [("openai", True), ("mistral", False)])
async def test_usage_of_streams(slug: str, asks: bool) -> None:  # noqa: FBT001
    """Cases 61 and 148: usage of streams is asked for where the provider's row says that it understands."""
    body = {"model": "x", "messages": MESSAGES, "stream": True}
    same = await exchange(slug, ClientDialect.OPENAI_CHAT, body, stream=True)
    body["max_tokens"] = 9
    translated = await exchange(slug, ClientDialect.ANTHROPIC_MESSAGES, body, stream=True)

    assert asks == (b"include_usage" in same.body)
    assert asks == (b"include_usage" in translated.body)


async def test_responses_where_they_are() -> None:
    """Responses go out as they are where the provider has them, and as chats elsewhere."""
    body = {"model": "x", "input": "Hello?"}
    same = await exchange("openai", ClientDialect.OPENAI_RESPONSES, body)
    translated = await exchange("cerebras", ClientDialect.OPENAI_RESPONSES, body)

    assert ("/v1/responses", {"model": "m-1", "input": "Hello?"}) == (same.url.path, orjson.loads(same.body))
    assert "/v1/chat/completions" == translated.url.path
    assert MESSAGES == orjson.loads(translated.body)["messages"]


@pytest.mark.parametrize(
    ("member", "value"),
    [("previous_response_id", "resp_1"), ("conversation", {"id": "conv_1"}), ("background", True)],
)
async def test_responses_are_stateless_in_the_same_dialect_too(member: str, value: Any) -> None:
    """Case 153: what refers to a stored answer is refused by name, since the next turn may go elsewhere."""
    body = orjson.dumps({"model": "x", "input": "Hello?", member: value})
    with pytest.raises(GatewayError) as caught:
        await exchange("openai", ClientDialect.OPENAI_RESPONSES, body)

    assert (Reason.UNSUPPORTED, member) == (caught.value.reason, caught.value.metadata["param"])


@pytest.mark.parametrize(
    ("slug", "model", "path"),
    [
        ("openai", "gpt-5.6", "/v1/responses"),
        ("openai", "gpt-5.1-codex", "/v1/responses"),
        ("openai", "gpt-5-mini", "/v1/chat/completions"),
        ("openai", "gpt-4o", "/v1/chat/completions"),
        ("openrouter", "gpt-5.6", "/api/v1/chat/completions"),
    ],
)
async def test_thinking_beside_tools(slug: str, model: str, path: str) -> None:
    """Case 65: models whose thoughts chat completions refuse beside tools are spoken to by responses."""
    body = {
        "model": "x",
        "max_tokens": 4096,
        "messages": MESSAGES,
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "thinking": {"type": "enabled", "budget_tokens": 2048},
    }
    made = await exchange(slug, ClientDialect.ANTHROPIC_MESSAGES, body, model=model)

    assert path == made.url.path


@pytest.mark.parametrize(
    ("slug", "model", "path"),
    [
        ("openai", "gpt-4o", "/v1/chat/completions"),
        ("openai", "gpt-5-pro", "/v1/responses"),
        # Elsewhere a name says nothing of the sort.
        ("openrouter", "gpt-5-pro", "/api/v1/chat/completions"),
    ],
)
async def test_chats_with_what_is_on_responses_alone(slug: str, model: str, path: str) -> None:
    """A chat with a model that OpenAI has on responses alone is translated, and any other is not."""
    body = {"model": model, "messages": MESSAGES}

    assert path == (await exchange(slug, ClientDialect.OPENAI_CHAT, body, model=model)).url.path


async def test_every_client_is_translated() -> None:
    """Every client dialect of chats has a way to a provider that only has chat completions."""
    bodies: Json = {
        ClientDialect.OPENAI_RESPONSES: {"model": "x", "input": "Hello?"},
        ClientDialect.ANTHROPIC_MESSAGES: {"model": "x", "max_tokens": 9, "messages": MESSAGES},
        ClientDialect.GEMINI: {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]},
        ClientDialect.OPENAI_CHAT: {"model": "x", "messages": MESSAGES},
    }
    for dialect in CLIENTS:
        made = await exchange("cerebras", dialect, bodies[dialect])
        assert ("m-1", MESSAGES) == (orjson.loads(made.body)["model"], orjson.loads(made.body)["messages"])


@pytest.mark.parametrize(
    ("slug", "dialect", "operation"),
    [
        ("groq", ClientDialect.OPENAI_OTHER, "images/generations"),
        ("deepseek", ClientDialect.OPENAI_OTHER, "rerank"),
        ("deepseek", ClientDialect.OPENAI_EMBEDDINGS, ""),
        ("openai", ClientDialect.ANTHROPIC_MESSAGES, "count_tokens"),
        ("openai", ClientDialect.GEMINI, "countTokens"),
    ],
)
async def test_what_a_provider_does_not_have(slug: str, dialect: ClientDialect, operation: str) -> None:
    """An endpoint that a provider does not have is refused, and not sent."""
    with pytest.raises(GatewayError) as raised:
        await exchange(slug, dialect, {"model": "x"}, operation=operation)

    assert Reason.UNSUPPORTED is raised.value.reason


async def test_other_endpoint_keeps_its_bytes() -> None:
    """Case 140: a further endpoint's body changes by the model alone."""
    raw = b'{ "input":"x", "model" : "openai/y","voice":"alloy","speed":1.0, "new":{"a":1e3} }'
    made = await exchange("openai", ClientDialect.OPENAI_OTHER, raw, operation="audio/speech")

    assert "https://api.openai.com/v1/audio/speech" == str(made.url)
    assert raw.replace(b"openai/y", b"m-1") == made.body
    assert [("content-type", "application/json")] == [
        pair for pair in made.headers if pair[0] == "content-type"
    ]


async def test_form_keeps_its_bytes() -> None:
    """A form's `model` field is rewritten, and neither its files nor any other byte."""
    content_type = 'multipart/form-data; boundary="b\\"x"'
    made = await exchange(
        "groq",
        ClientDialect.OPENAI_OTHER,
        FORM,
        model="whisper-1",
        operation="audio/transcriptions",
        headers=[("content-type", content_type.encode())],
    )

    assert FORM.replace(b"groq/whisper", b"whisper-1") == made.body
    assert [("content-type", content_type)] == [pair for pair in made.headers if pair[0] == "content-type"]


@pytest.mark.parametrize(
    ("content_type", "body", "model"),
    [
        ("multipart/form-data", FORM, "m"),
        ("multipart/form-data; boundary=other", FORM, "m"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", "m"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n',
            "m",
        ),
        ("multipart/form-data; boundary=b", b"", "m"),
        ('multipart/form-data; boundary="b\\"x"', FORM, "m\r\n--b"),
        ("application/json", b"[]", "m"),
    ],
)
async def test_forms_that_are_none(content_type: str, body: bytes, model: str) -> None:
    """A body that is not what its type says is the client's error."""
    with pytest.raises(GatewayError) as raised:
        await exchange(
            "groq",
            ClientDialect.OPENAI_OTHER,
            body,
            model=model,
            operation="audio/transcriptions",
            headers=[("content-type", content_type.encode())],
        )

    assert Reason.INVALID_REQUEST is raised.value.reason


async def test_quirks_are_the_rows() -> None:
    """A row that says what its host takes is all that a host needs."""
    quirks = replace(hosts.USUAL, limit="max_completion_tokens")
    body = {"model": "x", "max_tokens": 9, "messages": MESSAGES}
    made = await exchange("baseten", ClientDialect.ANTHROPIC_MESSAGES, body, changes={"chat": quirks})

    assert 9 == orjson.loads(made.body)["max_completion_tokens"]


async def test_address_of_the_operators() -> None:
    """An address of the operator's takes the place of the public one on every path."""
    row = PROVIDERS["openai"]
    endpoint = Endpoint(URL(row.base_url), URL("http://127.0.0.1:9/proxy/v1"))
    call = Call(
        model="m",
        dialect=ClientDialect.OPENAI_OTHER,
        operation="moderations",
        body=b'{"model":"x"}',
        stream=False,
        headers=(),
    )
    made = await OpenAIAdapter(row, endpoint, Secret("k"), ProvidersConfig()).exchange(call)

    assert "http://127.0.0.1:9/proxy/v1/moderations" == str(made.url)


AUDIO = bytes(range(256)) * 40
EVENTS = (
    b'data: {"type":"speech.audio.delta","audio":"aGk="}\n\n'
    b'data: {"type":"speech.audio.done","usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}\n\n'
)
IMAGES = b'{"created": 1, "data":[{"b64_json":"aGk="}],"usage":{"input_tokens":5,"output_tokens":6}}'


class Host:
    """Answers each of OpenAI's further endpoints in its own format."""

    def __init__(self, answer: bytes, content_type: str, *, status: int = 200, coding: str = "") -> None:
        self._answer = answer
        self._headers = {"content-type": content_type} | ({"content-encoding": coding} if coding else {})
        self._status = status

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take the whole request, and answer in pieces."""
        await request.read()
        response = web.StreamResponse(status=self._status, headers=self._headers)
        await response.prepare(request)
        for start in range(0, len(self._answer), 100):
            await response.write(self._answer[start : start + 100])
        return response


async def served(host: Host, operation: str, *, stream: bool = False, **given: Any) -> Any:
    """Send a call through the provider service to a host."""
    app = web.Application()
    app.router.add_post("/{path:.*}", host.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host_name, port = runner.addresses[0][:2]
    request = chat_request(
        "openai",
        "m-1",
        stream=stream,
        dialect=given.pop("dialect", http_pb2.DIALECT_OPENAI_OTHER),
        operation=operation,
        **given,
    )
    try:
        async with provider_harness(f"http://{host_name}:{port}") as harness:
            return await harness.invoke(request)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("operation", "answer", "content_type", "usage"),
    [
        ("audio/speech", AUDIO, "audio/mpeg", (0, 0)),
        ("audio/transcriptions", "Grüße\n".encode(), "text/plain; charset=utf-8", (0, 0)),
        ("images/generations", IMAGES, "application/json", (5, 6)),
        ("audio/speech", EVENTS, "text/event-stream", (3, 4)),
    ],
)
async def test_answers_of_every_format(
    operation: str, answer: bytes, content_type: str, usage: tuple[int, int]
) -> None:
    """Answers of further endpoints, sound and events among them, come back to the byte, and are metered."""
    invoked = await served(Host(answer, content_type), operation, stream=content_type == "text/event-stream")
    used = invoked.ended.usage

    assert (200, answer) == (invoked.started.status, invoked.body)
    assert content_type.partition(";")[0] == invoked.header("content-type")[0].partition(";")[0]
    assert usage == (used.input_tokens, used.output_tokens)
    assert not invoked.ended.HasField("failure")


async def test_events_that_were_not_asked_for() -> None:
    """A host that answers with events regardless is passed on, and one that does not stream too."""
    events = await served(Host(EVENTS, "text/event-stream"), "audio/speech")
    whole = await served(Host(IMAGES, "application/json"), "images/generations", stream=True)

    assert (EVENTS, IMAGES) == (events.body, whole.body)


async def test_cut_events() -> None:
    """Case 144: events of a further endpoint that stop before the last one are a cut."""
    cut = EVENTS[: EVENTS.index(b"\n\n") + 2]
    invoked = await served(Host(cut, "text/event-stream"), "audio/speech", stream=True)

    assert cut == invoked.body
    assert invoked.ended.HasField("failure")


async def test_error_of_a_further_endpoint() -> None:
    """An error of a further endpoint has its status, and a body in OpenAI's shape."""
    invoked = await served(Host(b"<html>", "text/html", status=503), "audio/speech")

    assert (503, "api_error") == (invoked.started.status, invoked.json["error"]["type"])


CHAT = b'{"id":"c", "model":"m-1","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
CHUNKS = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.mark.parametrize("dialect", [http_pb2.DIALECT_OPENAI_CHAT, http_pb2.DIALECT_ANTHROPIC_MESSAGES])
@pytest.mark.parametrize(
    ("answer", "content_type"), [(CHAT, "application/json"), (CHUNKS, "text/event-stream")]
)
async def test_compressed_answer(dialect: Any, answer: bytes, content_type: str) -> None:
    """Case 142: an answer that is compressed regardless is decoded, and says nothing of it any more."""
    same, streams = dialect == http_pb2.DIALECT_OPENAI_CHAT, answer is CHUNKS
    host = Host(gzip.compress(answer), content_type, coding="gzip")
    invoked = await served(host, "", stream=streams, dialect=dialect, body={"max_tokens": 9})

    assert (answer == invoked.body) == same
    assert b"Hi" in invoked.body
    assert ([], []) == (invoked.header("content-encoding"), invoked.header("content-length"))


@pytest.mark.parametrize("dialect", [http_pb2.DIALECT_OPENAI_CHAT, http_pb2.DIALECT_ANTHROPIC_MESSAGES])
async def test_coding_that_was_not_asked_for(dialect: Any) -> None:
    """Case 142: a coding that cannot be decoded, and was not asked for, is a malformed answer."""
    host = Host(b"\x0b\x02\x80{}\x03", "application/json", coding="br")
    with pytest.raises(GatewayError) as raised:
        await served(host, "", dialect=dialect, body={"max_tokens": 9})

    assert Reason.UPSTREAM_MALFORMED is raised.value.reason
