"""What the log tells of requests."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import genai_prices
import orjson
import pytest

from cli.api import Api
from cli.log_tail import LogTail
from kit.secret import Secret
from tests.e2e.calls import Answer, call, chat_body

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.log_view import LogView
    from tests.fakes.stack import Stack

MODEL = "openai/gpt-4o-mini"


async def ask(stack: Stack, session: aiohttp.ClientSession, model: str, text: str, **members: Any) -> Answer:
    """Ask a question on the short path."""
    url = f"{stack.openai_base_url}/chat/completions"
    return await call(session, url, chat_body(model, text, **members), token=stack.token)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("model", "tokens"),
    [("openai/gpt-4o-mini", (11, 4)), ("anthropic/claude-haiku-4-5", (12, 5))],
    ids=["openai", "anthropic"],
)
async def test_an_entry_has_usage_and_cost(
    stack: Stack,
    session: aiohttp.ClientSession,
    logs: LogView,
    model: str,
    tokens: tuple[int, int],
    streamed: bool,  # noqa: FBT001  # a test's parameter
) -> None:
    """An entry has the counts that the provider reported, and the price table's price for them."""
    answer = await ask(stack, session, model, "hello", stream=streamed)
    entry = await logs.entry(answer.log_id)
    provider, _, bare_model = model.partition("/")
    price = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=tokens[0], output_tokens=tokens[1]), bare_model, provider_id=provider
    )

    assert entry["id"] == answer.log_id
    assert entry["provider"] == provider
    assert entry["success"] is True
    assert entry["cached"] is False
    assert entry["status_code"] == 200
    assert (entry["tokens_in"], entry["tokens_out"]) == tokens
    assert entry["cost"] == pytest.approx(float(price.total_price))
    assert bare_model in entry["model"]


async def test_an_unknown_models_cost_is_unknown(
    stack: Stack, session: aiohttp.ClientSession, logs: LogView
) -> None:
    """A model that the price table does not have has no cost; not a cost of 0."""
    answer = await ask(stack, session, "openai/nonesuch-model-7", "hello")
    entry = await logs.entry(answer.log_id)

    assert answer.status == 200
    assert (entry["tokens_in"], entry["tokens_out"]) == (3, 9)
    assert entry["cost"] is None


async def test_bodies_are_kept_as_they_were(
    stack: Stack, session: aiohttp.ClientSession, logs: LogView
) -> None:
    """The request and the response of an entry are, byte for byte, what the client sent and got."""
    marker = uuid.uuid4().hex
    answer = await ask(stack, session, MODEL, marker, stream=True)
    entry = await logs.entry(answer.log_id)

    assert await logs.payload(answer.log_id, "request") == orjson.dumps(chat_body(MODEL, marker, stream=True))
    assert await logs.payload(answer.log_id, "response") == answer.body
    assert entry["response_size"] == len(answer.body)


async def test_payloads_are_left_out_when_asked(
    stack: Stack, session: aiohttp.ClientSession, logs: LogView
) -> None:
    """With `cf-aig-collect-log-payload: false` there is an entry without bodies."""
    url = f"{stack.openai_base_url}/chat/completions"
    headers = {"cf-aig-collect-log-payload": "false"}
    answer = await call(session, url, chat_body(MODEL, "private"), token=stack.token, headers=headers)
    entry = await logs.entry(answer.log_id)
    payload = await call(
        session, f"{stack.logs_url}/{answer.log_id}/request", method="GET", token=stack.token
    )

    assert entry["success"] is True
    assert b"private" not in payload.body


async def test_nothing_is_logged_when_asked(
    stack: Stack, session: aiohttp.ClientSession, logs: LogView
) -> None:
    """With `cf-aig-collect-log: false` there is no entry."""
    url = f"{stack.openai_base_url}/chat/completions"
    headers = {"cf-aig-collect-log": "false", "cf-aig-event-id": uuid.uuid4().hex}
    unlogged = await call(session, url, chat_body(MODEL, "secretly"), token=stack.token, headers=headers)
    logged = await ask(stack, session, MODEL, "openly")
    await logs.entry(logged.log_id)
    newest = await logs.newest(20)

    assert unlogged.status == 200
    assert headers["cf-aig-event-id"] not in {entry.get("event_id") for entry in newest}


