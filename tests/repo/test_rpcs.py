"""Every RPC of the protos is called, by name, in a test that goes over real gRPC."""

from __future__ import annotations

import re

import pytest

from kit.rpc.again import REPEATABLE
from tests.repo.protos import rpcs
from tests.repo.tree import python_files, text


def calls() -> dict[str, str]:
    """Return the tests that go over real gRPC, by path."""
    return {
        str(path): text(path)
        for path in python_files("tests")
        if path.parts[-2] in {"integration", "e2e"} and path.name.startswith("test_")
    }


@pytest.mark.parametrize(("service", "rpc"), [pytest.param(*pair, id="/".join(pair)) for pair in rpcs()])
def test_every_rpc_is_called(service: str, rpc: str) -> None:
    """Some integration or end-to-end test holds the service's stub and calls the RPC."""
    stub = f"{service.rpartition('.')[2]}Stub"
    called = re.compile(rf"\.{rpc}(?:\.with_call)?\(")

    assert [] != [path for path, source in calls().items() if stub in source and called.search(source)]


def test_what_is_called_again_exists() -> None:
    """A misspelt path would never be called again; nor may one be that promises to do something once."""
    known = {f"/{service}/{rpc}" for service, rpc in rpcs()}

    assert set() == REPEATABLE - known - {"/grpc.health.v1.Health/Check"}
    assert "/headrace.provider.v1.ProviderService/Invoke" not in REPEATABLE
