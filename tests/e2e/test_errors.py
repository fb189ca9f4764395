"""Bad input: a clear error in the caller's dialect, and nothing lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import uuid
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

from tests.e2e.calls import Answer, call, chat_body
from tests.e2e.upstreams import CLIENT_KEY

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.conftest import Launch
    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
MEBIBYTE = 1 << 20
LINE_FEED = b"a\nset-cookie: x=y"


def assert_openai_error(answer: Answer, status: int, code: str | None = None) -> None:
    """Require both sets of members: OpenAI's error object, and the gateway's envelope."""
    body = answer.json
    error = body["error"]
    assert answer.status == status, body
    assert answer.headers["content-type"].startswith("application/json")
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] == body["message"] == body["description"] != ""
    assert error["type"]
    assert body["success"] is False
    assert body["name"] == "AiGatewayError"
    assert body["httpCode"] == status
    assert isinstance(body["internalCode"], int)
    assert (body["result"], body["messages"]) == ([], [])
    if code is not None:
        assert error["code"] == code


def deep(depth: int) -> bytes:
    """Make JSON that is nested deeper than any parser needs to follow."""
    return b'{"model":"openai/gpt-4o-mini","messages":' + b"[" * depth + b"]" * depth + b"}"


MALFORMED: list[tuple[str, Any]] = [
    ("no body", None),
    ("not JSON", b"model=openai/gpt-4o-mini"),
    ("half of JSON", b'{"model": "openai/gpt-4o-mini", "messages": ['),
    ("not an object", b'["openai/gpt-4o-mini"]'),
    ("invalid UTF-8", b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"\xff\xfe"}]}'),
    ("a lone surrogate", b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"\\ud800"}]}'),
    ("nested too deep", deep(100_000)),
    ("no model", {"messages": [{"role": "user", "content": "hi"}]}),
    ("a model that is a number", {"model": 7, "messages": [{"role": "user", "content": "hi"}]}),
    ("no messages", {"model": GPT}),
    ("messages that are text", {"model": CLAUDE, "messages": "hi"}),
    ("a message that is text", {"model": CLAUDE, "messages": ["hi"]}),
    ("a stream that is text", chat_body(GPT, "hi", stream="yes")),
    ("a model without a provider", chat_body("gpt-4o-mini", "hi")),
]


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in MALFORMED])
async def test_a_malformed_body_is_refused(
    stack: Stack, session: aiohttp.ClientSession, body: bytes | dict[str, Any] | None
) -> None:
    """A body that cannot be understood is a 400 that says why, on the short path and on compat."""
    for base in (stack.openai_base_url, f"{stack.gateway_url()}/compat"):
        answer = await call(session, f"{base}/chat/completions", body, token=stack.token)
        assert_openai_error(answer, 400)


WRONG_FOR_ANTHROPIC: list[tuple[str, dict[str, Any], str]] = [
    ("n", {"n": 2}, "n"),
    ("content of a number", {"messages": [{"role": "user", "content": 7}]}, "messages"),
    ("an unknown role", {"messages": [{"role": "robot", "content": "hi"}]}, "messages"),
    ("max_tokens of text", {"max_tokens": "many"}, "max_tokens"),
    ("tools of text", {"tools": "all"}, "tools"),
    (
        "broken arguments",
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "x"},
            ]
        },
        "messages",
    ),
]


@pytest.mark.parametrize(
    ("members", "param"),
    [pytest.param(members, param, id=name) for name, members, param in WRONG_FOR_ANTHROPIC],
)
async def test_what_cannot_be_translated_is_refused_by_name(
    stack: Stack, session: aiohttp.ClientSession, members: dict[str, Any], param: str
) -> None:
    """What the target's dialect cannot say is a 400 naming the member, before any upstream is asked."""
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(CLAUDE, "hi") | members,
        token=stack.token,
    )

    assert_openai_error(answer, 400)
    assert param in str(answer.json["error"]["param"]) + answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("model", "code"),
    [
        pytest.param("nonesuch/gpt-4o-mini", "invalid_provider", id="unknown provider"),
        pytest.param("/gpt-4o-mini", None, id="empty provider"),
        pytest.param("openai/", None, id="empty model"),
        pytest.param("OpenAI/gpt-4o-mini", None, id="another case"),
        pytest.param("../openai/gpt-4o-mini", None, id="dots"),
        pytest.param("openai\r\nx: y/gpt", None, id="line break"),
    ],
)
async def test_a_model_that_leads_nowhere_is_refused(
    stack: Stack, session: aiohttp.ClientSession, model: str, code: str | None
) -> None:
    """A model whose provider is not known is a 400."""
    answer = await call(
        session, f"{stack.openai_base_url}/chat/completions", chat_body(model, "hi"), token=stack.token
    )

    assert_openai_error(answer, 400, code)


