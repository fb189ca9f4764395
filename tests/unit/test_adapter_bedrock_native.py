"""Native calls of Bedrock: whose signature, which host, and metering that leaves every byte alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from kit.errors import Reason
from services.providers.call import ClientDialect
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.usage import UsageCounts
from tests.fakes import eventstream as aws
from tests.unit.test_adapter_bedrock import BEARER, STORED, STORED_KEY, adapter, native, refused, sent

if TYPE_CHECKING:
    from services.providers.call import Exchange

RUNTIME = "bedrock-runtime/us-west-2/model/a%3A0/invoke"
MANTLE = "bedrock-mantle/us-west-2/anthropic/v1/messages"
HOST = "https://bedrock-runtime.us-west-2.amazonaws.com"


def signed_by_client(url: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
    """Sign as SDKs do: for the address at AWS, over all headers that they send."""
    request = AWSRequest(method="POST", url=url, headers=headers, data=body)
    SigV4Auth(Credentials("CLIENTKEY0123456789", "secret"), "bedrock", "us-west-2").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        (RUNTIME, "", f"{HOST}/model/a%3A0/invoke"),
        (f"v1/{RUNTIME}", "", f"{HOST}/model/a%3A0/invoke"),
        ("bedrock-runtime/us-west-2/guardrail/x", "a=%2F&b", f"{HOST}/guardrail/x?a=%2F&b"),
        (MANTLE, "", "https://bedrock-mantle.us-west-2.api.aws/anthropic/v1/messages"),
        (
            "bedrock-runtime/cn-north-1/model/a/converse",
            "",
            "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/a/converse",
        ),
    ],
)
async def test_where_native_calls_go(path: str, query: str, url: str) -> None:
    """Service and region become the host, and the rest of the path is sent as the client wrote it."""
    exchange = await adapter().exchange(native(path, query=query))

    assert (str(exchange.url), exchange.guarded, exchange.body) == (url, True, b"{}")
    assert not (await adapter(region="us-west-2").exchange(native(RUNTIME))).guarded


@pytest.mark.parametrize(
    "path",
    [
        "",
        "model/a/invoke",
        "bedrock-runtime/us-west-2",
        "bedrock-runtime/us-west-2/",
        "bedrock-runtime/evil.com/x",
        "bedrock-runtime/us-west-2.evil.com/x",
        "bedrock-runtime/us-west-2@evil/x",
        "bedrock-runtime/us-west-2%2F/x",
        "s3/us-west-2/x",
        "bedrock-mantle/us-west-2/../x",
    ],
)
async def test_paths_that_lead_elsewhere(path: str) -> None:
    """A host is made of a service that is known and what is written like a region, and of nothing else."""
    assert await refused(adapter(), native(path)) == (Reason.INVALID_REQUEST, "path")


@pytest.mark.parametrize("query", ["", "a=1"])
async def test_a_clients_signature_stays_whole(query: str) -> None:
    """Case 127: a call that the client signed goes on with every header that the signature covers."""
    body = b'{ "odd" : 1.0 }'
    url = f"{HOST}/model/a%3A0/invoke" + (f"?{query}" if query else "")
    own = {
        "content-type": "application/json",
        "accept-encoding": "gzip",
        "x-amz-meta": "m",
        "x-stainless-os": "l",
    }
    headers = signed_by_client(url, body, own)
    exchange = await adapter(key=STORED_KEY).exchange(native(RUNTIME, headers, query=query, body=body))

    assert (str(exchange.url), exchange.body, sent(exchange)) == (url, body, headers)


@pytest.mark.parametrize("name", ["cf-aig-authorization", "cookie", "x-forwarded-for"])
async def test_a_signature_that_would_be_wrong(name: str) -> None:
    """A signature over a header that is not forwarded is refused, since AWS would only call it wrong."""
    headers = signed_by_client(f"{HOST}/model/a%3A0/invoke", b"{}", {name: "x"})

    assert await refused(adapter(), native(RUNTIME, headers)) == (Reason.INVALID_REQUEST, "authorization")


async def test_a_signature_in_the_query() -> None:
    """A call that is signed in its query needs no other credential."""
    exchange = await adapter().exchange(native(RUNTIME, {}, query="X-Amz-Signature=0&X-Amz-Date=1"))

    assert (exchange.url.raw_query_string, sent(exchange)) == ("X-Amz-Signature=0&X-Amz-Date=1", {})


async def test_an_api_key() -> None:
    """An API key is a bearer token for the runtime and moves to a header of its own for mantle."""
    extra = {"x-amz-date": "1", "x-amzn-bedrock-trace": "ENABLED", "content-type": "application/json"}
    runtime = sent(await adapter().exchange(native(RUNTIME, {**BEARER, **extra})))
    mantle = sent(await adapter().exchange(native(MANTLE, {**BEARER, "anthropic-version": "1"})))
    operators = sent(await adapter(key="own").exchange(native(MANTLE, {})))

    assert runtime == {
        "authorization": "Bearer bedrock-key",
        "content-type": "application/json",
        "x-amzn-bedrock-trace": "ENABLED",
    }
    assert mantle == {"x-api-key": "bedrock-key", "anthropic-version": "1"}
    assert operators == {"x-api-key": "own"}
    assert (await refused(adapter(), native(MANTLE, {})))[0] is Reason.CREDENTIAL_MISSING


@pytest.mark.parametrize(("path", "service"), [(RUNTIME, "bedrock"), (MANTLE, "bedrock-mantle")])
async def test_a_stored_key_signs(path: str, service: str) -> None:
    """Cases 127 and 147: a call is signed for service and region of its path, without the client's marks."""
    headers = {"x-amz-date": "1", "x-amz-security-token": "theirs", "content-type": "text/odd"}
    exchange = await adapter(key=STORED_KEY).exchange(native(path, headers))
    found = sent(exchange)

    assert f"/us-west-2/{service}/aws4_request" in found["authorization"]
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in found["authorization"]
    assert (found["x-amz-security-token"], found["content-type"]) == (STORED["sessionToken"], "text/odd")


