"""What is sent to Bedrock, by whose key, and what comes of its answers."""

from __future__ import annotations

import base64
import datetime as dt
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import botocore.session
import orjson
import pytest
from yarl import URL

from kit.config import ConfigError
from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.adapters.aws_keys import AwsKeys, is_region, read_keys, signature_headers
from services.providers.adapters.bedrock import BedrockAdapter
from services.providers.call import Call, ClientDialect, Exchange, NativeTarget
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.usage import UsageCounts
from services.providers.fetch import Fetched
from services.providers.registry import PROVIDERS
from tests.fakes import eventstream as aws

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL = "us.anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0"
STORED = {
    "accessKeyId": "AKIDEXAMPLE12345678",
    "secretAccessKey": "wJalrXUtnFEMI/K7MDENG",
    "region": "eu-central-1",
    "sessionToken": "tok/en==",
}
STORED_KEY = orjson.dumps(STORED).decode()
BEARER = {"authorization": "Bearer bedrock-key"}
CHAT = {"model": "x", "messages": [{"role": "user", "content": "q"}]}
RUNTIME = "https://bedrock-runtime.us-east-1.amazonaws.com"


class Library:
    """Gets media from nowhere."""

    async def fetch(self, url: str, *, param: str, max_bytes: int) -> Fetched:
        del param, max_bytes
        return Fetched("image/png", url.encode())


def adapter(*, key: str = "", region: str = "", base_url: str = "", fetch: bool = True) -> BedrockAdapter:
    settings = ProviderSettings(
        slug="aws-bedrock",
        base_url=URL(base_url) if base_url else None,
        api_key=Secret(key) if key else None,
        region=region,
    )
    return BedrockAdapter(PROVIDERS["aws-bedrock"], settings, ProvidersConfig(), Library() if fetch else None)


def chat(headers: Mapping[str, str] = BEARER, *, model: str = MODEL, **given: Any) -> Call:
    body = given.pop("body", CHAT)
    return Call(
        model=model,
        dialect=given.pop("dialect", ClientDialect.OPENAI_CHAT),
        body=body if isinstance(body, bytes) else orjson.dumps(body),
        stream=given.pop("stream", False),
        headers=[(name, value.encode()) for name, value in headers.items()],
        **given,
    )


def native(path: str, headers: Mapping[str, str] = BEARER, *, query: str = "", body: bytes = b"{}") -> Call:
    call = chat(headers, model="", dialect=ClientDialect.NATIVE, body=body)
    return replace(call, native=NativeTarget(method="POST", path=path, query=query))


def sent(exchange: Exchange) -> dict[str, str]:
    """Give the headers by name; none may be there twice."""
    assert len(dict(exchange.headers)) == len(exchange.headers)
    return dict(exchange.headers)


async def refused(made: BedrockAdapter, call: Call) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as caught:
        await made.exchange(call)
    return caught.value.reason, caught.value.metadata.get("param", "")


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        (MODEL, False, "us.anthropic.claude-3-haiku-20240307-v1%3A0/converse"),
        (MODEL, True, "us.anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
            False,
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse",
        ),
    ],
)
async def test_where_a_chat_goes(model: str, stream: bool, path: str) -> None:  # noqa: FBT001
    """Case 110: the model's id or ARN is one escaped segment of the path; a stream has its own endpoint."""
    exchange = await adapter().exchange(chat(model=model, stream=stream))

    assert str(exchange.url) == f"{RUNTIME}/model/{path}"
    assert orjson.loads(exchange.body) == {"messages": [{"role": "user", "content": [{"text": "q"}]}]}


@pytest.mark.parametrize("model", ["", ".", "../x", "a b", "a?b", "a\n", "x" * 2049, "ü"])
async def test_models_that_cannot_be(model: str) -> None:
    """Case 110: what can be no id of a model never gets into a path."""
    assert await refused(adapter(), chat(model=model)) == (Reason.INVALID_REQUEST, "model")


