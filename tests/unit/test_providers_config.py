"""
The settings of the provider service, and each provider's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kit.config import ConfigError, load, unknown
from services.providers.app import served_slugs
from services.providers.config import DYNAMIC_SETTINGS, ProvidersConfig, provider_settings
from services.providers.registry import PROVIDERS

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "HEADRACE_PROVIDER_"
FIELDS = {slug: row.settings for slug, row in PROVIDERS.items()}


def test_nothing_set() -> None:
    """Without variables every provider is at its public address and has no key."""
    found = provider_settings({}, FIELDS)

    assert set(FIELDS) == set(found)
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

    found = provider_settings(env, FIELDS)

    assert "http://127.0.0.1:9/v1" == str(found["openai"].base_url)
    assert found["openai"].api_key is not None
    assert "sk-env" == found["openai"].api_key.reveal()
    assert found["anthropic"].api_key is not None
    assert "sk-file" == found["anthropic"].api_key.reveal()


def test_key_is_not_shown() -> None:
    """A provider's settings do not print its key."""
    found = provider_settings({"HEADRACE_PROVIDER_OPENAI_API_KEY": "sk-secret"}, FIELDS)

    assert "sk-secret" not in repr(found)


def test_slug_with_a_hyphen() -> None:
    """A hyphen in a slug is an underscore in its variables."""
    found = provider_settings({"HEADRACE_PROVIDER_GOOGLE_AI_STUDIO_API_KEY": "k"}, {"google-ai-studio": ()})

    assert found["google-ai-studio"].api_key is not None


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"OPENAI_BASE_URL": "ftp://x"}, "http or https"),
        ({"OPENAI_BASE_URL": "http://user:hidden@x"}, "http or https"),
        ({"OPENAI_BASE_URL": "http://x?a=b"}, "http or https"),
        ({"OPENAI_BASE_URL": "http://x:notaport"}, "http or https"),
        ({"OPENAI_API_KEY": "a", "OPENAI_API_KEY_FILE": "b"}, "both set"),
        ({"OPENAI_API_KEY_FILE": "/nonexistent/key"}, "cannot be read"),
        ({"OPENAI_API_KEY": "clé"}, "ASCII"),
        ({"NOPE_API_KEY": "a"}, "does not exist"),
        ({"NOPE_REGION": "a"}, "does not exist"),
        ({"OPENAAI_ADDRESS": "unix:/x"}, "does not exist"),
        ({"XAI_ADDRESS": "unix:/x"}, "does not exist"),
        ({"OPENAI_REGION": "a"}, "has no region"),
        ({"WORKERS_AI_ACCOUNT": "a/b"}, "letters, digits"),
        ({"CUSTOM_MINE_API_KEY": "a"}, "has no address"),
    ],
)
def test_wrong_values(env: dict[str, str], words: str) -> None:
    """A wrong value is a readable problem that names its variable."""
    env = {PREFIX + name: value for name, value in env.items()}

    with pytest.raises(ConfigError) as raised:
        provider_settings(env, FIELDS)

    (problem,) = raised.value.problems
    assert words in problem
    assert next(iter(env)) in problem
    assert "hidden" not in problem


def test_what_only_some_providers_need() -> None:
    """Region, project, account and version are read for the providers that use them."""
    env = {
        "HEADRACE_PROVIDER_AWS_BEDROCK_REGION": "eu-central-1",
        "HEADRACE_PROVIDER_GOOGLE_VERTEX_AI_PROJECT": "p",
        "HEADRACE_PROVIDER_WORKERS_AI_ACCOUNT": "a",
        "HEADRACE_PROVIDER_AZURE_OPENAI_API_VERSION": "2024-10-21",
    }

    found = provider_settings(env, FIELDS)

    assert ("eu-central-1", "p", "a", "2024-10-21") == (
        found["aws-bedrock"].region,
        found["google-vertex-ai"].project,
        found["workers-ai"].account,
        found["azure-openai"].api_version,
    )


def test_provider_that_the_operator_adds() -> None:
    """An address under a name of the operator's is a provider more, with its key."""
    env = {
        "HEADRACE_PROVIDER_CUSTOM_MY_HOST_BASE_URL": "http://10.0.0.1/v1",
        "HEADRACE_PROVIDER_CUSTOM_MY_HOST_API_KEY": "k",
    }

    found = provider_settings(env, FIELDS)["custom-my-host"]

    assert "http://10.0.0.1/v1" == str(found.base_url)
    assert found.api_key is not None


def test_all_problems_at_once() -> None:
    """Every problem is told, not the first alone."""
    env = {"HEADRACE_PROVIDER_OPENAI_BASE_URL": "x", "HEADRACE_PROVIDER_ANTHROPIC_BASE_URL": "y"}

    with pytest.raises(ConfigError) as raised:
        provider_settings(env, FIELDS)

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
        ((), "providers", set(PROVIDERS) - {"local"}),
        ((), "providers-local", {"local"}),
        ((), "headrace", set(PROVIDERS)),
        (("openai",), "providers", {"openai"}),
        (("local", "openai"), "headrace", {"local", "openai"}),
        (("xai", "grok", "bedrock"), "providers", {"grok", "aws-bedrock"}),
    ],
)
def test_providers_of_a_process(only: tuple[str, ...], process: str, expected: set[str]) -> None:
    """The local model has a process of its own; one process for everything serves it too."""
    assert expected == set(served_slugs(ProvidersConfig(only=only), process))


@pytest.mark.parametrize(
    ("only", "process", "expected"),
    [
        ((), "providers", True),
        ((), "headrace", True),
        ((), "providers-local", False),
        (("openai",), "providers", False),
        (("openai", "custom-mine"), "providers", True),
        (("openai", "custom"), "providers-openai", True),
    ],
)
def test_process_of_a_provider_that_the_operator_added(
    only: tuple[str, ...], process: str, *, expected: bool
) -> None:
    """One that the operator added is served beside the others, and by whoever is told to."""
    assert expected == ("custom-mine" in served_slugs(ProvidersConfig(only=only), process, ("custom-mine",)))


def test_process_of_all_that_the_operator_added() -> None:
    """`custom` stands for those alone, also where there are none."""
    only = ProvidersConfig(only=("custom",))

    assert ("custom-mine",) == served_slugs(only, "providers", ("custom-mine",))
    assert () == served_slugs(only, "providers")


@pytest.mark.parametrize(
    ("only", "process", "expected"),
    [((), "headrace", False), ((), "providers-all", False), (("local",), "providers-local", True)],
)
def test_process_without_the_local_model(only: tuple[str, ...], process: str, *, expected: bool) -> None:
    """An installation without the local model needs nothing of it, unless a process is told to serve it."""
    found = served_slugs(ProvidersConfig(only=only), process, local_model=False)

    assert expected == ("local" in found)


def test_providers_that_do_not_exist() -> None:
    """A process that is to serve an unknown provider does not start."""
    with pytest.raises(ConfigError, match="nope"):
        served_slugs(ProvidersConfig(only=("nope",)), "providers")
