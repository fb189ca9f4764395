"""
The adapter of AI Studio: which request a call becomes, and how its answer is read.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from yarl import URL

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.adapters.gemini import GeminiAdapter
from services.providers.call import Call, ClientDialect, Exchange, NativeTarget
from services.providers.config import ProvidersConfig
from services.providers.dialects.failures import FailureClass
from services.providers.endpoint import Endpoint
from services.providers.fetch import Fetched
from services.providers.registry import PROVIDERS

ROW = PROVIDERS["google-ai-studio"]
HOST = "https://generativelanguage.googleapis.com"
CONTENTS = [{"role": "user", "parts": [{"text": "Hello?"}]}]
ANSWER = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "Hi."}]}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r1",
}


class Shelf:
    """Has one picture, at every address."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, url: str, *, param: str, max_bytes: int) -> Fetched:
        """Return the picture."""
        self.asked.append(url)
        return Fetched("image/gif", b"GIF")


def _adapter(fetcher: Shelf | None = None, *, key: str = "") -> GeminiAdapter:
    operator_key = Secret(key) if key else None
    return GeminiAdapter(
        ROW, Endpoint(URL(ROW.base_url), version="v1beta"), operator_key, ProvidersConfig(), fetcher
    )


def _call(dialect: ClientDialect, body: Any, **given: Any) -> Call:
    members: dict[str, Any] = {
        "model": "gemini-2.5-flash",
        "stream": False,
        "headers": [("x-goog-api-key", b"AIza-key"), ("x-custom", b"1")],
    }
    return Call(
        dialect=dialect, body=body if isinstance(body, bytes) else orjson.dumps(body), **members | given
    )


def _header(made: Exchange, name: str) -> str | None:
    return next((value for header, value in made.headers if header == name), None)


async def test_chat_is_translated() -> None:
    """A chat goes to generateContent with the key in Google's header, and comes back as a chat completion."""
    chat = {
        "model": "x",
        "messages": [{"role": "user", "content": "Hello?"}],
        "seed": 1,
        "logit_bias": {"1": 1},
    }

    made = await _adapter().exchange(_call(ClientDialect.OPENAI_CHAT, chat))

    assert f"{HOST}/v1beta/models/gemini-2.5-flash:generateContent" == str(made.url)
    assert ("POST", "AIza-key", "chat") == (made.method, _header(made, "x-goog-api-key"), made.operation)
    assert {"contents": CONTENTS, "generationConfig": {"seed": 1}} == orjson.loads(made.body)
    assert ("dropped=logit_bias",) == made.notes
    answer = made.reading.whole(orjson.dumps(ANSWER))
    assert "Hi." == orjson.loads(answer.body)["choices"][0]["message"]["content"]


async def test_streams_are_asked_for_as_events() -> None:
    """Case 106: A stream is asked for with `alt=sse`: without it Google answers with an array."""
    chat = {"messages": [{"role": "user", "content": "Hello?"}], "stream": True}

    made = await _adapter().exchange(_call(ClientDialect.OPENAI_CHAT, chat, stream=True))

    assert f"{HOST}/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse" == str(made.url)


async def test_an_access_token_goes_into_authorization() -> None:
    """A token of Google's OAuth is no API key."""
    made = await _adapter(key="ya29.token").exchange(
        _call(ClientDialect.GEMINI, {"contents": CONTENTS}, headers=[])
    )

    assert ("Bearer ya29.token", None) == (_header(made, "authorization"), _header(made, "x-goog-api-key"))


async def test_same_dialect_has_the_same_bytes() -> None:
    """Nothing of a body in Gemini's own dialect is touched, and nothing of the answer."""
    body = b'{ "contents":[ {"parts":[{"text":"a"}]} ], "unknown": 1.0 }'
    answer = orjson.dumps(ANSWER) + b"\n"

    made = await _adapter().exchange(_call(ClientDialect.GEMINI, body))
    read = made.reading.whole(answer)

    assert (body, answer) == (made.body, read.body)
    assert (3, 2, "stop") == (
        read.usage and read.usage.input_tokens,
        read.usage and read.usage.output_tokens,
        read.finish_reason,
    )


@pytest.mark.parametrize(
    ("operation", "stream", "path"),
    [
        ("", False, ":generateContent"),
        ("", True, ":streamGenerateContent?alt=sse"),
        ("streamGenerateContent", True, ":streamGenerateContent?alt=sse"),
        ("streamGenerateContent:array", True, ":streamGenerateContent?alt=sse"),
        ("countTokens", False, ":countTokens"),
        ("embedContent", False, ":embedContent"),
        ("batchEmbedContents", False, ":batchEmbedContents"),
    ],
)
async def test_calls_of_the_dialect(*, operation: str, stream: bool, path: str) -> None:
    """Each call of Gemini's dialect goes to the method that it is."""
    call = _call(ClientDialect.GEMINI, {"contents": CONTENTS}, operation=operation, stream=stream)

    made = await _adapter().exchange(call)

    assert f"{HOST}/v1beta/models/gemini-2.5-flash{path}" == str(made.url)


