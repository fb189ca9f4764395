"""
What holds for every test: no network but loopback, reproducible property-based tests, and which tests share a
worker.

Warnings are errors (`filterwarnings` in pyproject.toml).
"""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdist.remote import Producer

    from kit.database_location import Location

LOOPBACK = "127.0.0.1,::1"
# A test that shares the stack of a topology; see tests/e2e/topologies.py.
SHARED_STACK = re.compile(r"^tests/e2e/.*\[(split|inline)[-\]]")
# Tests that share a stack of their module.
STACK_OF_MODULE = "tests/e2e/test_openapi.py"

# Times are not asserted, and a test run leaves no file behind in the source tree.
# CI takes the same examples each time, so that a change is not blamed for what it did not do; everybody else
# takes new ones with each run.
hypothesis.settings.register_profile(
    "headrace",
    deadline=None,
    database=None,
    print_blob=True,
    derandomize="CI" in os.environ,
    # Fewer than usual: there are many such tests, and every run of everybody takes other examples.
    max_examples=20,
)
hypothesis.settings.load_profile("headrace")


def pytest_collection_finish() -> None:
    """
    Let the garbage collector pass over what all tests share: modules, tests, parameters.

    It is most of what there is, and to look through it again and again takes a tenth of the whole run.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Restrict sockets before pytest-socket reads its options, however pytest was called."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has its background jobs ignore Ctrl-C, and so would all that they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.option.allow_hosts = LOOPBACK
    config.option.allow_unix_socket = True


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Undo what a test sets up for the log: a process has one, and a worker runs many tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A new place for a service's tables, in each kind of database."""
    from kit.database_location import sqlite_file
    from tests.fakes.postgres import shared_postgres

    if request.param == "sqlite":
        return sqlite_file(tmp_path / "databases" / "service.db")
    return shared_postgres().new_schema()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """Address of a new database in a real PostgreSQL, for processes that a test starts."""
    from tests.fakes.postgres import shared_postgres

    server = shared_postgres()
    url = server.new_database()
    yield url
    server.drop_database(url)


class StackScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """
    Keeps tests that share a stack on one worker, and those of one file elsewhere.

    What `--dist loadgroup` and `xdist_group` are for; but pytest-xdist 3.8 writes groups where pytest 9.2 no
    longer reads them, and schedules as if there were none.
    """

    def _split_scope(self, nodeid: str) -> str:
        if shared := SHARED_STACK.search(nodeid):
            return f"e2e-{shared[1]}"
        # These all share one rehearsal.
        if nodeid.startswith("tests/rehearsal/"):
            return "rehearsal"
        # Tests with a stack of their own take long: each is a piece of work by itself.
        # These all read the whole tree, which one worker has to do once.
        if nodeid.startswith("tests/repo/"):
            return "repo"
        alone = nodeid.startswith("tests/e2e/") and not nodeid.startswith(STACK_OF_MODULE)
        return nodeid if alone else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> StackScheduling | None:
    """Choose which worker runs which tests."""
    return StackScheduling(config, log) if config.getvalue("dist") in {"load", "loadgroup"} else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the numbers that tests measured (`record_property`), which they mostly do not assert."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    left_out = {
        str(report.longrepr[2])
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple) and "NOT REHEARSED" in report.longrepr[2]
    }
    if left_out:
        terminalreporter.section("THE DEPLOYMENT WAS NOT REHEARSED", sep="!")
        for reason in sorted(left_out):
            terminalreporter.line(reason)
    measured = [
        f"{report.nodeid}: {name} = {value}"
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
    ]
    if measured:
        terminalreporter.section("measured")
        for line in measured:
            terminalreporter.line(line)
