"""
The providers of the registry, each in front of a fake upstream of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.providers.registry import PROVIDERS
from services.providers.upstream import Timeouts
from tests.fakes.provider_calls import ProviderHarness, provider_harness
from tests.fakes.provider_sides import ADAPTERS, CHAT_SIDES, SIDES, Side
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHORT = Timeouts(connect_s=1.0, first_byte_s=0.3, idle_s=0.3, total_s=5.0)


@pytest.fixture(params=sorted(CHAT_SIDES))
def slug(request: pytest.FixtureRequest) -> str:
    """A provider that has chat."""
    return str(request.param)


@pytest.fixture(params=sorted(PROVIDERS))
def any_slug(request: pytest.FixtureRequest) -> str:
    """A provider."""
    return str(request.param)


@pytest.fixture(params=ADAPTERS)
def one_of_each(request: pytest.FixtureRequest) -> str:
    """A provider of each adapter."""
    return str(request.param)


@pytest.fixture
def side(slug: str) -> Side:
    return SIDES[slug]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture
async def providers(upstream: FakeUpstream) -> AsyncIterator[ProviderHarness]:
    async with provider_harness(upstream.url) as harness:
        yield harness


@pytest.fixture
async def hasty(upstream: FakeUpstream) -> AsyncIterator[ProviderHarness]:
    async with provider_harness(upstream.url, timeouts=SHORT) as harness:
        yield harness
