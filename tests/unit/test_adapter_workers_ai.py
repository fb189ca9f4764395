"""What is sent to Workers AI, where to, and what comes of its answers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from yarl import URL

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.adapters.translated import CLIENTS
from services.providers.adapters.workers_ai import WorkersAIAdapter
from services.providers.app import make_adapter
from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.usage import UsageCounts
from services.providers.fetch import Fetched
from services.providers.registry import PROVIDERS

AI = "https://api.cloudflare.com/client/v4/accounts/acc1/ai"
LLAMA = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
GPT = "@cf/openai/gpt-oss-120b"
BEARER = (("authorization", b"Bearer cf-key"),)
CHAT = {"model": "x", "messages": [{"role": "user", "content": "Hi"}]}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
COUNTS = UsageCounts(input_tokens=5, output_tokens=2)
ENVELOPE = orjson.dumps({"result": {"response": "Yes.", "usage": USAGE}, "success": True, "errors": []})
FAILED = b'{"result":{},"success":false,"errors":[{"code":5007,"message":"No such model"}],"messages":[]}'


class Library:
    """Gets media from nowhere."""

    async def fetch(self, url: str, *, param: str, max_bytes: int) -> Fetched:
        """Return the address itself."""
        del param, max_bytes
        return Fetched("image/png", url.encode())


def adapter(account: str = "acc1", base_url: str = "", *, fetch: bool = True) -> WorkersAIAdapter:
    settings = ProviderSettings(
        slug="workers-ai",
        account=account,
        base_url=URL(base_url) if base_url else None,
        api_key=Secret("operators"),
    )
    made = make_adapter(
        PROVIDERS["workers-ai"], settings, ProvidersConfig(), fetcher=Library() if fetch else None
    )
    assert isinstance(made, WorkersAIAdapter)
    return made


def call(
    document: Any,
    dialect: ClientDialect = ClientDialect.OPENAI_CHAT,
    *,
    model: str = LLAMA,
    operation: str = "",
    stream: bool = False,
) -> Call:
    return Call(
        model=model,
        dialect=dialect,
        body=document if isinstance(document, bytes) else orjson.dumps(document),
        stream=stream,
        headers=BEARER,
        operation=operation,
    )


def native(path: str, body: bytes = b"{}") -> Call:
    target = NativeTarget(method="POST", path=path, query="a=b")
    return Call(
        model="", dialect=ClientDialect.NATIVE, body=body, stream=False, headers=BEARER, native=target
    )


async def test_same_dialect() -> None:
    """Case 139: OpenAI's chat goes to OpenAI's API there, to the byte but for the model."""
    body = b'{ "model":"workers-ai/x",  "messages":[],"unheard_of": 1.0 }'
    made = await adapter().exchange(call(body))

    assert (f"{AI}/v1/chat/completions", "chat", ()) == (str(made.url), made.operation, made.notes)
    assert b'{ "model":"%s",  "messages":[],"unheard_of": 1.0 }' % LLAMA.encode() == made.body
    assert ("authorization", "Bearer cf-key") in made.headers


async def test_same_dialect_stream() -> None:
    """Case 148: usage is asked for to meter a stream, and not shown to a client that did not ask."""
    made = await adapter().exchange(call(CHAT, stream=True))
    machine = made.reading.stream()
    choice = {"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}
    text = b"data: %s\n\n" % orjson.dumps({"choices": [choice]})
    used = b"data: %s\n\n" % orjson.dumps({"choices": [], "usage": USAGE})

    assert {"include_usage": True} == orjson.loads(made.body)["stream_options"]
    assert text + b"data: [DONE]\n\n" == machine.feed(text + used + b"data: [DONE]\n\n") + machine.finish()
    assert COUNTS == machine.usage


async def test_embeddings() -> None:
    """Case 152: embeddings go to OpenAI's API there; numbers in place of base64 are packed."""
    request = {"model": "x", "input": "a", "encoding_format": "base64"}
    made = await adapter().exchange(call(request, ClientDialect.OPENAI_EMBEDDINGS, model="@cf/baai/bge-m3"))
    answer = made.reading.whole(b'{"data":[{"embedding":[1.0]}]}')

    assert (f"{AI}/v1/embeddings", "embeddings") == (str(made.url), made.operation)
    assert {**request, "model": "@cf/baai/bge-m3"} == orjson.loads(made.body)
    assert "AACAPw==" == orjson.loads(answer.body)["data"][0]["embedding"]


