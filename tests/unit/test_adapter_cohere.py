"""What is sent to Cohere, by whose key, and what comes of its answers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.adapters.cohere import CohereAdapter
from services.providers.adapters.translated import CLIENTS
from services.providers.app import make_adapter
from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.usage import UsageCounts
from services.providers.registry import PROVIDERS

HOST = "https://api.cohere.com"
BEARER = (("authorization", b"Bearer co-key"),)
CHAT = {"model": "x", "messages": [{"role": "user", "content": "Hi"}]}
ANSWER = orjson.dumps(
    {
        "id": "a1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
        "usage": {"billed_units": {"input_tokens": 5, "output_tokens": 2}},
    }
)
BILLED = UsageCounts(input_tokens=5, output_tokens=2)


def adapter(key: str = "") -> CohereAdapter:
    settings = ProviderSettings(slug="cohere", api_key=Secret(key) if key else None)
    made = make_adapter(PROVIDERS["cohere"], settings, ProvidersConfig())
    assert isinstance(made, CohereAdapter)
    return made


def call(
    document: Any,
    dialect: ClientDialect = ClientDialect.OPENAI_CHAT,
    *,
    headers: tuple[tuple[str, bytes], ...] = BEARER,
    operation: str = "",
    stream: bool = False,
) -> Call:
    return Call(
        model="command-a",
        dialect=dialect,
        body=orjson.dumps(document),
        stream=stream,
        headers=headers,
        operation=operation,
    )


def native(path: str, body: bytes = b"{}", headers: tuple[tuple[str, bytes], ...] = BEARER) -> Call:
    target = NativeTarget(method="POST", path=path, query="a=b")
    return Call(
        model="", dialect=ClientDialect.NATIVE, body=body, stream=False, headers=headers, native=target
    )


async def test_chat() -> None:
    """A chat goes to version 2, and its answer comes back in the client's dialect."""
    made = await adapter().exchange(call(CHAT))
    answer = made.reading.whole(ANSWER)

    assert ("POST", f"{HOST}/v2/chat", "chat") == (made.method, str(made.url), made.operation)
    assert ("authorization", "Bearer co-key") in made.headers
    assert {"model": "command-a", "messages": CHAT["messages"]} == orjson.loads(made.body)
    assert "Yes." == orjson.loads(answer.body)["choices"][0]["message"]["content"]
    assert BILLED == answer.usage


REQUESTS: dict[ClientDialect, dict[str, Any]] = {
    ClientDialect.OPENAI_CHAT: CHAT,
    ClientDialect.OPENAI_RESPONSES: {"model": "x", "input": "Hi"},
    ClientDialect.ANTHROPIC_MESSAGES: {**CHAT, "max_tokens": 9},
    ClientDialect.GEMINI: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}


@pytest.mark.parametrize("dialect", list(CLIENTS))
async def test_chat_in_every_dialect(dialect: ClientDialect) -> None:
    """Every dialect that clients speak reaches the same endpoint with the same words."""
    made = await adapter().exchange(call(REQUESTS[dialect], dialect))

    assert f"{HOST}/v2/chat" == str(made.url)
    assert CHAT["messages"] == orjson.loads(made.body)["messages"]
    assert b"Yes." in made.reading.whole(ANSWER).body


async def test_stream() -> None:
    """A stream is asked for, and comes back as the client's."""
    made = await adapter().exchange(call(CHAT, stream=True))
    machine = made.reading.stream()
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {}}}}
    text = {"type": "content-delta", "delta": {"message": {"content": {"text": "Yes."}}}}
    out = machine.feed(b"".join(b"data: %s\n\n" % orjson.dumps(entry) for entry in (text, end)))

    assert True is orjson.loads(made.body)["stream"]
    assert b"Yes." in out
    assert (out + machine.finish()).endswith(b"data: [DONE]\n\n")


async def test_embeddings() -> None:
    """Case 137: embeddings go to version 2, and come back as OpenAI's."""
    made = await adapter().exchange(call({"input": "a", "user": "u"}, ClientDialect.OPENAI_EMBEDDINGS))
    answer = made.reading.whole(
        orjson.dumps({"embeddings": {"float": [[1.0]]}, "meta": {"billed_units": {"input_tokens": 3}}})
    )

    assert (f"{HOST}/v2/embed", "embeddings", ("dropped=user",)) == (
        str(made.url),
        made.operation,
        made.notes,
    )
    assert "search_document" == orjson.loads(made.body)["input_type"]
    assert [1.0] == orjson.loads(answer.body)["data"][0]["embedding"]
    assert UsageCounts(input_tokens=3) == answer.usage


async def test_rerank() -> None:
    """Case 138: a ranking goes to version 2, and brings its documents back."""
    request = {"model": "x", "query": "q", "documents": ["a", "b"], "return_documents": True, "top_n": 9}
    made = await adapter().exchange(call(request, ClientDialect.OPENAI_OTHER, operation="rerank"))
    answer = made.reading.whole(
        orjson.dumps(
            {"results": [{"index": 0, "relevance_score": 0.1}, {"index": 1, "relevance_score": 0.9}]}
        )
    )

    assert f"{HOST}/v2/rerank" == str(made.url)
    assert {"model": "command-a", "query": "q", "documents": ["a", "b"], "top_n": 2} == orjson.loads(
        made.body
    )
    assert [{"text": "b"}, {"text": "a"}] == [
        entry["document"] for entry in orjson.loads(answer.body)["results"]
    ]


