"""The names of providers."""

from __future__ import annotations

import pytest

from kit.providers import ALIASES, SLUGS, canonical, is_custom, operator_custom


def test_other_names_stand_for_providers() -> None:
    """Each leads to a provider that there is, and none is a provider itself."""
    assert set(ALIASES.values()) <= set(SLUGS)
    assert set() == set(ALIASES) & set(SLUGS)
    assert [*SLUGS, "nope"] == [canonical(slug) for slug in (*SLUGS, "nope")]


@pytest.mark.parametrize(("slug", "expected"), [("custom-a", True), ("custom-", False), ("customs", False)])
def test_custom_slugs(slug: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """They begin with `custom-` and go on."""
    assert expected is is_custom(slug)


def test_providers_that_the_operator_added() -> None:
    """An address adds one; an empty address, another setting or another provider's address does not."""
    env = {
        "HEADRACE_PROVIDER_CUSTOM_MY_LLM_BASE_URL": "http://10.0.0.1/v1",
        "HEADRACE_PROVIDER_CUSTOM_A_BASE_URL": "https://a.example",
        "HEADRACE_PROVIDER_CUSTOM_B_BASE_URL": " ",
        "HEADRACE_PROVIDER_CUSTOM_C_API_KEY": "x",
        "HEADRACE_PROVIDER_CUSTOM__BASE_URL": "https://b.example",
        "HEADRACE_PROVIDER_CUSTOM_BASE_URL": "https://c.example",
        "HEADRACE_PROVIDER_OPENAI_BASE_URL": "https://d.example",
    }

    assert ("custom-a", "custom-my-llm") == operator_custom(env)