@pytest.mark.parametrize(
    ("key", "region", "model", "host", "guarded"),
    [
        ("", "", MODEL, "us-east-1.amazonaws.com", False),
        ("", "eu-north-1", MODEL, "eu-north-1.amazonaws.com", False),
        (STORED_KEY, "eu-north-1", MODEL, "eu-central-1.amazonaws.com", False),
        ("", "", PROFILE, "eu-west-1.amazonaws.com", True),
        ("", "eu-west-1", PROFILE, "eu-west-1.amazonaws.com", False),
        ("", "cn-north-1", MODEL, "cn-north-1.amazonaws.com.cn", False),
    ],
)
async def test_regions(key: str, region: str, model: str, host: str, guarded: bool) -> None:  # noqa: FBT001
    """The region is the ARN's, else the stored key's, else the operator's, else the first of AWS's."""
    made = adapter(key=key, region=region)
    exchange = await made.exchange(chat({} if key else BEARER, model=model))

    assert (exchange.url.host, exchange.guarded) == (f"bedrock-runtime.{host}", guarded)


async def test_an_arn_of_no_region() -> None:
    """An ARN whose region cannot be one is refused before a host is made of it."""
    model = "arn:aws:bedrock:evil-host:1:inference-profile/x"

    assert await refused(adapter(), chat(model=model)) == (Reason.INVALID_REQUEST, "model")


async def test_an_api_key_goes_as_it_is() -> None:
    """A key of the request's, wherever it stands, is sent as a bearer token, and before the operator's."""
    for headers in (BEARER, {"x-api-key": "bedrock-key"}):
        exchange = await adapter(key=STORED_KEY).exchange(chat(headers))
        assert sent(exchange)["authorization"] == "Bearer bedrock-key"

    assert sent(await adapter(key="own").exchange(chat({})))["authorization"] == "Bearer own"
    assert await refused(adapter(), chat({})) == (Reason.CREDENTIAL_MISSING, "")
    assert await refused(adapter(key="own"), chat({}, request_only=True)) == (Reason.CREDENTIAL_MISSING, "")


SIGNED_BY_CLIENT = {
    "authorization": "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/bedrock/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00",
    "x-amz-date": "20260101T000000Z",
    "x-amz-security-token": "client's",
    "x-amz-content-sha256": "00",
    "x-amz-target": "Evil.Call",
    "user-agent": "sdk",
}


async def test_a_stored_key_signs() -> None:
    """Cases 127 and 147: what a client signed with is removed, and the session's token is signed."""
    exchange = await adapter(key=STORED_KEY).exchange(chat(SIGNED_BY_CLIENT))
    headers = sent(exchange)

    assert sorted(headers) == [
        "authorization",
        "content-type",
        "user-agent",
        "x-amz-date",
        "x-amz-security-token",
    ]
    assert headers["x-amz-security-token"] == STORED["sessionToken"]
    assert "/eu-central-1/bedrock/aws4_request" in headers["authorization"]
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in headers["authorization"]
    assert (await refused(adapter(), chat(SIGNED_BY_CLIENT)))[0] is Reason.CREDENTIAL_MISSING


async def test_an_api_key_has_nothing_signed_beside_it() -> None:
    """Case 147: headers that sign, and those of other providers, do not go along with an API key."""
    headers = {
        **SIGNED_BY_CLIENT,
        **BEARER,
        "anthropic-beta": "x",
        "openai-organization": "o",
        "accept": "a/b",
    }
    exchange = await adapter().exchange(chat(headers))

    assert sorted(sent(exchange)) == ["authorization", "content-type", "user-agent"]
    assert exchange.notes == ("dropped=anthropic-beta",)
    assert await refused(adapter(), chat(headers, strict=True)) == (Reason.UNSUPPORTED, "anthropic-beta")


def of_boto3(operation: str, monkeypatch: pytest.MonkeyPatch, **params: Any) -> Any:
    """Have boto3's own client make a request, and keep it from being sent."""

    class Made(Exception):  # noqa: N818 - carries what was made
        pass

    def keep(request: Any, **_: Any) -> None:
        raise Made(request)

    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
    client = botocore.session.get_session().create_client(
        "bedrock-runtime",
        region_name=STORED["region"],
        aws_access_key_id=STORED["accessKeyId"],
        aws_secret_access_key=STORED["secretAccessKey"],
        aws_session_token=STORED["sessionToken"],
    )
    client.meta.events.register("before-send.bedrock-runtime", keep)
    with pytest.raises(Made) as caught:
        getattr(client, operation)(**params)
    return caught.value.args[0]