@pytest.mark.parametrize(
    ("operation", "body", "expected"),
    [
        (
            "batchEmbedContents",
            {"requests": [{"model": "models/google/m", "content": {}}, 1]},
            {"requests": [{"model": "models/gemini-2.5-flash", "content": {}}, 1]},
        ),
        (
            "countTokens",
            {"generateContentRequest": {"model": "models/google/m", "contents": []}},
            {"generateContentRequest": {"model": "models/gemini-2.5-flash", "contents": []}},
        ),
        (
            "embedContent",
            {"model": "google/m", "content": {}},
            {"model": "models/gemini-2.5-flash", "content": {}},
        ),
    ],
)
async def test_models_within_bodies(operation: str, body: Any, expected: Any) -> None:
    """Where a body repeats the model, it has to be the one in the path."""
    made = await _adapter().exchange(_call(ClientDialect.GEMINI, body, operation=operation))

    assert expected == orjson.loads(made.body)


async def test_a_stream_as_an_array() -> None:
    """A client that did not ask for events gets the elements of one array, however the bytes are split."""
    call = _call(ClientDialect.GEMINI, {}, operation="streamGenerateContent:array", stream=True)
    made = await _adapter().exchange(call)
    documents: list[Any] = [{"candidates": []}, ANSWER]
    events = b"".join(b"data: " + orjson.dumps(one) + b"\r\n\r\n" for one in documents)

    for step in (1, 7, len(events)):
        stream = made.reading.stream()
        out = (
            b"".join(stream.feed(events[at : at + step]) for at in range(0, len(events), step))
            + stream.finish()
        )
        assert (documents, None) == (orjson.loads(out), stream.failure)
        assert b"" == stream.finish()


async def test_an_array_that_is_cut_holds_the_error() -> None:
    """The array of a broken stream is still one, with the error as its last element."""
    call = _call(ClientDialect.GEMINI, {}, operation="streamGenerateContent:array", stream=True)
    stream = (await _adapter().exchange(call)).reading.stream()

    out = stream.feed(b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\n\n') + stream.finish()

    assert "UNAVAILABLE" == orjson.loads(out)[1]["error"]["status"]
    assert stream.failure is not None
    assert FailureClass.CUT is stream.failure.failure_class


async def test_embeddings_are_translated() -> None:
    """OpenAI's embeddings become a batch, and its vectors come back in order."""
    asked = {"model": "x", "input": ["a", "b"], "dimensions": 8, "user": "u", "task_type": "CLUSTERING"}
    made = await _adapter().exchange(
        _call(ClientDialect.OPENAI_EMBEDDINGS, asked, model="gemini-embedding-001")
    )

    answer = made.reading.whole(b'{"embeddings":[{"values":[0.5]},{"values":[1]}]}')

    assert f"{HOST}/v1beta/models/gemini-embedding-001:batchEmbedContents" == str(made.url)
    common = {"model": "models/gemini-embedding-001", "outputDimensionality": 8, "taskType": "CLUSTERING"}
    assert {
        "requests": [
            {**common, "content": {"parts": [{"text": "a"}]}},
            {**common, "content": {"parts": [{"text": "b"}]}},
        ]
    } == orjson.loads(made.body)
    assert ("dropped=user",) == made.notes
    assert [[0.5], [1]] == [row["embedding"] for row in orjson.loads(answer.body)["data"]]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"embeddings":[]}', b'{"embeddings":[1,{"values":["x"]}]}'])
async def test_embeddings_that_are_none(body: bytes) -> None:
    """An answer without a vector for each input is malformed."""
    made = await _adapter().exchange(_call(ClientDialect.OPENAI_EMBEDDINGS, {"input": ["a", "b"]}))

    with pytest.raises(GatewayError) as caught:
        made.reading.whole(body)

    assert Reason.UPSTREAM_MALFORMED is caught.value.reason


async def test_other_calls_are_unsupported() -> None:
    """What has no translation is refused by name."""
    with pytest.raises(GatewayError) as caught:
        await _adapter().exchange(_call(ClientDialect.OPENAI_OTHER, {}, operation="audio/speech"))

    assert (Reason.UNSUPPORTED, "dialect") == (caught.value.reason, caught.value.metadata["param"])


@pytest.mark.parametrize("model", ["", "a/b", "../x", "models/a?b", "a:b", "models/"])
async def test_names_that_no_model_has(model: str) -> None:
    """A name goes into the path only when it can be one."""
    with pytest.raises(GatewayError) as caught:
        await _adapter().exchange(_call(ClientDialect.GEMINI, {}, model=model))

    assert (Reason.INVALID_REQUEST, "model") == (caught.value.reason, caught.value.metadata["param"])


