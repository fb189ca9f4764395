"""
The rehearsal that scenarios share: one start of the cluster for each run of the tests.

By default a short form runs: fewer replicas and adapters, and the scenarios without the mark `whole`. With
`--whole` all of `deploy/k8s/tests/rehearsal` runs, and every scenario. Where the machine cannot make
network namespaces the scenarios are skipped, which the end of the run says in so many words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
import pytest_asyncio

from deploy.rehearsal import reason_against

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.rehearsal.system import System

WHOLE_TIMEOUT_S = 1800
SHORT_TIMEOUT_S = 400


class Figure(Protocol):
    """Keeps and prints something that was measured."""

    def __call__(self, name: str, value: object) -> None:
        """Print it now, and again at the end of the run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the options of the rehearsal."""
    parser.addoption(
        "--few-adapters", action="store_true", help="with --whole: without adapters that nobody asks"
    )
    parser.addoption(
        "--previous", metavar="REVISION", help="the release to upgrade from; else the newest tag"
    )


def is_whole(config: pytest.Config) -> bool:
    """Tell whether everything is to be rehearsed."""
    return bool(config.getoption("whole", default=False))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give scenarios time."""
    whole = is_whole(config)
    for item in items:
        if "tests/rehearsal/" not in str(item.path):
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(WHOLE_TIMEOUT_S if whole else SHORT_TIMEOUT_S))


@pytest.fixture(scope="session")
def possible() -> None:
    """Skip where no rehearsal can run."""
    if (reason := reason_against()) is not None:
        pytest.skip(f"NOT REHEARSED: {reason}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(
    possible: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    """Give the running system that scenarios share."""
    from scripts.k8s_render import render
    from tests.rehearsal.manifests import OVERLAY, Manifests, shortened
    from tests.rehearsal.system import running

    rendered = render(OVERLAY)
    whole = is_whole(request.config)
    if not whole or request.config.getoption("few_adapters", default=False):
        rendered = shortened(rendered, replicas=2 if whole else 1)
    async with running(tmp_path_factory.mktemp("rehearsal"), Manifests(rendered=rendered)) as system:
        yield system


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Give what keeps figures for the end of the run, and prints them at once."""

    def keep(name: str, value: object) -> None:
        record_property(name, value)
        print(f"{name}: {value}", flush=True)  # noqa: T201

    return keep