@pytest.mark.parametrize("model", [MODEL, PROFILE.replace("eu-west-1", "eu-central-1")])
async def test_a_signature_is_the_one_that_boto3_makes(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 127: for the same call boto3 makes the same address and the same signature over the body."""
    keys = read_keys(STORED_KEY)
    assert keys is not None
    theirs = of_boto3(
        "converse", monkeypatch, modelId=model, messages=[{"role": "user", "content": [{"text": "q"}]}]
    )
    exchange = await adapter(key=STORED_KEY).exchange(chat({}, model=model))
    json = {"content-type": "application/json"}

    def signed(body: bytes) -> dict[str, str]:
        return dict(
            signature_headers(
                "POST", theirs.url, json, body, keys=keys, service="bedrock", region=keys.region
            )
        )

    assert str(exchange.url) == theirs.url
    assert signed(theirs.body) == {
        name: theirs.headers[name].decode()
        for name in ("x-amz-date", "x-amz-security-token", "authorization")
    }
    # boto3 writes its JSON with spaces, so that the bodies differ, and with them the signatures.
    assert signed(exchange.body)["authorization"] == sent(exchange)["authorization"]
    assert sent(exchange)["authorization"] != theirs.headers["authorization"].decode()


@pytest.mark.parametrize(
    "key",
    [
        "{",
        "{}",
        '{"accessKeyId":"AKIDEXAMPLE12345678","region":"us-east-1"}',
        '{"accessKeyId":"AKIDEXAMPLE12345678","secretAccessKey":"s","region":"us-east-1.evil"}',
        '{"accessKeyId":"short","secretAccessKey":"s","region":"us-east-1"}',
        '{"accessKeyId":"AKIDEXAMPLE12345678","secretAccessKey":"s","region":"us-east-1","sessionToken":"a\\nb"}',
    ],
)
async def test_keys_that_cannot_be(key: str) -> None:
    """A stored key that is none stops the start, and a request's is refused."""
    with pytest.raises(ConfigError, match="HEADRACE_PROVIDER_AWS_BEDROCK_API_KEY"):
        adapter(key=key)
    if "\n" not in key:
        call = chat({"authorization": f"Bearer {key}"})
        assert await refused(adapter(), call) == (Reason.INVALID_REQUEST, "authorization")


def test_secrets_are_not_shown() -> None:
    """The text of a key holds neither its secret nor its token."""
    keys = read_keys(STORED_KEY)

    assert isinstance(keys, AwsKeys)
    assert not {STORED["secretAccessKey"], STORED["sessionToken"]} & set(repr(keys).replace("'", " ").split())


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("us-east-1", True),
        ("us-gov-west-1", True),
        ("eusc-de-east-1", True),
        ("ap-southeast-7", True),
        ("us-east", False),
        ("us-east-1.evil.com", False),
        ("us-east-1/", False),
        ("US-EAST-1", False),
        ("", False),
        ("us-east-1\n", False),
    ],
)
def test_names_of_regions(name: str, fits: bool) -> None:  # noqa: FBT001
    """A host is made of nothing but what is written like a region."""
    assert is_region(name) is fits


async def test_a_region_that_is_none_stops_the_start() -> None:
    """The operator's region is held to the same pattern."""
    with pytest.raises(ConfigError, match="REGION"):
        adapter(region="here")


async def test_an_address_of_the_operators() -> None:
    """Calls go to the operator's address, signed for that host, with its path before theirs."""
    made = adapter(key=STORED_KEY, base_url="http://127.0.0.1:81/aws/")
    exchange = await made.exchange(chat({}))
    mantle = await made.exchange(native("bedrock-mantle/us-east-1/anthropic/v1/messages", {}))

    assert str(exchange.url).startswith("http://127.0.0.1:81/aws/model/")
    assert str(mantle.url) == "http://127.0.0.1:81/aws/anthropic/v1/messages"
    assert (exchange.guarded, mantle.guarded, made.host) == (False, False, "127.0.0.1")


