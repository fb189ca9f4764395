"""Every provider is in each list of providers."""

from __future__ import annotations

from kit.providers import SLUGS
from services.providers.registry import PROVIDERS
from tests.fakes.provider_sides import SIDES
from tests.repo.tree import ROOT

PAGES = ROOT / "docs" / "providers"


def test_registry_has_every_slug() -> None:
    """The slugs that all services share are those of the registry, each under its own name."""
    assert set(SLUGS) == set(PROVIDERS)
    assert [] == [slug for slug, provider in PROVIDERS.items() if provider.slug != slug]


def test_every_provider_has_a_page() -> None:
    """Each provider has a page, and each page a provider."""
    assert set(SLUGS) == {path.stem for path in PAGES.glob("*.md")}


def test_pages_are_about_their_provider() -> None:
    """A page names the models' prefix, the settings and the upstream of its provider."""
    wrong = [
        f"{slug}.md does not mention {wanted}"
        for slug, provider in PROVIDERS.items()
        for wanted in (
            f"`{slug}/",
            f"HEADRACE_PROVIDER_{slug.upper().replace('-', '_')}_BASE_URL",
            provider.auth.header,
        )
        if wanted not in (PAGES / f"{slug}.md").read_text()
    ]

    assert [] == wrong


def test_every_provider_is_in_the_contract_suite() -> None:
    """The suite for all adapters knows how each provider sees calls."""
    assert set(SLUGS) == set(SIDES)
