"""
The settings of the provider service, and each provider's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kit.config import ConfigError, load, unknown
from kit.providers import SLUGS
from services.providers.app import served_slugs
from services.providers.config import DYNAMIC_SETTINGS, ProvidersConfig, provider_settings

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "HEADRACE_PROVIDER_"


def test_nothing_set() -> None:
    """Without variables every provider is at its public address and has no key."""
    found = provider_settings({}, SLUGS)

    assert set(SLUGS) == set(found)
    assert all(one.base_url is None and one.api_key is None for one in found.values())


def test_base_url_and_key(tmp_path: Path) -> None:
    """A base URL and a key are read by slug, a key also from a file."""
    file = tmp_path / "key"
    file.write_text("sk-file\n")
    env = {
        "HEADRACE_PROVIDER_OPENAI_BASE_URL": "http://127.0.0.1:9/v1/",
        "HEADRACE_PROVIDER_OPENAI_API_KEY": "sk-env",
        "HEADRACE_PROVIDER_ANTHROPIC_API_KEY_FILE": str(file),
    }

    found = provider_settings(env, SLUGS)

    assert "http://127.0.0.1:9/v1" == str(found["openai"].base_url)
    assert found["openai"].api_key is not None
    assert "sk-env" == found["openai"].api_key.reveal()
    assert found["anthropic"].api_key is not None
    assert "sk-file" == found["anthropic"].api_key.reveal()


def test_key_is_not_shown() -> None:
    """A provider's settings do not print its key."""
    found = provider_settings({"HEADRACE_PROVIDER_OPENAI_API_KEY": "sk-secret"}, SLUGS)

    assert "sk-secret" not in repr(found)


def test_slug_with_a_hyphen() -> None:
    """A hyphen in a slug is an underscore in its variables."""
    found = provider_settings({"HEADRACE_PROVIDER_GOOGLE_AI_STUDIO_API_KEY": "k"}, ("google-ai-studio",))

    assert found["google-ai-studio"].api_key is not None


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"OPENAI_BASE_URL": "ftp://x"}, "http or https"),
        ({"OPENAI_BASE_URL": "http://user:secret@x"}, "http or https"),
        ({"OPENAI_BASE_URL": "http://x?a=b"}, "http or https"),
        ({"OPENAI_BASE_URL": "http://x:notaport"}, "http or https"),
        ({"OPENAI_API_KEY": "a", "OPENAI_API_KEY_FILE": "b"}, "both set"),
        ({"OPENAI_API_KEY_FILE": "/nonexistent/key"}, "cannot be read"),
        ({"OPENAI_API_KEY": "clé"}, "ASCII"),
        ({"NOPE_API_KEY": "a"}, "does not exist"),
    ],
)
def test_wrong_values(env: dict[str, str], words: str) -> None:
    """A wrong value is a readable problem that names its variable."""
    env = {PREFIX + name: value for name, value in env.items()}

    with pytest.raises(ConfigError) as raised:
        provider_settings(env, SLUGS)

    (problem,) = raised.value.problems
    assert words in problem
    assert next(iter(env)) in problem


def test_all_problems_at_once() -> None:
    """Every problem is told, not the first alone."""
    env = {"HEADRACE_PROVIDER_OPENAI_BASE_URL": "x", "HEADRACE_PROVIDER_ANTHROPIC_BASE_URL": "y"}

    with pytest.raises(ConfigError) as raised:
        provider_settings(env, SLUGS)

    assert 2 == len(raised.value.problems)


def test_variables_are_known() -> None:
    """The variables of the service and of each provider are settings, a misspelt one is not."""
    env = {
        "HEADRACE_PROVIDERS_IDLE_TIMEOUT_S": "1",
        "HEADRACE_PROVIDER_OPENAI_BASE_URL": "x",
        "HEADRACE_PROVIDER_OPENAI_API_KEY": "x",
        "HEADRACE_PROVIDER_OPENAI_API_KEY_FILE": "x",
        "HEADRACE_PROVIDER_OPENAI_KEY": "x",
    }

    (line,) = unknown(env, [ProvidersConfig], DYNAMIC_SETTINGS)

    assert line.startswith("HEADRACE_PROVIDER_OPENAI_KEY ")


def test_timeouts_are_read() -> None:
    """Numbers are read and have a least value."""
    assert 1.5 == load(ProvidersConfig, {"HEADRACE_PROVIDERS_IDLE_TIMEOUT_S": "1.5"}).idle_timeout_s
    with pytest.raises(ConfigError):
        load(ProvidersConfig, {"HEADRACE_PROVIDERS_IDLE_TIMEOUT_S": "0"})


@pytest.mark.parametrize(
    ("only", "process", "expected"),
    [
        ((), "providers", {"openai", "anthropic"}),
        ((), "providers-local", {"local"}),
        ((), "headrace", {"openai", "anthropic", "local"}),
        (("openai",), "providers", {"openai"}),
        (("local", "openai"), "headrace", {"local", "openai"}),
    ],
)
def test_providers_of_a_process(only: tuple[str, ...], process: str, expected: set[str]) -> None:
    """The local model has a process of its own; one process for everything serves it too."""
    assert expected == set(served_slugs(ProvidersConfig(only=only), process))


def test_providers_that_do_not_exist() -> None:
    """A process that is to serve an unknown provider does not start."""
    with pytest.raises(ConfigError, match="nope"):
        served_slugs(ProvidersConfig(only=("nope",)), "providers")