REQUESTS: dict[ClientDialect, dict[str, Any]] = {
    ClientDialect.OPENAI_RESPONSES: {"model": "x", "input": "Hi"},
    ClientDialect.ANTHROPIC_MESSAGES: {**CHAT, "max_tokens": 9},
    ClientDialect.GEMINI: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
DIALECTS = [dialect for dialect in CLIENTS if dialect is not ClientDialect.OPENAI_CHAT]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_run(dialect: ClientDialect) -> None:
    """Every other dialect is translated to `run`, whose path names the model as it is."""
    made = await adapter().exchange(call(REQUESTS[dialect], dialect))
    answer = made.reading.whole(ENVELOPE)

    assert f"{AI}/run/{LLAMA}" == str(made.url)
    assert CHAT["messages"] == orjson.loads(made.body)["messages"]
    assert "model" not in orjson.loads(made.body)
    assert b"Yes." in answer.body
    assert COUNTS == answer.usage


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_models_that_are_asked_in_openais_words(dialect: ClientDialect) -> None:
    """Models that take more than `run` can say are asked by OpenAI's API there."""
    made = await adapter().exchange(call(REQUESTS[dialect], dialect, model=GPT))
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
    answer = made.reading.whole(orjson.dumps({"choices": [choice], "usage": USAGE}))

    assert f"{AI}/v1/chat/completions" == str(made.url)
    assert GPT == orjson.loads(made.body)["model"]
    assert b"Yes." in answer.body


async def test_run_stream() -> None:
    """A stream of `run` comes back as the client's."""
    dialect = next(iter(DIALECTS), None)
    if dialect is None:
        pytest.skip("clients speak OpenAI's chat alone")
    made = await adapter().exchange(call(REQUESTS[dialect], dialect, stream=True))
    machine = made.reading.stream()
    out = machine.feed(b'data: {"response":"Yes."}\n\ndata: [DONE]\n\n') + machine.finish()

    assert True is orjson.loads(made.body)["stream"]
    assert b"Yes." in out
    assert machine.failure is None


IMAGE = {"type": "image", "source": {"type": "url", "url": "https://a.b/c.png"}}
PICTURE = {"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": [IMAGE]}]}


async def test_images_on_the_web() -> None:
    """Images are fetched here, since models take their bytes only."""
    made = await adapter().exchange(call(PICTURE, ClientDialect.ANTHROPIC_MESSAGES))

    content = orjson.loads(made.body)["messages"][0]["content"]
    assert [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aHR0cHM6Ly9hLmIvYy5wbmc="}}
    ] == content
    with pytest.raises(GatewayError):
        await adapter(fetch=False).exchange(call(PICTURE, ClientDialect.ANTHROPIC_MESSAGES))


@pytest.mark.parametrize("model", ["", "a/../b", "@cf/a?b"])
async def test_names_that_are_none(model: str) -> None:
    """What would lead elsewhere is no model."""
    for dialect in DIALECTS:
        with pytest.raises(GatewayError) as error:
            await adapter().exchange(call(REQUESTS[dialect], dialect, model=model))
        assert (Reason.INVALID_REQUEST, "model") == (error.value.reason, error.value.metadata["param"])


@pytest.mark.parametrize(
    ("dialect", "operation"),
    [(ClientDialect.OPENAI_OTHER, "rerank"), (ClientDialect.ANTHROPIC_MESSAGES, "count_tokens")],
)
async def test_what_there_is_not(dialect: ClientDialect, operation: str) -> None:
    """What Workers AI has nothing for is refused."""
    with pytest.raises(GatewayError) as error:
        await adapter().exchange(call(CHAT, dialect, operation=operation))

    assert Reason.UNSUPPORTED is error.value.reason


