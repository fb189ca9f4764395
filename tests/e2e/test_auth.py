"""Who may call, and what of a caller's credentials reaches an upstream."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.e2e.calls import call, chat_body
from tests.e2e.upstreams import CLIENT_KEY, OPENAI_KEY

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

MODEL = "openai/gpt-4o-mini"
TOKEN = re.compile(r"hr_[a-z2-7]{12}_[A-Za-z0-9_-]{43}")


def new_token(stack: Stack) -> str:
    """Make a token with the command line, as an operator does."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    match = TOKEN.search(stack.cli("token", "create", "--name", name))
    assert match
    return match[0]


def token_id(token: str) -> str:
    """Give the public part of a token."""
    return token.split("_")[1]


async def test_a_valid_token_is_taken_from_either_header(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    """`Authorization` and `cf-aig-authorization`, the latter with or without `Bearer`, all work."""
    url = f"{stack.gateway_url()}/compat/chat/completions"
    ways = [
        {"authorization": f"Bearer {stack.token}"},
        {"cf-aig-authorization": f"Bearer {stack.token}"},
        {"cf-aig-authorization": stack.token},
    ]
    answers = [await call(session, url, chat_body(MODEL, "hello"), headers=way) for way in ways]

    assert [answer.status for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no token"),
        pytest.param({"authorization": "Bearer hr_aaaaaaaaaaaa_" + "a" * 43}, id="unknown token"),
        pytest.param({"authorization": "Bearer hr_short"}, id="malformed token"),
        pytest.param({"cf-aig-authorization": "Bearer undefined"}, id="no token of ours"),
        pytest.param({"authorization": "Basic aGk6aGk="}, id="another scheme"),
    ],
)
async def test_without_a_valid_token_nothing_is_answered(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams, headers: dict[str, str]
) -> None:
    """A call without a valid token is refused with 401, and no upstream hears of it."""
    marker = uuid.uuid4().hex
    url = f"{stack.openai_base_url}/chat/completions"
    answer = await call(session, url, chat_body(MODEL, marker), headers=headers)

    assert answer.status == 401
    assert answer.json["error"]["code"] == "unauthenticated"
    assert answer.json["internalCode"] == 2009
    assert upstreams.received(marker) == []


async def test_a_token_whose_end_was_changed_is_refused(stack: Stack, session: aiohttp.ClientSession) -> None:
    """The secret counts to its last character, and the refusal does not tell that the rest was right."""
    wrong = stack.token[:-1] + ("A" if stack.token[-1] != "A" else "B")
    url = f"{stack.openai_base_url}/chat/completions"
    near = await call(session, url, chat_body(MODEL, "hello"), token=wrong)
    far = await call(session, url, chat_body(MODEL, "hello"), token="hr_aaaaaaaaaaaa_" + "a" * 43)

    assert (near.status, near.body) == (far.status, far.body)
    assert near.status == 401


async def test_a_token_is_of_no_use_in_another_account(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A valid token is refused for an account that it does not belong to, on both planes."""
    run = await call(
        session,
        f"{stack.gateway_url(account='elsewhere')}/compat/chat/completions",
        chat_body(MODEL, "hello"),
        token=stack.token,
    )
    management = await call(
        session, stack.logs_url.replace("/local/", "/elsewhere/"), method="GET", token=stack.token
    )

    assert run.status == 401
    assert management.status == 401


async def test_the_log_asks_for_a_token(stack: Stack, session: aiohttp.ClientSession) -> None:
    """The management plane refuses who has no token, in its own shape."""
    answer = await call(session, stack.logs_url, method="GET")

    assert answer.status == 401
    assert answer.json["success"] is False
    assert answer.json["errors"][0]["message"]


async def test_a_token_in_authorization_is_never_forwarded(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """What an upstream gets is the operator's key; the gateway's token is in no part of the request."""
    marker = uuid.uuid4().hex
    calls = [
        (f"{stack.openai_base_url}/chat/completions", MODEL),
        (f"{stack.gateway_url()}/compat/chat/completions", MODEL),
        (f"{stack.gateway_url()}/openai/chat/completions", "gpt-4o-mini"),
    ]
    for url, model in calls:
        headers = {
            "authorization": f"Bearer {stack.token}",
            "cf-aig-authorization": f"Bearer {stack.token}",
            "x-custom": f"token {stack.token}",
        }
        answer = await call(session, url, chat_body(model, marker), headers=headers)
        assert answer.status == 200, answer.body
    received = upstreams.received(marker)

    assert [one.header("authorization") for one in received] == [f"Bearer {OPENAI_KEY}"] * len(calls)
    assert not [value for one in received for _, value in one.headers if stack.token in value]
    assert not [one for one in received if stack.token.encode() in one.body]


async def test_no_header_of_ours_reaches_an_upstream(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """`cf-aig-*`, `cf-*`, `headrace-*` and hop-by-hop headers stay here; the client's own go on."""
    marker = uuid.uuid4().hex
    headers = {
        "cf-aig-authorization": f"Bearer {stack.token}",
        "authorization": f"Bearer {CLIENT_KEY}",
        "cf-aig-metadata": '{"user": "42"}',
        "cf-aig-event-id": "event-1",
        "cf-aig-nonesuch": "secret",
        "cf-access-jwt-assertion": "secret",
        "headrace-caller": "auth",
        "x-forwarded-for": "203.0.113.9",
        "proxy-authorization": "Basic secret",
        "cookie": "session=secret",
        "openai-beta": "assistants=v2",
    }
    url = f"{stack.gateway_url()}/openai/chat/completions"
    answer = await call(session, url, chat_body("gpt-4o-mini", marker), headers=headers)
    [received] = upstreams.received(marker)
    names = received.header_names()

    assert answer.status == 200
    assert received.header("authorization") == f"Bearer {CLIENT_KEY}"
    assert received.header("openai-beta") == "assistants=v2"
    assert not {name for name in names if name.startswith(("cf-", "headrace-", "x-envoy-", "x-forwarded-"))}
    assert not names & {"proxy-authorization", "cookie", "via", "forwarded"}


async def test_a_revoked_token_stops_within_a_second(stack: Stack, session: aiohttp.ClientSession) -> None:
    """A token that was in use is refused soon after it was revoked, although decisions are cached."""
    token = new_token(stack)
    url = f"{stack.openai_base_url}/chat/completions"
    before = [await call(session, url, chat_body(MODEL, "hello"), token=token) for _ in range(3)]
    await asyncio.to_thread(stack.cli, "token", "revoke", token_id(token))
    revoked_at = time.monotonic()
    status = 200
    while status == 200 and time.monotonic() - revoked_at < 5:
        status = (await call(session, url, chat_body(MODEL, "hello"), token=token)).status
    took_s = time.monotonic() - revoked_at

    assert [answer.status for answer in before] == [200, 200, 200]
    assert status == 401
    # A promise of the design, not a matter of the machine's speed; twice that for a busy one.
    assert took_s < 2
