"""Secrets of new tokens, which nobody has twice: none is lost in silence, whatever fails."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any, Final

import pytest
from typer.testing import CliRunner

from cli import apply_command, token_command
from cli.__main__ import app
from cli.api import ApiError
from cli.manifest import carry_out
from tests.fakes.management import FakeManagement, running_management

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE: Final = """\
version: 1
accounts:
  - tokens:
      - name: first-app
        write_to: app.token
"""
SHOWN: Final = """\
version: 1
accounts:
  - tokens:
      - name: first-app
      - name: second-app
"""


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeManagement]:
    """A management API that the command line finds."""
    with running_management() as running:
        monkeypatch.setenv("HEADRACE_URL", running.url)
        monkeypatch.setenv("HEADRACE_TOKEN", "hr_ownownownown_" + "s" * 43)
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
        yield running


def names(management: FakeManagement) -> list[str]:
    """Give the names of the tokens that there are."""
    return [each["name"] for each in management.kept("local/tokens")]


def apply(directory: Path, text: str, *options: str) -> Any:
    """Apply a text."""
    path = directory / "headrace.yaml"
    path.write_text(text)
    return CliRunner().invoke(app, ["apply", "-f", str(path), *options])


def full(*_: Any, **__: Any) -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_that_cannot_be_written(
    management: FakeManagement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token whose secret could not be kept is revoked again, and that is said; nothing lies about."""
    monkeypatch.setattr(os, "fsync", full)
    result = apply(tmp_path, FILE)

    assert (1, ["first"]) == (result.exit_code, names(management))
    assert (
        f"{tmp_path}/app.token cannot be written: No space left on device. The token was revoked"
        in result.stderr
    )
    assert ["headrace.yaml"] == sorted(each.name for each in tmp_path.iterdir())


def test_a_token_that_cannot_be_revoked_again(
    management: FakeManagement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is told, with what to do about it; its secret is not."""
    monkeypatch.setattr(os, "fsync", full)
    management.refuse["DELETE accounts/local/tokens"] = (503, "away", [])
    result = apply(tmp_path, FILE)
    [token_id] = [each["id"] for each in management.kept("local/tokens") if each["name"] == "first-app"]

    assert 1 == result.exit_code
    assert f"`headrace token revoke {token_id}`" in result.stderr
    assert f"hr_{token_id}" not in result.output


def test_an_interrupt_while_it_is_written(
    management: FakeManagement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the wrong moment leaves no token that nobody has."""

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    result = apply(tmp_path, FILE)

    assert 0 != result.exit_code
    assert ["first"] == names(management)
    assert "token first-app" in result.stderr


def test_no_answer(management: FakeManagement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token may have been made although nobody said so, which is told."""

    def lost(self: Any, path: str, body: Any) -> Any:
        raise ApiError("It does not answer.")

    monkeypatch.setattr("cli.api.Api.post", lost)
    result = apply(tmp_path, FILE)

    assert 1 == result.exit_code
    assert "It may be there all the same" in result.stderr
    assert ["headrace.yaml"] == sorted(each.name for each in tmp_path.iterdir())


def test_each_secret_is_printed_as_it_is_made(management: FakeManagement, tmp_path: Path) -> None:
    """What comes after the first token fails, and its secret is out."""
    answer = management.answer

    def second_fails(method: str, path: str, body: Any, query: Any) -> Any:
        if method == "POST" and body["name"] == "second-app":
            return 400, [{"code": 7001, "message": "no such luck"}]
        return answer(method, path, body, query)

    management.answer = second_fails  # type: ignore[method-assign]  # fails half-way
    result = apply(tmp_path, SHOWN, "--show-secrets")
    told = apply(tmp_path, SHOWN.replace("first", "another"), "--show-secrets", "--json")
    report = json.loads(told.stdout)

    assert (1, 1) == (result.exit_code, told.exit_code)
    assert any(line.startswith("hr_token") for line in result.stdout.splitlines())
    assert (False, "no such luck") == (report["applied"], report["error"])
    assert ["second-app"] == [each["name"] for each in report["changes"] if not each["done"]]
    assert ["another-app"] == [*report["secrets"]]


def test_scripts_get_the_secrets_of_what_was_interrupted(
    management: FakeManagement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is printed however the command ends."""
    make = carry_out.CarryOut.make

    def interrupted(self: carry_out.CarryOut, step: Any) -> None:
        if step.name == "second-app":
            raise KeyboardInterrupt
        make(self, step)

    monkeypatch.setattr(carry_out.CarryOut, "make", interrupted)
    result = apply(tmp_path, SHOWN, "--show-secrets", "--json")
    report = json.loads(result.stdout)

    assert 0 != result.exit_code
    assert (["first-app"], False, "It was interrupted.") == (
        [*report["secrets"]], report["applied"], report["error"],
    )  # fmt: skip


def test_a_secret_that_cannot_be_printed(
    management: FakeManagement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk behind the output is one like any other."""
    monkeypatch.setattr(apply_command, "hand_over", full)
    result = apply(tmp_path, SHOWN, "--show-secrets")

    assert (1, ["first"]) == (result.exit_code, names(management))
    assert "the output cannot be written: No space left on device. The token was revoked" in result.stderr


def test_a_new_token_that_cannot_be_printed(
    management: FakeManagement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`headrace token create` takes it back."""
    monkeypatch.setattr(token_command, "hand_over", full)
    result = CliRunner().invoke(app, ["token", "create", "--name", "app"])

    assert (1, ["first"]) == (result.exit_code, names(management))
    assert "so it was revoked again" in result.stderr


def test_a_rolled_token_that_cannot_be_printed(
    management: FakeManagement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`headrace token roll` cannot take anything back, and says so."""
    monkeypatch.setattr(token_command, "hand_over", full)
    result = CliRunner().invoke(app, ["token", "roll", "ownownownown", "--yes"])

    assert 1 == result.exit_code
    assert "nobody has it. Roll it again." in result.stderr