@pytest.mark.parametrize(
    ("path", "expected", "operation"),
    [
        (LLAMA, f"run/{LLAMA}", "chat"),
        (LLAMA.replace("@", "%40"), f"run/{LLAMA}".replace("@", "%40"), "chat"),
        (f"run/{LLAMA}", f"run/{LLAMA}", "chat"),
        (f"v1/run/{LLAMA}", f"run/{LLAMA}", "chat"),
        ("run/@cf/baai/bge-m3", "run/@cf/baai/bge-m3", "embeddings"),
        ("@cf/black-forest-labs/flux-1-schnell", "run/@cf/black-forest-labs/flux-1-schnell", ""),
        ("v1/chat/completions", "v1/chat/completions", "chat"),
        ("chat/completions", "v1/chat/completions", "chat"),
        ("v1/embeddings", "v1/embeddings", "embeddings"),
        ("v1/responses", "v1/responses", "chat"),
        ("models/search", "models/search", ""),
        (f"client/v4/accounts/acc1/ai/run/{LLAMA}", f"run/{LLAMA}", "chat"),
    ],
)
async def test_native_paths(path: str, expected: str, operation: str) -> None:
    """Each form of a path leads to its endpoint, with body and query as they were."""
    made = await adapter().exchange(native(path, b"\x00\xff"))

    assert (f"{AI}/{expected}?a=b", b"\x00\xff", operation, True) == (
        str(made.url),
        made.body,
        made.operation,
        made.reading.verbatim,
    )


@pytest.mark.parametrize(
    ("path", "body", "stream"),
    [
        (LLAMA, ENVELOPE, b'data: {"response":"x","usage":%s}\n\ndata: [DONE]\n\n' % orjson.dumps(USAGE)),
        (
            "v1/chat/completions",
            orjson.dumps({"choices": [], "usage": USAGE}),
            b'data: {"choices":[],"usage":%s}\n\ndata: [DONE]\n\n' % orjson.dumps(USAGE),
        ),
    ],
)
async def test_native_metering(path: str, body: bytes, stream: bytes) -> None:
    """Native answers are metered in either shape, whole and streamed, and stay as they are."""
    made = await adapter().exchange(native(path))
    machine = made.reading.stream()

    assert (body, COUNTS) == (made.reading.whole(body).body, made.reading.whole(body).usage)
    assert stream == machine.feed(stream) + machine.finish()
    assert COUNTS == machine.usage


async def test_native_bytes() -> None:
    """Images and sound are handed on to the byte."""
    made = await adapter().exchange(native("@cf/black-forest-labs/flux-1-schnell"))

    assert b"\xff\xd8\xff" == made.reading.whole(b"\xff\xd8\xff").body


async def test_errors() -> None:
    """Case 57: an error in Cloudflare's envelope becomes one in the client's shape, and stays natively."""
    found = (await adapter().exchange(call(CHAT))).reading.error(400, FAILED, {})
    relayed = (await adapter().exchange(native(LLAMA))).reading.error(400, FAILED, {})

    assert FailureClass.NOT_FOUND is found.failure_class
    assert ("No such model", "model_not_found") == (
        orjson.loads(found.body)["error"]["message"],
        orjson.loads(found.body)["error"]["code"],
    )
    assert (FAILED, FailureClass.NOT_FOUND) == (relayed.body, relayed.failure_class)


async def test_errors_in_openais_shape() -> None:
    """An error that is in the client's shape stays, and one that is no JSON is put into it."""
    made = await adapter().exchange(call(CHAT))
    own = b'{ "error":{"message":"boom"} }'

    assert own == made.reading.error(500, own, {}).body
    assert "error" in orjson.loads(made.reading.error(502, b"<html>", {}).body)


@pytest.mark.parametrize("base_url", ["", "http://localhost:1"])
async def test_no_account(base_url: str) -> None:
    """Without an account nothing can be called, and the setting is named."""
    for asked in (call(CHAT), native(LLAMA)):
        with pytest.raises(GatewayError) as error:
            await adapter("", base_url).exchange(asked)
        assert Reason.INVALID_PROVIDER is error.value.reason
        assert "HEADRACE_PROVIDER_WORKERS_AI_ACCOUNT" in error.value.message


@pytest.mark.parametrize(
    ("account", "base_url", "expected"),
    [
        ("acc1", "http://localhost:1", "http://localhost:1/client/v4/accounts/acc1/ai"),
        ("", "http://localhost:1/ai", "http://localhost:1/ai"),
    ],
)
async def test_other_addresses(account: str, base_url: str, expected: str) -> None:
    """An address of the operator's gets the usual path, unless it has one."""
    found = adapter(account, base_url)

    assert f"{expected}/v1/chat/completions" == str((await found.exchange(call(CHAT))).url)
    assert f"{expected}/run/{LLAMA}?a=b" == str((await found.exchange(native(LLAMA))).url)
    assert ([], "localhost") == (await found.models(), found.host)
