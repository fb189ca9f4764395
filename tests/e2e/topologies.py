"""
How services are spread over processes, as parameters of tests.

A test that shares a stack has the topology first in its id (`test_x[split-…]`), and goes to the worker that
has that stack (`tests/conftest.py`); one that starts its own says so in its id, and goes anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fakes.stack import Topology

TOPOLOGIES: tuple[Topology, ...] = ("split", "inline")

each_topology_of_its_own = pytest.mark.parametrize("topology", TOPOLOGIES, ids="own {}".format)


@pytest.fixture(params=["inline"])
def one_topology(request: pytest.FixtureRequest) -> Topology:
    """Take the place of `topology` where it makes no difference but how services are reached."""
    topology: Topology = request.param
    return topology
