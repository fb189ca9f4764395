"""Every provider is in each list of providers; its page is `test_provider_docs.py`'s."""

from __future__ import annotations

from kit.providers import SLUGS
from services.providers.registry import PROVIDERS
from tests.fakes.provider_sides import SIDES


def test_registry_has_every_slug() -> None:
    """The slugs that all services share are those of the registry, each under its own name."""
    assert set(SLUGS) == set(PROVIDERS)
    assert [] == [slug for slug, provider in PROVIDERS.items() if provider.slug != slug]


def test_every_provider_is_in_the_contract_suite() -> None:
    """The suite for all adapters knows how each provider sees calls."""
    assert set(SLUGS) == set(SIDES)
