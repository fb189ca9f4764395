"""`headrace route explain`: what it asks, and how it shows the answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from tests.fakes.management import FakeManagement, running_management

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ELEMENTS = "elements:\n  - {id: s, type: start}\n"
FOUND: dict[str, Any] = {
    "route": "support",
    "version_id": "v",
    "outcome": "answered",
    "steps": [
        {"element_id": "start", "type": "start", "output": "next", "reason": ""},
        {"element_id": "r", "type": "rate", "output": "success", "reason": "$0.5 of $1 used in 3600 s"},
        {"element_id": "m1", "type": "model", "output": "fallback", "reason": "taken to fail"},
        {"element_id": "m2", "type": "model", "output": "success", "reason": ""},
    ],
    "attempts": [
        {"element_id": "m1", "provider": "openai", "model": "a", "circuit": "half_open",
         "success_rate": 0.25, "first_byte_ms": 420, "skipped": False},
        {"element_id": "m2", "provider": "anthropic", "model": "b", "circuit": "closed",
         "success_rate": None, "first_byte_ms": None, "skipped": False},
    ],
    "limits": [
        {"element_id": "r", "rule": "", "key": "metadata.team=red", "unit": "cost", "limit": 1.0,
         "used": 0.5, "exceeded": False},
        {"element_id": "", "rule": "all", "key": "", "unit": "requests", "limit": 10.0, "used": 10.0,
         "exceeded": True},
    ],
}  # fmt: skip
SHOWN = """\
start  start  → next
r      rate   → success  ($0.5 of $1 used in 3600 s)
m1     model  openai/a  → fallback  (taken to fail)
              circuit half open, 25% of recent attempts succeeded, first byte after 420 ms
m2     model  anthropic/b  → success
Limit of element r for metadata.team=red: 0.5 of 1 USD used.
Limit of rule all: 10 of 10 requests used, none is left.
It is answered.
"""


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeManagement]:
    """A management API that the command line finds, with a route."""
    with running_management() as running:
        running.simulation = FOUND
        monkeypatch.setenv("HEADRACE_URL", running.url)
        monkeypatch.setenv("HEADRACE_TOKEN", "hr_ownownownown_" + "s" * 43)
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
        _run("route", "create", "support", "-f", "-", stdin=ELEMENTS)
        yield running


def _run(*arguments: str, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def test_a_way_is_shown_for_people(management: FakeManagement) -> None:
    """An element a line, with what was taken and why; then limits, then the end."""
    result = _run("route", "explain", "support")

    assert (0, SHOWN) == (result.exit_code, result.stdout)


def test_a_request_is_put_together_from_options(management: FakeManagement, tmp_path: Path) -> None:
    """Body as JSON or from a file, headers and metadata one by one."""
    (tmp_path / "b.json").write_text('{"user": "ann"}')
    options = [
        "-m", "team=red", "-m", "note=a=b", "-H", "x-tier: gold", "--failing", "m1", "--draw", "0.25",
        "--token", "t", "--version", "v", "--json",
    ]  # fmt: skip
    result = _run("route", "explain", "support", "-d", f"@{tmp_path / 'b.json'}", *options)
    _, path, asked = management.changes[-1]

    assert FOUND == json.loads(result.stdout)
    assert path.endswith("/simulate")
    assert {
        "body": {"user": "ann"},
        "metadata": {"team": "red", "note": "a=b"},
        "headers": {"x-tier": "gold"},
        "failing": ["m1"],
        "token_id": "t",
        "version_id": "v",
        "draw": 0.25,
    } == asked


def test_elements_that_are_not_stored(management: FakeManagement) -> None:
    """They are sent along, to a path of their own."""
    result = _run("route", "explain", "-f", "-", "-d", '{"a": 1}', stdin=ELEMENTS)
    _, path, asked = management.changes[-1]

    assert 0 == result.exit_code, result.output
    assert path.endswith("/routes/simulate")
    assert ([{"id": "s", "type": "start"}], {"a": 1}) == (asked["elements"], asked["body"])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("support", "-f", "-"),
        ("support", "-d", "{"),
        ("support", "-m", "team"),
        ("support", "-H", "=x"),
        ("support", "--draw", "2"),
    ],
)
def test_what_makes_no_sense(management: FakeManagement, arguments: tuple[str, ...]) -> None:
    """Nothing is asked then."""
    before = len(management.changes)

    assert 2 == _run("route", "explain", *arguments, stdin=ELEMENTS).exit_code
    assert before == len(management.changes)