async def test_pictures_on_the_web_are_fetched() -> None:
    """Case 118: a picture that the client names by its address is fetched, and sent as bytes."""
    url = "https://host/a.png"
    content = [{"type": "image_url", "image_url": {"url": url}}]
    call = chat(body={"messages": [{"role": "user", "content": content}]})
    exchange = await adapter().exchange(call)
    block = orjson.loads(exchange.body)["messages"][0]["content"][0]

    assert block == {"image": {"format": "png", "source": {"bytes": base64.b64encode(url.encode()).decode()}}}
    assert await refused(adapter(fetch=False), call) == (Reason.UNSUPPORTED, "messages[0]")


async def test_an_answer_has_awss_id() -> None:
    """Case 124: an answer bears the id of AWS's header, which comes before its body."""
    reading = (await adapter().exchange(chat())).reading
    assert reading.headers is not None
    reading.headers({"x-amzn-requestid": "0b1c-2d"})
    body = {"output": {"message": {"content": [{"text": "a"}]}}, "stopReason": "end_turn"}

    assert orjson.loads(reading.whole(orjson.dumps(body)).body)["id"] == "0b1c-2d"
    reading.headers({"x-amzn-requestid": "no/id"})
    assert orjson.loads(reading.whole(orjson.dumps(body)).body)["id"].startswith("chatcmpl-")


async def test_errors_are_the_clients_dialects() -> None:
    """Case 124: an error has AWS's message and class in the client's shape, with the status that AWS gave."""
    reading = (await adapter().exchange(chat())).reading
    error = reading.error(
        429,
        b'{"message":"Slow down"}',
        {"x-amzn-errortype": "ThrottlingException:http://x", "retry-after": "3"},
    )

    assert (error.status, error.failure_class, error.retry_after_s) == (429, FailureClass.RATE_LIMIT, 3.0)
    assert orjson.loads(error.body)["error"]["message"] == "Slow down"


async def test_embeddings() -> None:
    """Case 128: a text is embedded by InvokeModel, and its tokens are those of AWS's header."""
    body = {"input": "a", "encoding_format": "base64", "user": "me"}
    call = chat(model="amazon.titan-embed-text-v2:0", dialect=ClientDialect.OPENAI_EMBEDDINGS, body=body)
    exchange = await adapter().exchange(call)
    assert str(exchange.url) == f"{RUNTIME}/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert (orjson.loads(exchange.body), exchange.notes) == ({"inputText": "a"}, ("dropped=user",))
    assert exchange.reading.headers is not None
    answer = b'{"embedding":[1.0],"inputTextTokenCount":3}'

    assert exchange.reading.whole(answer).usage == UsageCounts(input_tokens=3, output_tokens=0)
    exchange.reading.headers({"x-amzn-bedrock-input-token-count": "5"})
    read = exchange.reading.whole(answer)
    assert read.usage == UsageCounts(input_tokens=5, output_tokens=0)
    assert orjson.loads(read.body) == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": "AACAPw=="}],
        "model": "amazon.titan-embed-text-v2:0",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    error = exchange.reading.error(400, b"<html>", {})
    assert (error.failure_class, "error" in orjson.loads(error.body)) == (FailureClass.INVALID_REQUEST, True)


async def test_a_list_for_a_model_of_one_text() -> None:
    """Case 128: a list that would take several calls is refused by its name."""
    call = chat(
        model="amazon.titan-embed-text-v2:0",
        dialect=ClientDialect.OPENAI_EMBEDDINGS,
        body={"input": ["a", "b"]},
    )

    assert await refused(adapter(), call) == (Reason.UNSUPPORTED, "input")


