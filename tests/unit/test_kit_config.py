"""Settings from the environment: what is accepted, what is refused and in which words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from kit.config import ConfigError, DynamicSetting, Secret, describe, load, masked, required, setting, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpConfig:
    PREFIX: ClassVar[str] = "HEADRACE_PUMP_"

    name: str = setting("main", "Name of the pump.")
    count: int = setting(2, "How many there are.", at_least=1, at_most=8)
    speed: float = setting(1.5, "How fast they turn.", at_least=0)
    running: bool = setting(False, "Whether they turn.")
    blueprint: Path = setting(Path("plan.txt"), "Drawing of the pump.")
    valves: tuple[str, ...] = setting((), "Valves that it has.")
    mode: Literal["push", "pull"] = setting("push", "Which way it works.")
    max_bytes: int = setting(64 << 20, "Longest message.")
    owner: str | None = setting(None, "Whose it is.")
    key: Secret | None = setting(None, "Key of the pump.", secret=True)
    data_dir: Path = setting(Path(".headrace"), "Where files are.", env="HEADRACE_DATA_DIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class StrictConfig:
    url: str = required("Address of the store. There is no default.", env="HEADRACE_STORE_URL")
    low: int = setting(1, "Low mark.", env="HEADRACE_LOW")
    high: int = setting(2, "High mark.", env="HEADRACE_HIGH")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"HEADRACE_LOW must not be above HEADRACE_HIGH, but is {self.low}")


ACCEPTED: list[tuple[str, str, str, object]] = [
    ("HEADRACE_PUMP_NAME", " spare ", "name", "spare"),
    ("HEADRACE_PUMP_NAME", "", "name", "main"),
    ("HEADRACE_PUMP_COUNT", "8", "count", 8),
    ("HEADRACE_PUMP_SPEED", "0", "speed", 0.0),
    ("HEADRACE_PUMP_SPEED", "2.25", "speed", 2.25),
    ("HEADRACE_PUMP_RUNNING", "Yes", "running", True),
    ("HEADRACE_PUMP_RUNNING", "0", "running", False),
    ("HEADRACE_PUMP_BLUEPRINT", "/tmp/plan", "blueprint", Path("/tmp/plan")),
    ("HEADRACE_PUMP_VALVES", "a, b,,c", "valves", ("a", "b", "c")),
    ("HEADRACE_PUMP_MODE", "PULL", "mode", "pull"),
    ("HEADRACE_PUMP_MAX_BYTES", "2MiB", "max_bytes", 2 << 20),
    ("HEADRACE_PUMP_MAX_BYTES", "512", "max_bytes", 512),
    ("HEADRACE_PUMP_OWNER", "me", "owner", "me"),
    ("HEADRACE_DATA_DIR", "/data", "data_dir", Path("/data")),
]


@pytest.mark.parametrize(("variable", "text", "field", "expected"), ACCEPTED)
def test_value_is_read(variable: str, text: str, field: str, expected: object) -> None:
    """A well-formed variable becomes a value of the field's type."""
    config = load(PumpConfig, {variable: text})

    assert expected == getattr(config, field)


REFUSED = [
    ("HEADRACE_PUMP_COUNT", "9", "must be a whole number from 1 to 8, but is '9'"),
    ("HEADRACE_PUMP_COUNT", "two", "must be a whole number from 1 to 8, but is 'two'"),
    ("HEADRACE_PUMP_COUNT", "1.5", "must be a whole number from 1 to 8, but is '1.5'"),
    ("HEADRACE_PUMP_SPEED", "-1", "must be a number of at least 0, but is '-1'"),
    ("HEADRACE_PUMP_SPEED", "nan", "must be a number of at least 0, but is 'nan'"),
    ("HEADRACE_PUMP_SPEED", "inf", "must be a number of at least 0, but is 'inf'"),
    ("HEADRACE_PUMP_RUNNING", "maybe", "must be true or false, but is 'maybe'"),
    ("HEADRACE_PUMP_MODE", "both", "must be one of push, pull, but is 'both'"),
    ("HEADRACE_PUMP_MAX_BYTES", "1TB", "must be a number of bytes (such as 1048576 or 1MiB), but is '1TB'"),
]


@pytest.mark.parametrize(("variable", "text", "problem"), REFUSED)
def test_bad_value_is_named(variable: str, text: str, problem: str) -> None:
    """A malformed variable is refused in one line: its name, what would be right, what it is."""
    with pytest.raises(ConfigError) as caught:
        load(PumpConfig, {variable: text})

    assert (f"{variable} {problem}",) == caught.value.problems


def test_all_problems_are_reported_at_once() -> None:
    """An operator with three mistakes sees three lines, not the first one three times."""
    env = {"HEADRACE_PUMP_COUNT": "x", "HEADRACE_PUMP_SPEED": "x", "HEADRACE_PUMP_MODE": "x"}

    with pytest.raises(ConfigError) as caught:
        load(PumpConfig, env)

    assert list(env) == [line.split()[0] for line in caught.value.problems]


@pytest.mark.parametrize("env", [{}, {"HEADRACE_STORE_URL": "  "}])
def test_required_setting_must_be_there(env: dict[str, str]) -> None:
    """A setting without a default that is absent or blank is a problem that says what it is for."""
    with pytest.raises(ConfigError) as caught:
        load(StrictConfig, env)

    assert ("HEADRACE_STORE_URL is not set: Address of the store.",) == caught.value.problems