async def test_images_on_the_web_are_fetched_where_google_does_not() -> None:
    """Case 94: A picture whose type the address does not tell is fetched; one that Google fetches is not."""
    shelf = Shelf()
    parts = [
        {"type": "image_url", "image_url": {"url": "https://h/picture?id=1"}},
        {"type": "image_url", "image_url": {"url": "https://h/a.png"}},
    ]
    chat = {"messages": [{"role": "user", "content": parts}]}

    made = await _adapter(shelf).exchange(_call(ClientDialect.OPENAI_CHAT, chat))

    written = orjson.loads(made.body)["contents"][0]["parts"]
    assert ["https://h/picture?id=1"] == shelf.asked
    assert [
        {"inlineData": {"mimeType": "image/gif", "data": "R0lG"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://h/a.png"}},
    ] == written


def _native(path: str, query: str = "", body: bytes = b"{}") -> Call:
    return _call(
        ClientDialect.NATIVE,
        body,
        model="",
        native=NativeTarget(method="POST", path=path, query=query),
    )


@pytest.mark.parametrize(
    ("path", "url", "dialect", "operation"),
    [
        ("v1beta/models/m:generateContent", "/v1beta/models/m:generateContent", "GEMINI", "generate_content"),
        ("v1/models/m:generateContent", "/v1/models/m:generateContent", "GEMINI", "generate_content"),
        ("models/m:embedContent", "/v1beta/models/m:embedContent", None, "embeddings"),
        ("v1beta/models/m:countTokens", "/v1beta/models/m:countTokens", None, ""),
        ("v1beta/openai/chat/completions", "/v1beta/openai/chat/completions", "OPENAI_CHAT", "chat"),
        ("v1beta/files", "/v1beta/files", None, ""),
    ],
)
async def test_native_calls(path: str, url: str, dialect: str | None, operation: str) -> None:
    """A native call goes where it says, and is metered by what its path is."""
    made = await _adapter().exchange(_native(path))

    assert (f"{HOST}{url}", dialect, operation) == (str(made.url), made.dialect, made.operation)
    assert made.reading.verbatim


async def test_native_streams_are_metered_verbatim() -> None:
    """A native stream is not altered, and its usage and end are read; so is that of OpenAI's API there."""
    made = await _adapter().exchange(_native("v1beta/models/m:streamGenerateContent", "alt=sse"))
    event = b"data: " + orjson.dumps(ANSWER) + b"\r\n\r\n"

    stream = made.reading.stream()
    out = stream.feed(event) + stream.finish()

    assert (event, None, "stop") == (out, stream.failure, stream.finish_reason)
    assert stream.usage is not None
    assert 2 == stream.usage.output_tokens


async def test_a_key_in_the_query_is_enough() -> None:
    """Google's own clients may put the key into the query, where it stays."""
    call = _native("v1beta/models/m:generateContent", "key=AIza")
    made = await _adapter(key="operator").exchange(
        Call(model="", dialect=call.dialect, body=b"{}", stream=False, headers=[], native=call.native)
    )

    assert ("key=AIza", None) == (made.url.query_string, _header(made, "x-goog-api-key"))


QUOTA = {
    "error": {
        "code": 429,
        "message": "Quota exceeded.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.074824224s"},
        ],
    }
}


@pytest.mark.parametrize("shape", [QUOTA, [QUOTA]])
async def test_errors_for_clients_of_openai(shape: Any) -> None:
    """Cases 108 and 151: Google's error, listed or not, becomes OpenAI's, and its delay the time to wait."""
    chat = {"messages": [{"role": "user", "content": "Hello?"}]}
    made = await _adapter().exchange(_call(ClientDialect.OPENAI_CHAT, chat))

    found = made.reading.error(429, orjson.dumps(shape), {})

    assert (FailureClass.RATE_LIMIT, "Quota exceeded.", 34.074824224) == (
        found.failure_class,
        found.message,
        found.retry_after_s,
    )
    error = orjson.loads(found.body)["error"]
    assert ("Quota exceeded.", "rate_limit_error") == (error["message"], error["type"])


async def test_a_retry_header_wins() -> None:
    """Case 151: What a header says of the time to wait comes before what the details say."""
    made = await _adapter().exchange(_call(ClientDialect.GEMINI, {}))

    assert 2.0 == made.reading.error(429, orjson.dumps(QUOTA), {"retry-after": "2"}).retry_after_s


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (orjson.dumps(QUOTA), QUOTA),
        (orjson.dumps([QUOTA]), QUOTA),
        (
            b"<html>",
            {
                "error": {
                    "code": 429,
                    "message": "The provider answered with status 429 and no readable error.",
                    "status": "RESOURCE_EXHAUSTED",
                }
            },
        ),
    ],
)
async def test_errors_for_clients_of_gemini(body: bytes, expected: Any) -> None:
    """Case 108: A client of Gemini's dialect gets the error as an object, whatever the provider sent."""
    made = await _adapter().exchange(_call(ClientDialect.GEMINI, {}))

    assert expected == orjson.loads(made.reading.error(429, body, {}).body)


async def test_it_asks_for_models_and_needs_a_key() -> None:
    """The list of models is the provider's to give; a call without any key is refused."""
    adapter = _adapter()
    await adapter.check()

    assert await adapter.models() is None
    assert (ROW, "generativelanguage.googleapis.com") == (adapter.provider, adapter.host)
    with pytest.raises(GatewayError) as caught:
        await adapter.exchange(_call(ClientDialect.GEMINI, {}, headers=[]))
    assert Reason.CREDENTIAL_MISSING is caught.value.reason
