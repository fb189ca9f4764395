"""What an answer's headers say of usage and cost."""

from __future__ import annotations

from headrace.common.v1 import usage_pb2
from services.edge.pipeline.billing import billing_headers
from services.edge.pipeline.exchange import Progress


def _headers(**known: object) -> dict[str, str]:
    return dict(billing_headers(Progress(log_id="l", event_id="e", **known)))  # type: ignore[arg-type]  # by name


def test_usage_lists_every_count_that_is_known() -> None:
    """Counts stand in the message's order, a known zero among them."""
    usage = usage_pb2.Usage(input_tokens=12, output_tokens=0, cache_read_tokens=3, estimated=True)

    assert {
        "cf-aig-usage": '{"input_tokens":12,"output_tokens":0,"cache_read_tokens":3,"estimated":true}'
    } == _headers(usage=usage)


def test_cost_is_exact() -> None:
    """Dollars with nine digits after the point, without rounding."""
    assert {"cf-aig-cost": "1.000000350"} == _headers(cost=usage_pb2.Cost(nano_usd=1_000_000_350))


def test_what_is_not_known_is_left_out() -> None:
    """No usage and no cost make no header; a cost of zero is one."""
    assert {} == _headers()
    assert {"cf-aig-cost": "0.000000000"} == _headers(cost=usage_pb2.Cost(nano_usd=0))
