"""
The table of providers.
"""

from __future__ import annotations

import re

import pytest

from kit.providers import LOCAL, SLUGS
from services.providers.app import make_adapter
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.registry import PROVIDERS


def test_same_slugs_everywhere() -> None:
    """The slugs that router and edge know are those that have a row."""
    assert set(SLUGS) == set(PROVIDERS)
    assert sorted(SLUGS) == list(SLUGS)


@pytest.mark.parametrize("slug", SLUGS)
def test_rows(slug: str) -> None:
    """Each row has a slug that fits a URL and a variable, and a base URL over TLS."""
    row = PROVIDERS[slug]

    assert slug == row.slug
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert slug == LOCAL or row.base_url.scheme == "https"
    assert row.telemetry_name


@pytest.mark.parametrize("slug", SLUGS)
def test_every_row_has_an_adapter(slug: str) -> None:
    """Each row's API has an adapter."""
    adapter = make_adapter(PROVIDERS[slug], ProviderSettings(slug=slug), ProvidersConfig())

    assert slug == adapter.provider.slug
    assert PROVIDERS[slug].base_url.host == adapter.host