def test_class_checks_fields_together() -> None:
    """A ValueError of a config class's own check is a problem like any other."""
    env = {"HEADRACE_STORE_URL": "x", "HEADRACE_LOW": "3"}

    with pytest.raises(ConfigError) as caught:
        load(StrictConfig, env)

    assert ("HEADRACE_LOW must not be above HEADRACE_HIGH, but is 3",) == caught.value.problems


def test_secret_is_never_shown(tmp_path: Path) -> None:
    """A secret reveals itself only when asked, wherever its text came from."""
    (tmp_path / "key").write_text("s3cret\n")
    direct = load(PumpConfig, {"HEADRACE_PUMP_KEY": "s3cret"})
    from_file = load(PumpConfig, {"HEADRACE_PUMP_KEY_FILE": str(tmp_path / "key")})

    assert direct.key == from_file.key
    assert direct.key is not None
    assert "s3cret" == direct.key.reveal()
    assert "s3cret" not in f"{direct} {direct!r} {direct.key} {direct.key!r} {masked(direct)}"


def _secret_file_cases() -> list[tuple[bytes | None, str]]:
    return [
        (None, "cannot be read: No such file or directory"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "must be text in UTF-8"),
        (b"x" * 70_000, "is longer than 65536 bytes"),
    ]


@pytest.mark.parametrize(("content", "problem"), _secret_file_cases())
def test_bad_secret_file_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """A secret's file that is no use is refused with the reason and without its content."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load(PumpConfig, {"HEADRACE_PUMP_KEY_FILE": str(path)})

    assert (f"HEADRACE_PUMP_KEY_FILE: the file {path} {problem}",) == caught.value.problems


def test_secret_twice_is_a_problem() -> None:
    """A secret given both directly and as a file is refused: which one counts would be a guess."""
    with pytest.raises(ConfigError, match="are both set"):
        load(PumpConfig, {"HEADRACE_PUMP_KEY": "a", "HEADRACE_PUMP_KEY_FILE": "b"})


def test_masked_shows_only_what_was_changed() -> None:
    """The start-up log line holds settings that differ from their defaults, secrets as a mask."""
    config = load(PumpConfig, {"HEADRACE_PUMP_COUNT": "3", "HEADRACE_PUMP_KEY": "s3cret"})

    assert {"HEADRACE_PUMP_COUNT": "3", "HEADRACE_PUMP_KEY": "***"} == masked(config)


PROVIDER = DynamicSetting(prefix="HEADRACE_PROVIDER_", suffix="_BASE_URL", doc="Upstream.")

UNKNOWN = [
    ("HEADRACE_PUMP_COUNTS", "Did you mean HEADRACE_PUMP_COUNT?"),
    ("HEADRACE_DATADIR", "Did you mean HEADRACE_DATA_DIR?"),
    ("HEADRACE_PROVIDER_OPENAI_BASEURL", "Did you mean HEADRACE_PROVIDER_OPENAI_BASE_URL?"),
    ("HEADRACE_PROVIDER_AZURE_OPENAI_BASE_URI", "Did you mean HEADRACE_PROVIDER_AZURE_OPENAI_BASE_URL?"),
    ("HEADRACE_QQQQ", "See docs/configuration.md."),
]


@pytest.mark.parametrize(("variable", "hint"), UNKNOWN)
def test_unknown_variable_is_found(variable: str, hint: str) -> None:
    """A HEADRACE_* variable that nothing declares is a problem, with the likely intention."""
    assert [f"{variable} is not a setting of Headrace. {hint}"] == unknown(
        {variable: "x"}, [PumpConfig], [PROVIDER]
    )


@pytest.mark.parametrize(
    "variable",
    [
        "PATH",
        "OTEL_SDK_DISABLED",
        "HEADRACE_DATA_DIR",
        "HEADRACE_PUMP_KEY_FILE",
        "HEADRACE_PROVIDER_AZURE_OPENAI_BASE_URL",
    ],
)
def test_known_variable_passes(variable: str) -> None:
    """Declared variables, secrets' files, members of a family and others' variables are no problem."""
    assert [] == unknown({variable: "x"}, [PumpConfig], [PROVIDER])


def test_family_needs_a_middle() -> None:
    """The name of a family without its free part is not a member."""
    assert not PROVIDER.matches("HEADRACE_PROVIDER_BASE_URL")


def test_describe_gives_defaults_as_written() -> None:
    """The reference shows each default in the form in which an operator would write it."""
    defaults = {entry.env: entry.default_text for entry in describe(PumpConfig)}

    assert "64MiB" == defaults["HEADRACE_PUMP_MAX_BYTES"]
    assert "false" == defaults["HEADRACE_PUMP_RUNNING"]
    assert "1.5" == defaults["HEADRACE_PUMP_SPEED"]
    assert "" == defaults["HEADRACE_PUMP_OWNER"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlainSecret:
    key: str = setting("", "Not wrapped.", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Undeclared:
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OddType:
    key: dict[str, str] | None = setting(None, "No such type.")


@pytest.mark.parametrize("cls", [_PlainSecret, _Undeclared, _OddType])
def test_defective_class_is_refused(cls: type[Any]) -> None:
    """A config class that would leak a secret or cannot be read fails for every environment."""
    with pytest.raises(TypeError):
        load(cls, {})