@pytest.mark.parametrize(
    ("dialect", "operation"),
    [(ClientDialect.OPENAI_OTHER, "moderations"), (ClientDialect.ANTHROPIC_MESSAGES, "count_tokens")],
)
async def test_what_cohere_has_not(dialect: ClientDialect, operation: str) -> None:
    """What Cohere has nothing for is refused."""
    with pytest.raises(GatewayError) as error:
        await adapter().exchange(call(CHAT, dialect, operation=operation))

    assert Reason.UNSUPPORTED is error.value.reason


@pytest.mark.parametrize("value", [b"Bearer co-key", b"Token co-key", b"token co-key", b"co-key"])
async def test_keys(value: bytes) -> None:
    """A key is taken under both of Cohere's words for it, and sent under the newer one."""
    made = await adapter("operators").exchange(call(CHAT, headers=(("authorization", value),)))

    assert ["Bearer co-key"] == [text for name, text in made.headers if name == "authorization"]


@pytest.mark.parametrize("value", [b"Bearer co-key", b"Token co-key"])
async def test_keys_of_native_calls(value: bytes) -> None:
    """Natively a key goes on as it came; without one the operator's goes."""
    own = await adapter("operators").exchange(native("v1/chat", headers=(("authorization", value),)))
    none = await adapter("operators").exchange(native("v1/chat", headers=()))

    assert ("authorization", value.decode()) in own.headers
    assert ("authorization", "Bearer operators") in none.headers


@pytest.mark.parametrize(
    ("path", "expected", "operation"),
    [
        ("v1/chat", "v1/chat", "chat"),
        ("chat", "v1/chat", "chat"),
        ("v2/chat", "v2/chat", "chat"),
        ("v2/embed", "v2/embed", "embeddings"),
        ("v2/rerank", "v2/rerank", ""),
        ("v1/generate", "v1/generate", "text_completion"),
        ("compatibility/v1/chat/completions", "compatibility/v1/chat/completions", "chat"),
        ("compatibility/v1/embeddings", "compatibility/v1/embeddings", "embeddings"),
    ],
)
async def test_native_paths(path: str, expected: str, operation: str) -> None:
    """A native call goes where it says, with its body to the byte and its query."""
    made = await adapter().exchange(native(path, b'{ "a":1 }'))

    assert (f"{HOST}/{expected}?a=b", b'{ "a":1 }', operation, True) == (
        str(made.url),
        made.body,
        made.operation,
        made.reading.verbatim,
    )


async def test_compatible_paths_are_metered() -> None:
    """OpenAI's API at Cohere is metered as that, whole and streamed."""
    made = await adapter().exchange(native("compatibility/v1/chat/completions"))
    usage = b'"usage":{"prompt_tokens":5,"completion_tokens":2}'
    machine = made.reading.stream()
    machine.feed(b'data: {"choices":[],%s}\n\ndata: [DONE]\n\n' % usage)

    assert ClientDialect.OPENAI_CHAT is made.dialect
    assert [BILLED, BILLED] == [made.reading.whole(b'{"choices":[],%s}' % usage).usage, machine.usage]


OLD = b'{"event_type":"stream-end","finish_reason":"COMPLETE","response":{"meta":{"billed_units":{"input_tokens":5,"output_tokens":2}}}}\n'  # noqa: E501
NEW = b'data: {"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":5,"output_tokens":2}}}}\n\n'  # noqa: E501


@pytest.mark.parametrize(("path", "data"), [("v1/chat", OLD), ("chat", OLD), ("v2/chat", NEW)])
async def test_native_metering(path: str, data: bytes) -> None:
    """Case 135: native answers are metered by what is paid for, whole and streamed."""
    made = await adapter().exchange(native(path))
    machine = made.reading.stream()

    assert data == machine.feed(data) + machine.finish()
    assert BILLED == machine.usage
    assert (ANSWER, BILLED) == (made.reading.whole(ANSWER).body, made.reading.whole(ANSWER).usage)


async def test_errors() -> None:
    """Case 57: an error in Cohere's shape becomes one in the client's, and stays natively."""
    body = b'{"message":"too many tokens: size limit exceeded by 3 tokens."}'
    for made in (
        await adapter().exchange(call(CHAT)),
        await adapter().exchange(call({"input": "a"}, ClientDialect.OPENAI_EMBEDDINGS)),
    ):
        found = made.reading.error(400, body, {"retry-after": "3"})
        assert FailureClass.CONTEXT_LENGTH is found.failure_class
        assert "context_length_exceeded" == orjson.loads(found.body)["error"]["code"]
        assert 3.0 == found.retry_after_s
    relayed = (await adapter().exchange(native("v2/chat"))).reading.error(400, body, {})
    assert (body, FailureClass.CONTEXT_LENGTH) == (relayed.body, relayed.failure_class)


async def test_blocked() -> None:
    """Case 150: Cohere has a status of its own for what is not allowed."""
    made = await adapter().exchange(call(CHAT))

    assert FailureClass.CONTENT_POLICY is made.reading.error(498, b'{"message":"blocked"}', {}).failure_class


async def test_no_key() -> None:
    """Without any key nothing is sent."""
    with pytest.raises(GatewayError) as error:
        await adapter().exchange(call(CHAT, headers=()))

    assert Reason.CREDENTIAL_MISSING is error.value.reason
    assert None is await adapter().models()
    assert "api.cohere.com" == adapter().host