async def test_an_unknown_provider_in_the_path(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A native path of an unknown provider is the gateway's 400 with its code 2008."""
    headers = {"cf-aig-authorization": f"Bearer {stack.token}"}
    answer = await call(session, f"{stack.gateway_url()}/nonesuch/v1/x", {}, headers=headers)

    assert answer.status == 400
    assert answer.json["error"] == [{"code": 2008, "message": answer.json["message"]}]
    assert answer.json["success"] is False


async def test_an_unknown_gateway(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A gateway that is not there is a 400 with code 2001."""
    url = f"{stack.gateway_url('nonesuch')}/compat/chat/completions"
    answer = await call(session, url, chat_body(GPT, "hi"), token=stack.token)

    assert_openai_error(answer, 400, "gateway_not_found")
    assert answer.json["internalCode"] == 2001


def upload(port: int, head: bytes, size: int, *, chunked: bool) -> tuple[int, bytes]:
    """
    Send a long body until the other side answers, and give the answer's status and body.

    By hand, since clients do not agree on what to do with an answer that comes in the middle of an upload.
    """
    piece = b" " * MEBIBYTE
    framed = b"100000\r\n" + piece + b"\r\n" if chunked else piece
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(size // MEBIBYTE):
                if select.select([connection], [], [], 0)[0]:
                    break
                connection.sendall(framed)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


@pytest.mark.parametrize("length", ["declared", "chunked"])
def test_a_body_of_50_mb_is_refused(stack: Stack, length: str) -> None:
    """A body above the limit is a 413 in the caller's dialect, whether or not its length was declared."""
    size = 50 * MEBIBYTE
    framing = b"transfer-encoding: chunked" if length == "chunked" else f"content-length: {size}".encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer " + stack.token.encode() + b"\r\n" + framing + b"\r\n\r\n"
    )
    status, body = upload(stack.port, head, size, chunked=length == "chunked")

    assert status == 413
    assert json.loads(body)["error"]["message"]
    assert json.loads(body)["httpCode"] == 413


async def test_10_000_messages(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A conversation of 10,000 turns is refused by a limit that the error names."""
    for model in (GPT, CLAUDE):
        messages = [{"role": "user", "content": "hi"}] * 10_000
        answer = await call(
            session,
            f"{stack.openai_base_url}/chat/completions",
            {"model": model, "messages": messages},
            token=stack.token,
        )
        assert_openai_error(answer, 413, "too_large")
        assert answer.json["error"]["param"] == "messages"


async def test_streaming_where_there_is_none(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Embeddings cannot stream, and a provider without embeddings says so."""
    url = f"{stack.openai_base_url}/embeddings"
    model = "openai/text-embedding-3-small"
    streamed = await call(session, url, {"model": model, "input": "x", "stream": True}, token=stack.token)
    elsewhere = await call(session, url, {"model": CLAUDE, "input": "x"}, token=stack.token)

    assert_openai_error(streamed, 400, "unsupported")
    assert_openai_error(elsewhere, 400, "unsupported")


async def test_no_provider_key(launch: Launch, session: aiohttp.ClientSession) -> None:
    """Without the client's and without the operator's key, the error says that one is missing."""
    stack = launch("inline", HEADRACE_PROVIDER_OPENAI_API_KEY="")
    answer = await call(
        session, f"{stack.openai_base_url}/chat/completions", chat_body(GPT, "hi"), token=stack.token
    )

    assert_openai_error(answer, 400, "credential_missing")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/nonesuch", 404),
        ("GET", "/", 404),
        ("GET", "/v1/local/default/compat/nonesuch", 404),
        ("GET", "/client/v4/accounts/local/ai-gateway/nonesuch", 404),
    ],
)
async def test_a_path_or_method_that_is_not_there(
    stack: Stack, session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """Unknown paths are 404, known ones with a wrong method 405, both as JSON with a message."""
    answer = await call(session, stack.base_url + path, method=method, token=stack.token)

    assert answer.status == status
    assert answer.json["success"] is False


@pytest.mark.parametrize(
    "header",
    [
        ("cf-aig-cache-ttl", "soon"),
        ("cf-aig-skip-cache", "perhaps"),
        ("cf-aig-metadata", "{"),
        ("cf-aig-metadata", '{"nested": {"a": 1}}'),
        ("cf-aig-custom-cost", '{"per_token_in": "much"}'),
        ("cf-aig-request-timeout", "-1"),
    ],
    ids=" ".join,
)
async def test_an_option_that_makes_no_sense_is_refused(
    stack: Stack, session: aiohttp.ClientSession, header: tuple[str, str]
) -> None:
    """A gateway header with a wrong value is a 400 naming it; it is not passed over in silence."""
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(GPT, "hi"),
        token=stack.token,
        headers=dict([header]),
    )

    assert_openai_error(answer, 400, "invalid_request")
    assert answer.json["error"]["param"] == header[0]


