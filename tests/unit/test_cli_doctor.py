"""What `headrace doctor` finds."""

from __future__ import annotations

import json
import resource
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from cli.doctor import machine, setup
from cli.doctor.finding import Level
from cli.doctor_command import examine
from kit.config import load
from kit.runtime_config import RuntimeConfig

if TYPE_CHECKING:
    from pathlib import Path

    from cli.doctor.finding import Finding


def has_remedy(finding: Finding) -> bool:
    """Tell whether a finding that is not fine says what to do."""
    return finding.level is Level.OK or bool(finding.remedy)


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10, 9), Level.BROKEN), ((3, 11, 0), Level.OK), ((3, 14, 1), Level.OK)]
)
def test_python(version: tuple[int, ...], level: Level) -> None:
    """Python before 3.11 is too old."""
    assert machine.check_python(version).level is level


def test_packages() -> None:
    """What cannot be imported is named."""
    assert machine.check_packages().level is Level.OK
    finding = machine.check_packages(("json", "no_such_package"))
    assert (finding.level, "no_such_package" in finding.text) == (Level.BROKEN, True)


def test_envoy(tmp_path: Path) -> None:
    """An Envoy that runs shows its version; one that does not is broken."""
    assert machine.check_envoy().text.startswith("Envoy 1.")
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\necho no GLIBC >&2\nexit 1\n")
    program.chmod(0o755)
    finding = machine.check_envoy(lambda: program)
    assert (finding.level, "no GLIBC" in finding.text) == (Level.BROKEN, True)
    assert machine.check_envoy(lambda: tmp_path / "absent").level is Level.BROKEN


@pytest.mark.parametrize(
    ("limits", "level"),
    [
        ((256, 4096), Level.NOTE),
        ((65536, 65536), Level.OK),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), Level.OK),
    ],
)
def test_open_files(limits: tuple[int, int], level: Level) -> None:
    """A low limit is worth a note."""
    assert machine.check_open_files(limits).level is level


@pytest.mark.parametrize(("year", "level"), [(1970, Level.BROKEN), (2027, Level.OK), (2150, Level.BROKEN)])
def test_clock(year: int, level: Level) -> None:
    """A clock that cannot be right is broken."""
    assert machine.check_clock(datetime(year, 6, 1, tzinfo=UTC), steady=time.monotonic).level is level


def test_token(tmp_path: Path) -> None:
    """A token that others can read is broken."""
    assert setup.check_token(tmp_path).level is Level.OK
    (tmp_path / "token").write_text("hr_x")
    (tmp_path / "token").chmod(0o644)
    assert setup.check_token(tmp_path).level is Level.BROKEN
    (tmp_path / "token").chmod(0o600)
    assert setup.check_token(tmp_path).level is Level.OK


def test_data_dir(tmp_path: Path) -> None:
    """A data directory that is there or can be made is fine; one that is a file is not."""
    assert setup.check_data_dir(tmp_path / "a" / "b").level is Level.OK
    (tmp_path / "file").write_text("")
    assert setup.check_data_dir(tmp_path / "file").level is Level.BROKEN
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    assert setup.check_data_dir(tmp_path / "open").level is Level.BROKEN


def test_run_dir(tmp_path: Path) -> None:
    """A run directory that others can enter is broken."""
    runtime = load(RuntimeConfig, {"HEADRACE_RUN_DIR": str(tmp_path / "run")})
    assert setup.check_run_dir(runtime).level is Level.OK
    runtime.run_dir.mkdir()
    runtime.run_dir.chmod(0o755)
    assert setup.check_run_dir(runtime).level is Level.BROKEN


def test_settings() -> None:
    """Every bad setting is a finding of its own."""
    findings = list(setup.check_settings({"HEADRACE_PORT": "x", "HEADRACE_NOBODY": "1"}))

    assert [finding.level for finding in findings] == [Level.BROKEN, Level.BROKEN]


async def test_every_finding_says_what_to_do(tmp_path: Path) -> None:
    """Whatever is not fine comes with a remedy."""
    findings = await examine({"HEADRACE_DATA_DIR": str(tmp_path), "HEADRACE_HOST": "203.0.113.1"})

    assert [finding for finding in findings if not has_remedy(finding)] == []
    assert sum(finding.level is Level.BROKEN for finding in findings) == 2


def test_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report for machines says the same, and the status is 1 when something is broken."""
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEADRACE_WORKERS", "none")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.stdout)

    assert (result.exit_code, report["ok"]) == (1, False)
    broken = [finding for finding in report["findings"] if finding["level"] == "broken"]
    assert "HEADRACE_WORKERS" in broken[0]["text"]
