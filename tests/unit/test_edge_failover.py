"""What the attempts used whose words a client has, and what a request used in all."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.common.v1 import usage_pb2
from kit.errors import GatewayError, Reason
from services.edge.pipeline.failover import spent_so_far
from services.edge.pipeline.record import summed
from services.edge.pipeline.relay import Broken
from services.edge.splice.dialects import observe
from services.edge.splice.verdict import Dialect, Spent


def _broken(spent: Spent | None = None) -> Broken:
    error = GatewayError(Reason.UPSTREAM_CUT, "cut")
    return Broken(error, sent=observe(Dialect.CHAT), spent=spent or Spent())


def _usage(given: int | None = None, made: int | None = None) -> usage_pb2.Usage:
    return usage_pb2.Usage(input_tokens=given, output_tokens=made)


@pytest.mark.parametrize(
    ("broken", "before", "usage", "expected"),
    [
        (_broken(), None, _usage(7, 3), Spent(input_tokens=7, output_tokens=3)),
        (_broken(), None, None, Spent()),
        (_broken(), None, _usage(7), Spent(input_tokens=7)),
        # It went on from what was there: its words come on top.
        (_broken(Spent(input_tokens=7, output_tokens=3)), _broken(Spent(input_tokens=7, output_tokens=3)),
         _usage(9, 4), Spent(input_tokens=7, output_tokens=7)),
        # It wrote everything itself.
        (_broken(), _broken(Spent(input_tokens=7, output_tokens=3)), _usage(9, 4),
         Spent(input_tokens=7, output_tokens=4)),
    ],
)  # fmt: skip
def test_what_the_words_cost_that_a_client_has(
    broken: Broken, before: Broken | None, usage: Any, expected: Spent
) -> None:
    """The input is the first attempt's, the output that of all whose words stayed."""
    assert expected == spent_so_far(broken, before, usage)


def test_counts_are_added_up() -> None:
    """What one attempt does not know is known as far as the others told, and an estimate stays one."""
    total = summed([_usage(7, 3), usage_pb2.Usage(output_tokens=2, estimated=True, cache_read_tokens=1)])
    expected = usage_pb2.Usage(input_tokens=7, output_tokens=5, cache_read_tokens=1, estimated=True)

    assert expected == total
