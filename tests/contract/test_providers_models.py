"""
How often providers are asked for their models.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.app import make_adapter
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.models import ModelLists
from services.providers.registry import PROVIDERS
from services.providers.upstream import Upstream
from tests.fakes.provider_calls import QUICK
from tests.fakes.stopped_clock import StoppedClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.providers.adapters.adapter import Adapter
    from tests.fakes.upstream import FakeUpstream


@asynccontextmanager
async def lists(url: str, clock: StoppedClock) -> AsyncIterator[tuple[ModelLists, Adapter]]:
    """Give the lists, and an adapter with a key."""
    config = ProvidersConfig()
    settings = ProviderSettings(slug="openai", base_url=URL(url), api_key=Secret("sk-operator"))
    client = Upstream(config)
    try:
        yield (
            ModelLists(client, QUICK, reuse_s=60.0, clock=clock),
            make_adapter(PROVIDERS["openai"], settings, config),
        )
    finally:
        await client.close()


async def test_one_question_for_all_who_wait(upstream: FakeUpstream) -> None:
    """Who asks while the provider is being asked waits for the same answer, also when another gives up."""
    async with lists(upstream.url, StoppedClock()) as (models, adapter):
        given_up, *others = [asyncio.create_task(models.of(adapter)) for _ in range(4)]
        await asyncio.sleep(0)
        given_up.cancel()
        found = await asyncio.gather(*others)

    assert [found[0]] * 3 == found
    assert 1 == len(upstream.journal)


async def test_provider_that_fails(upstream: FakeUpstream) -> None:
    """One that fails is asked again after a while, and not by everyone in between."""
    clock = StoppedClock()
    upstream.script.append({"status": "500"})
    async with lists(upstream.url, clock) as (models, adapter):
        failed = await asyncio.gather(*(models.of(adapter) for _ in range(3)), return_exceptions=True)
        with pytest.raises(GatewayError) as caught:
            await models.of(adapter)
        asked = len(upstream.journal)
        clock.advance(11.0)
        found = await models.of(adapter)

    assert (Reason.UPSTREAM_ERROR, 1) == (caught.value.reason, asked)
    assert [caught.value] * 3 == failed
    assert found
    assert 2 == len(upstream.journal)