def raw_exchange(port: int, request: bytes) -> bytes:
    """Send bytes as they are, and read until the other side closes or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            pass
        return received


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"a\x00b", id="NUL"),
        pytest.param(b"a\rset-cookie: x=y", id="CR"),
        pytest.param(LINE_FEED, id="LF"),
        pytest.param(b"a\r\n folded: x", id="folded line"),
    ],
)
def test_header_injection(stack: Stack, upstreams: Upstreams, value: bytes) -> None:
    """A value with a line break or NUL neither becomes a header of the answer nor reaches an upstream."""
    marker = uuid.uuid4().hex
    body = json.dumps(chat_body(GPT, marker)).encode()
    answer = raw_exchange(
        stack.port,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"authorization: Bearer " + stack.token.encode() + b"\r\n"
        b"cf-aig-event-id: " + value + b"\r\n"
        b"x-client: " + value + b"\r\n"
        b"content-type: application/json\r\n"
        b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body,
    )
    head = answer.partition(b"\r\n\r\n")[0].lower()
    status = int(answer.split(b" ", 2)[1])

    assert status in {200, 400}
    assert b"\r\nset-cookie" not in head
    assert b"\nfolded:" not in head
    if value != LINE_FEED:
        # A bare line feed may end a line (RFC 9112, section 2.2): what follows is the client's own header.
        for received in upstreams.received(marker):
            assert not {"set-cookie", "folded"} & received.header_names()


def test_two_lengths_are_refused(stack: Stack, upstreams: Upstreams) -> None:
    """A request with contradicting lengths, the start of request smuggling, is refused."""
    marker = uuid.uuid4().hex
    answer = raw_exchange(
        stack.port,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /" + marker.encode() + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 400")
    assert marker.encode() not in answer


async def test_a_header_too_long(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A header beyond the limit is refused with a status that says so."""
    headers = {"x-long": "x" * 70_000}
    answer = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body(GPT, "hi"),
        token=stack.token,
        headers=headers,
    )

    assert answer.status in {400, 431}


async def test_the_anthropic_sdk_understands_refusals(stack: Stack) -> None:
    """On Anthropic's native path a gateway's refusal raises the SDK's error for its status."""
    async with anthropic.AsyncAnthropic(
        base_url=f"{stack.gateway_url()}/anthropic", api_key=CLIENT_KEY, max_retries=0
    ) as client:
        with pytest.raises(anthropic.AuthenticationError) as raised:
            await client.messages.create(
                model="claude-haiku-4-5", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
            )

    assert "nauthorized" in str(raised.value)