def metered(exchange: Exchange, data: bytes) -> tuple[UsageCounts | None, str]:
    stream = exchange.reading.stream()
    pieces = [stream.feed(data[at : at + 9]) for at in range(0, len(data), 9)]
    assert b"".join(pieces) + stream.finish() == data
    # At once, whatever the frames: nothing is held back for the end of one.
    assert all(pieces)
    return stream.usage, stream.finish_reason


async def test_streams_are_metered_and_not_touched() -> None:
    """Binary streams go on byte for byte and at once, and their usage is known."""
    converse = await adapter().exchange(native("bedrock-runtime/us-west-2/model/a/converse-stream"))
    invoke = await adapter().exchange(native("bedrock-runtime/us-west-2/model/a/invoke-with-response-stream"))
    chunks = aws.chunk({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1, "outputTokenCount": 2}})

    assert metered(converse, aws.said(["Hi"])) == (UsageCounts(input_tokens=11, output_tokens=3), "stop")
    assert metered(invoke, chunks) == (UsageCounts(input_tokens=1, output_tokens=2), "")
    assert (converse.operation, converse.reading.verbatim, converse.dialect) == ("chat", True, None)


async def test_whole_answers_are_metered() -> None:
    """A whole answer of InvokeModel is metered by its body, or by AWS's headers, which come first."""
    exchange = await adapter().exchange(native("bedrock-runtime/us-west-2/model/embed-x/invoke"))
    assert exchange.reading.headers is not None
    exchange.reading.headers({"x-amzn-bedrock-input-token-count": "8"})

    assert exchange.reading.whole(b'{"embedding":[1]}').usage == UsageCounts(input_tokens=8)
    assert exchange.operation == "embeddings"


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        (MANTLE, ClientDialect.ANTHROPIC_MESSAGES),
        ("bedrock-mantle/us-west-2/v1/chat/completions", ClientDialect.OPENAI_CHAT),
        ("bedrock-mantle/us-west-2/openai/v1/responses", ClientDialect.OPENAI_RESPONSES),
        ("bedrock-runtime/us-west-2/openai/v1/chat/completions", ClientDialect.OPENAI_CHAT),
        ("bedrock-runtime/us-west-2/model/a/converse", None),
    ],
)
async def test_dialects_of_native_paths(path: str, dialect: ClientDialect | None) -> None:
    """What Bedrock has in another maker's dialect is metered in that."""
    exchange = await adapter().exchange(native(path))

    assert (exchange.dialect, exchange.operation) == (dialect, "chat")


async def test_messages_of_mantle_are_metered() -> None:
    """Messages at mantle are metered as Anthropic's."""
    answer = {"type": "message", "stop_reason": "end_turn", "usage": {"input_tokens": 4, "output_tokens": 2}}
    body = orjson.dumps({**answer, "content": [], "model": "m", "role": "assistant", "id": "i"})
    read = (await adapter().exchange(native(MANTLE))).reading.whole(body)

    assert (read.body, read.usage) == (body, UsageCounts(input_tokens=4, output_tokens=2))


async def test_errors_stay_as_they_are() -> None:
    """Case 124: a native error keeps its bytes, and its class is that of AWS's header."""
    reading = (await adapter().exchange(native(RUNTIME))).reading
    error = reading.error(400, b'{"message":"m"}', {"x-amzn-errortype": "ServiceQuotaExceededException"})

    assert (error.body, error.failure_class) == (b'{"message":"m"}', FailureClass.RATE_LIMIT)
