"""
What holds for every test: no network but loopback, reproducible property-based tests, and which tests share a
worker.

Warnings are errors (`filterwarnings` in pyproject.toml).
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from xdist.remote import Producer

    from kit.database_location import Location

LOOPBACK = "127.0.0.1,::1"
# A test that shares the stack of a topology; see tests/e2e/topologies.py.
SHARED_STACK = re.compile(r"^tests/e2e/.*\[(split|inline)[-\]]")
# Tests that share a stack of their module.
STACK_OF_MODULE = ("tests/e2e/test_openapi.py", "tests/e2e/test_two_edges.py")
# These take minutes, by themselves or together.
LONGEST = ("rehearsal", "e2e-inline", "e2e-split")

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the option that asks for everything."""
    parser.addoption(
        "--whole", action="store_true", help="run what takes long, too, and nothing in a light form"
    )


@pytest.fixture(scope="session")
def whole(pytestconfig: pytest.Config) -> bool:
    """Tell whether a test that has a light form is to run in the heavy one."""
    return bool(pytestconfig.getoption("whole"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are collected: there is little in what grows all the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


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
    # Compiled code is kept, whatever the machine prefers: hundreds of processes would each compile all that
    # they import, which is thrice the work of the rest of a start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    config.addinivalue_line("markers", "whole: what takes long, and runs with --whole only")
    config.option.allow_hosts = LOOPBACK
    config.option.allow_unix_socket = True


@pytest.fixture(scope="session", autouse=True)
def temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """
    Have a temporary directory with a short path, which goes with this process.

    pytest's own may be too long for Unix sockets; then the run directory of a test's processes is in this.
    """
    # pytest's own stay where they are, which is decided on first use.
    tmp_path_factory.getbasetemp()
    directory = tempfile.mkdtemp(prefix="hr-")
    # Let in who runs PostgreSQL when we are root. Its server, too, lives as long as this process.
    Path(directory).chmod(0o711)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", directory)
        patch.setattr(tempfile, "tempdir", directory)
        yield


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


def scope_of(nodeid: str) -> str:
    """Name the tests that one worker runs together: those of a stack, of one file elsewhere."""
    if shared := SHARED_STACK.search(nodeid):
        return f"e2e-{shared[1]}"
    # These all share one rehearsal.
    if nodeid.startswith("tests/rehearsal/"):
        return "rehearsal"
    # These all read the whole tree, which one worker has to do once.
    if nodeid.startswith("tests/repo/"):
        return "repo"
    # Tests with a stack of their own take long: each is a piece of work by itself.
    alone = nodeid.startswith("tests/e2e/") and not nodeid.startswith(STACK_OF_MODULE)
    return nodeid if alone else nodeid.partition("::")[0]


def rank_of(scope: str) -> int:
    """Tell what goes first: what takes minutes, then what takes many seconds; the small fills the end."""
    if scope in LONGEST:
        return LONGEST.index(scope)
    return len(LONGEST) + (not scope.startswith("tests/e2e/")) + scope.startswith("tests/unit/")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs with --whole only; in a worker, order tests as they are handed out."""
    for item in items:
        if item.get_closest_marker("whole") is not None and not config.getoption("whole"):
            target = "rehearse-all" if item.nodeid.startswith("tests/rehearsal/") else "test-whole"
            item.add_marker(pytest.mark.skip(reason=f"runs with --whole only: make {target}"))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank_of(scope_of(item.nodeid)))


class StackScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """
    Keeps tests that share a stack on one worker, and those of one file elsewhere.

    What `--dist loadgroup` and `xdist_group` are for; but pytest-xdist 3.8 writes groups where pytest 9.2 no
    longer reads them, and schedules as if there were none.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> StackScheduling | None:
    """Choose which worker runs which tests."""
    if config.getvalue("dist") not in {"load", "loadgroup"}:
        return None
    # Else those with most tests go first, and a single one that takes a minute last, beside idle workers.
    config.option.loadscopereorder = False
    return StackScheduling(config, log)


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
