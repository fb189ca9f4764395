"""`headrace migrate`: what it says, what it leaves, and its exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli.__main__ import app
from services.settings import DATABASE_SERVICES
from tests.fakes.postgres import shared_postgres

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgresql"])
def data_dir(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation that was never started."""
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
    if request.param == "postgresql":
        monkeypatch.setenv("HEADRACE_DATABASE_URL", request.getfixturevalue("postgres_url"))
    return tmp_path / "data"


def _migrate(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as caught:
        app(["migrate", *arguments], prog_name="headrace")
    return int(caught.value.code or 0), capsys.readouterr().err.splitlines()


def test_it_brings_everything_up_to_date_once(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A check tells what is to do and does nothing; afterwards nothing is to do."""
    to_do, told = _migrate(capsys, "--check")
    assert 1 == to_do
    assert [f"{name}: " for name in DATABASE_SERVICES] == [line.partition(" ")[0] + " " for line in told[:3]]
    assert "headrace: The tables are not up to date: run `headrace migrate`." == told[-1]
    assert not data_dir.exists()

    done, told = _migrate(capsys)
    assert (0, [f"{name}: from nothing to " for name in DATABASE_SERVICES]) == (
        done,
        [line[: line.rindex(" ") + 1] for line in told],
    )

    for arguments in (["--check"], []):
        again, told = _migrate(capsys, *arguments)
        assert (0, [f"{name}: up to date, " for name in DATABASE_SERVICES]) == (
            again,
            [line[: line.rindex(" ") + 1] for line in told],
        )


def test_a_database_that_is_not_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the password, and after no longer than the settings say."""
    url = shared_postgres().url.replace(":@", ":canary@").replace("/postgres?", "/nothing_of_that_name?")
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEADRACE_DATABASE_URL", url)
    monkeypatch.setenv("HEADRACE_DATABASE_START_WAIT_S", "0")
    code, told = _migrate(capsys)

    assert 1 == code
    assert 'did not answer within 0 s: database "nothing_of_that_name" does not exist' in told[-1]
    assert "canary" not in str(told)


def test_settings_that_are_wrong_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code that wrong settings have everywhere."""
    monkeypatch.setenv("HEADRACE_DATABASE_URL", "mysql://db/d")
    code, told = _migrate(capsys)

    assert 2 == code
    assert told[0].startswith("headrace: HEADRACE_DATABASE_URL must be postgresql://")