async def test_every_answered_request_has_exactly_one_entry(
    stack: Stack, session: aiohttp.ClientSession, logs: LogView
) -> None:
    """Answers, streams, cache hits and refusals, many at once: as many entries as answers, none twice."""
    run = uuid.uuid4().hex[:8]
    kinds: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        (MODEL, {}, {}),
        (MODEL, {"stream": True}, {}),
        (MODEL, {}, {"cf-aig-cache-ttl": "60"}),
        ("anthropic/claude-haiku-4-5", {"stream": True}, {}),
        ("openai/gpt-4o-mini+status=400", {}, {}),
        ("openai/gpt-4o-mini+cut=2", {"stream": True}, {}),
    ]

    async def one(number: int) -> str:
        model, members, headers = kinds[number % len(kinds)]
        url = f"{stack.openai_base_url}/chat/completions"
        event_id = f"{run}-{number}"
        answer = await call(
            session,
            url,
            chat_body(model, run, **members),
            token=stack.token,
            headers={**headers, "cf-aig-event-id": event_id},
        )
        return answer.log_id

    ids = await asyncio.gather(*(one(number) for number in range(60)))
    entries = [await logs.entry(log_id) for log_id in ids]
    of_this_run = [
        entry for entry in await logs.newest(150) if str(entry.get("event_id", "")).startswith(run)
    ]

    assert len(set(ids)) == 60
    assert sorted(entry["event_id"] for entry in entries) == sorted(f"{run}-{n}" for n in range(60))
    assert sorted(entry["id"] for entry in of_this_run) == sorted(ids)


async def test_the_list_is_newest_first_and_ends(
    stack: Stack, session: aiohttp.ClientSession, logs: LogView
) -> None:
    """Pages come newest first with their counts; a page past the end is empty, not an error."""
    answers = [await ask(stack, session, MODEL, "listed") for _ in range(3)]
    for answer in answers:
        await logs.entry(answer.log_id)
    first = await logs.page(page="1", per_page="2")
    past = await logs.page(page="100000", per_page="50")

    assert first["success"] is True
    assert [entry["id"] for entry in first["result"]] == [answers[2].log_id, answers[1].log_id]
    assert first["result_info"]["page"] == 1
    assert first["result_info"]["per_page"] == 2
    assert first["result_info"]["count"] == 2
    assert first["result_info"]["total_count"] >= 3
    assert past["result"] == []


async def test_the_command_line_follows(stack: Stack, session: aiohttp.ClientSession, logs: LogView) -> None:
    """`headrace logs tail` shows the latest, and then each entry that is recorded after them once."""
    before = await ask(stack, session, MODEL, "before")
    await logs.entry(before.log_id)
    log = LogTail(Api(stack.base_url, Secret(stack.token)), [stack.account])
    latest = [entry["id"] for entry in await asyncio.to_thread(log.latest, 1)]
    answers = [await ask(stack, session, MODEL, "after") for _ in range(3)]
    for answer in answers:
        await logs.entry(answer.log_id)
    followed = [entry["id"] for entry in (await asyncio.to_thread(log.newer))[0]]
    printed = (await asyncio.to_thread(stack.cli, "logs", "tail", "--json", "-n", "3")).splitlines()

    assert ([before.log_id], [answer.log_id for answer in answers]) == (latest, followed)
    assert [(stack.account, "default", answer.log_id) for answer in answers] == [
        (entry["account_id"], entry["gateway_id"], entry["id"]) for entry in map(orjson.loads, printed)
    ]
    assert ([], False) == await asyncio.to_thread(log.newer)


async def test_an_unknown_entry_is_not_found(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Asking for an entry that is not there is a 404 in the management plane's shape."""
    url = f"{stack.logs_url}/01890000-0000-7000-8000-000000000000"
    answer = await call(session, url, method="GET", token=stack.token)

    assert answer.status == 404
    assert answer.json["success"] is False
    assert answer.json["errors"][0]["code"] == 7002


async def test_a_failed_request_is_logged_as_failed(
    stack: Stack, session: aiohttp.ClientSession, logs: LogView
) -> None:
    """A provider's refusal has an entry with its status, and no success."""
    answer = await ask(stack, session, "openai/gpt-4o-mini+status=400+message=No", "hello")
    entry = await logs.entry(answer.log_id)

    assert answer.status == 400
    assert entry["success"] is False
    assert entry["status_code"] == 400
