"""The table of all settings, and how `python -m services` fills the environment."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli.config import CliConfig
from deploy.envoy.config import EnvoyConfig
from kit.config import describe
from kit.database_config import DatabaseConfig
from kit.runtime_config import RuntimeConfig
from kit.valkey_config import ValkeyConfig
from services.__main__ import TARGETS, main, process_env
from services.settings import COMMAND_SETTINGS, CONFIGS, DYNAMIC_SETTINGS, SHARED, unknown_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]

PROCESSES: list[tuple[str, list[str], dict[str, str], str]] = [
    ("auth", [], {}, "auth"),
    ("edge", [], {}, "edge-0"),
    ("edge", [], {"HEADRACE_PROCESS": "edge-3"}, "edge-3"),
    ("edge", [], {"HEADRACE_PROCESS": ""}, "edge-0"),
    ("all", [], {}, "headrace"),
    ("providers", [], {}, "providers"),
    ("providers", ["local"], {}, "providers-local"),
    ("providers", ["openai", "local"], {}, "providers"),
]


@pytest.mark.parametrize(("target", "only", "env", "expected"), PROCESSES)
def test_process_has_the_name_that_peers_expect(
    target: str, only: list[str], env: Mapping[str, str], expected: str
) -> None:
    """The process's name follows from its target unless it is set."""
    assert expected == process_env(env, target, only)["HEADRACE_PROCESS"]


def test_only_becomes_a_setting() -> None:
    """`--only` is another way to write HEADRACE_PROVIDERS_ONLY."""
    assert "openai,local" == process_env({}, "all", ["openai", "local"])["HEADRACE_PROVIDERS_ONLY"]


def test_only_is_about_providers() -> None:
    """`--only` with another service is a mistake in the command line."""
    with pytest.raises(SystemExit) as caught:
        main(["auth", "--only", "local"], {})

    assert 2 == caught.value.code


def test_every_config_class_is_in_the_table() -> None:
    """A config class that the table does not know would make its own variables unknown."""
    known = {cls.__module__ for group in CONFIGS.values() for cls in group}
    paths = ROOT.glob("services/**/config.py")
    written = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}

    shared = {
        EnvoyConfig.__module__,
        RuntimeConfig.__module__,
        DatabaseConfig.__module__,
        ValkeyConfig.__module__,
    }
    assert written | shared == known


def test_owners_are_targets() -> None:
    """A service's settings are checked before it starts, so their owner has the target's name."""
    owners = set(CONFIGS) - SHARED

    assert owners <= set(TARGETS)


def test_one_variable_has_one_meaning() -> None:
    """A variable that several classes read has the same default and text in each."""
    seen: dict[str, tuple[object, str]] = {}
    for cls in (cls for group in CONFIGS.values() for cls in group):
        for entry in describe(cls):
            found = (entry.default, entry.doc)

            assert seen.setdefault(entry.env, found) == found


def test_settings_of_the_command_pass() -> None:
    """Services accept exactly those variables beyond their own that the `headrace` command reads."""
    front_door = {entry.env for entry in describe(EnvoyConfig)}
    theirs = {name for entry in describe(CliConfig) for name in entry.names}

    assert COMMAND_SETTINGS == theirs - front_door


def test_declared_variables_are_known() -> None:
    """No setting of ours is refused as unknown."""
    env = {entry.env: "x" for group in CONFIGS.values() for cls in group for entry in describe(cls)}
    env |= {f"{family.prefix}OPENAI{family.suffix}": "x" for family in DYNAMIC_SETTINGS}

    assert [] == unknown_settings(env)
    assert 1 == len(unknown_settings({"HEADRACE_NO_SUCH_THING": "1"}))


@pytest.mark.parametrize("target", TARGETS)
def test_target_has_a_build(target: str) -> None:
    """Every target that can be named can be built."""
    assert callable(importlib.import_module(f"services.{target}.app").build)


def test_reference_is_up_to_date() -> None:
    """`docs/configuration.md` is what the generator would write."""
    script = importlib.import_module("scripts.gen_config_docs")

    assert script.TARGET.read_text() == script.render()
