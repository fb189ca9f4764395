"""Every attempt says which key paid, however it ends; and never more of a stored key than its id."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from headrace.router.v1 import custom_provider_pb2
from kit.providers import LOCAL
from services.providers.registry import PROVIDERS
from tests.fakes.key_vault import KeyVault, paying
from tests.fakes.provider_calls import chat_request, failure_class, native_request, provider_harness
from tests.fakes.provider_sides import SIDES
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.provider_calls import ProviderHarness

NONE: dict[str, str] = {}
SECRET = "sk-stored-canary"
STORED = "openai/default/0"


@asynccontextmanager
async def running(
    *, provider: str = "openai", stored: int = 0, operator: bool = False
) -> AsyncIterator[tuple[ProviderHarness, FakeUpstream]]:
    """Run providers with so many stored keys, and perhaps one of the operator's."""
    vault = KeyVault()
    vault.unified = True
    if stored:
        vault.put(provider, *[f"{SECRET}-{number}" for number in range(stored)])
    key = "sk-operator" if operator else None
    async with (
        FakeUpstream() as upstream,
        paying(vault) as payer,
        provider_harness(upstream.url, payer=payer, operator_key=key) as providers,
    ):
        yield providers, upstream


WHO = [
    pytest.param({}, {"operator": True, "stored": 1}, "request", id="the request's own"),
    pytest.param({"headers": NONE}, {"operator": True, "stored": 1}, STORED, id="a stored one"),
    pytest.param({"headers": NONE}, {"operator": True}, "operator", id="the operator's"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("given", "there", "expected"), WHO)
async def test_an_answer_says_whose_key_paid(
    given: dict[str, Any], there: dict[str, Any], expected: str, *, stream: bool
) -> None:
    """The request's own key, a stored one's id, or the operator."""
    async with running(**there) as (providers, _):
        invoked = await providers.invoke(chat_request("openai", "m", stream=stream, **given))

    assert expected == invoked.ended.key


@pytest.mark.parametrize(("given", "there", "expected"), WHO)
@pytest.mark.parametrize(
    ("steer", "expected_class"), [("status=500", "SERVER"), ("status=400", "INVALID_REQUEST")]
)
async def test_an_error_says_whose_key_met_with_it(
    given: dict[str, Any], there: dict[str, Any], expected: str, steer: str, expected_class: str
) -> None:
    """An error of the provider's says it at its beginning and at its end."""
    async with running(**there) as (providers, upstream):
        upstream.script.append(dict([steer.split("=")]))
        invoked = await providers.invoke(chat_request("openai", "m", **given))

    failure = invoked.started.failure
    assert (expected_class, expected, expected) == (failure_class(failure), failure.key, invoked.ended.key)


@pytest.mark.parametrize(("given", "there", "expected"), WHO)
async def test_a_stream_that_breaks_says_whose_key_it_was(
    given: dict[str, Any], there: dict[str, Any], expected: str
) -> None:
    """So does the end of a stream that breaks off."""
    async with running(**there) as (providers, upstream):
        upstream.script.append({"cut": "2"})
        invoked = await providers.invoke(chat_request("openai", "m", stream=True, **given))

    assert ("CUT", expected) == (failure_class(invoked.ended.failure), invoked.ended.failure.key)


@pytest.mark.parametrize(("given", "there", "expected"), WHO)
async def test_no_answer_says_whose_key_it_was(
    given: dict[str, Any], there: dict[str, Any], expected: str
) -> None:
    """Where there is no answer at all, the error says it."""
    async with running(**there) as (providers, upstream):
        upstream.script.append({"reset": ""})
        error = await providers.failing(chat_request("openai", "m", **given))

    assert {"provider": "openai", "key": expected} == error.metadata


async def test_a_key_that_gave_way_is_not_the_one() -> None:
    """Of several stored keys, the one that the answer came with is named."""
    async with running(stored=2) as (providers, upstream):
        upstream.script.append({"status": "429"})
        invoked = await providers.invoke(chat_request("openai", "m", headers=NONE))

    assert (200, "openai/default/1") == (invoked.started.status, invoked.ended.key)
    assert SECRET not in str(invoked)


@pytest.mark.parametrize("slug", sorted(PROVIDERS.keys() - {LOCAL}))
async def test_every_provider_names_a_stored_key(slug: str) -> None:
    """Natively too, whatever its adapter makes of the key."""
    async with running(provider=slug, stored=1) as (providers, _):
        invoked = await providers.invoke(native_request(slug, SIDES[slug].native_path, headers=NONE))

    assert f"{slug}/default/0" == invoked.ended.key


@pytest.mark.parametrize(("operator", "expected"), [(False, ""), (True, "operator")])
async def test_where_no_key_is_needed_there_may_be_none(*, operator: bool, expected: str) -> None:
    """A provider that wants no key may have one of the operator's all the same."""
    async with running(operator=operator) as (providers, _):
        invoked = await providers.invoke(chat_request("ollama", "m", headers=NONE))

    assert expected == invoked.ended.key


async def test_an_accounts_own_provider_is_never_paid_for_by_the_operator() -> None:
    """What it does is its account's own affair, and would be everybody's under the operator's name."""
    async with running(operator=True) as (providers, _):
        request = chat_request("custom-own", "m", headers=NONE)
        request.custom.CopyFrom(custom_provider_pb2.CustomProvider(base_url="https://127.0.0.1:9/v1"))
        error = await providers.failing(request)

    assert "key" not in error.metadata
