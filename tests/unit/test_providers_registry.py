"""
The table of providers.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import pytest
from yarl import URL

from kit.providers import ALIASES, LOCAL, SLUGS
from services.providers.adapters.unaddressed import UnaddressedAdapter
from services.providers.app import make_adapter
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.dialects.openai_chat.quirks import EFFORTS
from services.providers.registry import CUSTOM, PROVIDERS

# Run by the operator, wherever that is.
SELF_HOSTED = ("ollama", "vllm")
# What can be filled into an address.
PLACES = {"account", "region", "resource"}
# Members of conversations that a host may lack.
OPTIONS = {
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "metadata",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "service_tier",
    "stop",
    "temperature",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
}


def test_same_slugs_everywhere() -> None:
    """The slugs that router and edge know are those that have a row."""
    assert set(SLUGS) == set(PROVIDERS)
    assert sorted(SLUGS) == list(SLUGS)


def test_aliases() -> None:
    """Every further name stands for one provider, and is none itself."""
    stated = {alias: slug for slug, row in PROVIDERS.items() for alias in row.aliases}

    assert stated == dict(ALIASES)
    assert not set(stated) & set(SLUGS)
    assert sum(len(row.aliases) for row in PROVIDERS.values()) == len(stated)


@pytest.mark.parametrize("slug", SLUGS)
def test_rows(slug: str) -> None:
    """Each row has a slug that fits a URL and a variable, and an address over TLS or of the operator's."""
    row = PROVIDERS[slug]

    assert slug == row.slug
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert row.telemetry_name
    assert bool(row.base_url) == (slug not in SELF_HOSTED)
    for address in (row.base_url, row.native_url):
        assert slug == LOCAL or not address or address.startswith("https://")
    assert {place for _, place, _, _ in Formatter().parse(row.base_url) if place} <= PLACES


@pytest.mark.parametrize("slug", SLUGS)
def test_quirks(slug: str) -> None:
    """What a row says of chat completions are words that mean something, efforts from the least on."""
    chat = PROVIDERS[slug].chat

    assert set() == chat.lacks - OPTIONS
    assert sorted(chat.efforts, key=EFFORTS.index) == list(chat.efforts)
    assert not chat.takes & OPTIONS


@pytest.mark.parametrize("slug", SLUGS)
def test_every_row_has_an_adapter(slug: str) -> None:
    """Each row's API has an adapter, at an address of the operator's too."""
    row = PROVIDERS[slug]
    fields: dict[str, Any] = dict.fromkeys(row.settings, "us-east-1")
    at_home = make_adapter(row, ProviderSettings(slug=slug, **fields), ProvidersConfig())
    elsewhere = ProviderSettings(slug=slug, base_url=URL("http://127.0.0.1:9"), **fields)
    moved = make_adapter(row, elsewhere, ProvidersConfig())

    assert (slug, slug, "127.0.0.1") == (at_home.provider.slug, moved.provider.slug, moved.host)
    assert isinstance(at_home, UnaddressedAdapter) == (slug in SELF_HOSTED)


def test_custom_row() -> None:
    """What is taken for granted of a provider that nobody knows is OpenAI's API, with or without a key."""
    assert ("openai", False, "") == (CUSTOM.api, CUSTOM.auth.required, CUSTOM.base_url)