@pytest.mark.parametrize(
    ("dialect", "operation", "body", "answer", "error"),
    [
        (
            ClientDialect.ANTHROPIC_MESSAGES,
            "count_tokens",
            {"model": "m", "system": "s", "messages": [{"role": "user", "content": "q"}]},
            {"input_tokens": 7},
            {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}},
        ),
        (
            ClientDialect.GEMINI,
            "countTokens",
            {
                "contents": [{"role": "user", "parts": [{"text": "q"}]}],
                "systemInstruction": {"parts": [{"text": "s"}]},
            },
            {"totalTokens": 7},
            {"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}},
        ),
    ],
)
async def test_tokens_are_counted(
    dialect: ClientDialect, operation: str, body: object, answer: object, error: dict[str, object]
) -> None:
    """Case 127: tokens are counted by the model itself, without the profile that spreads it over regions."""
    exchange = await adapter().exchange(chat(dialect=dialect, operation=operation, body=body))
    model = MODEL.removeprefix("us.").replace(":", "%3A")

    assert str(exchange.url) == f"{RUNTIME}/model/{model}/count-tokens"
    assert orjson.loads(exchange.body) == {
        "input": {
            "converse": {
                "messages": [{"role": "user", "content": [{"text": "q"}]}],
                "system": [{"text": "s"}],
            }
        }
    }
    assert orjson.loads(exchange.reading.whole(b'{"inputTokens":7}').body) == answer
    told = exchange.reading.error(429, b'{"message":"m"}', {"x-amzn-errortype": "ThrottlingException"})
    assert orjson.loads(told.body).items() >= error.items()
    with pytest.raises(GatewayError, match="number of tokens"):
        exchange.reading.whole(b"{}")


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (ClientDialect.OPENAI_RESPONSES, {"model": "m", "input": "q"}),
        (
            ClientDialect.ANTHROPIC_MESSAGES,
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]},
        ),
        (ClientDialect.GEMINI, {"contents": [{"role": "user", "parts": [{"text": "q"}]}]}),
    ],
)
async def test_chats_of_every_client(dialect: ClientDialect, body: object) -> None:
    """Whatever dialect a client speaks, its question reaches Converse, and it gets the answer."""
    exchange = await adapter().exchange(chat(dialect=dialect, body=body))
    answer = {"output": {"message": {"content": [{"text": "Answered."}]}}, "stopReason": "end_turn"}

    assert orjson.loads(exchange.body)["messages"] == [{"role": "user", "content": [{"text": "q"}]}]
    assert b"Answered." in exchange.reading.whole(orjson.dumps(answer)).body


@pytest.mark.parametrize("dialect", [ClientDialect.OPENAI_OTHER, ClientDialect.GEMINI])
async def test_what_bedrock_has_nothing_for(dialect: ClientDialect) -> None:
    """Calls of a dialect that Converse has no counterpart for are refused."""
    assert await refused(adapter(), chat(dialect=dialect, operation="embedContent")) == (
        Reason.UNSUPPORTED,
        "dialect",
    )


def test_frames_are_what_streams_hold() -> None:
    """The encoder of the tests and the content type that AWS answers with belong together."""
    assert aws.CONTENT_TYPE == "application/vnd.amazon.eventstream"


# For a fresh interpreter: says whether the loop's own thread imported any of botocore.
_IMPORTS = """
import asyncio, sys, threading
from services.providers.adapters.bedrock import BedrockAdapter
from services.providers.call import Call, ClientDialect
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.registry import PROVIDERS

found = {}
sys.addaudithook(
    lambda event, args: found.setdefault(args[0], threading.current_thread() is threading.main_thread())
    if event == "import" else None
)
adapter = BedrockAdapter(PROVIDERS["aws-bedrock"], ProviderSettings(slug="aws-bedrock"), ProvidersConfig())
asyncio.run(adapter.exchange(Call(
    model="a.b", dialect=ClientDialect.OPENAI_CHAT, stream=True, headers=[("authorization", b"Bearer k")],
    body=b'{"messages":[{"role":"user","content":"q"}]}',
)))
at_main = {where for name, where in found.items() if name.startswith("botocore.")}
print(at_main, "botocore.eventstream" in sys.modules)
"""


def test_botocore_is_imported_beside_the_loop() -> None:
    """A fifth of a second of imports holds nobody else's call up."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ran = subprocess.run(
        [sys.executable, "-c", _IMPORTS], env=env, capture_output=True, text=True, check=True
    )

    assert "{False} True" == ran.stdout.strip()
