"""Trace context when tracing is off: what came in goes out again, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from kit.telemetry.tracing import Tracing, accept_context, current_trace_id, propagation_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"


async def test_nothing_goes_out_by_itself() -> None:
    """Without an incoming trace there is none to pass on."""
    with Tracing("edge").server_span("GET /", {}) as span:
        assert span is None
        assert {} == propagation_headers()
        assert current_trace_id() is None


async def test_incoming_trace_is_passed_on_word_for_word() -> None:
    """An incoming context goes to the next hop as it came, for as long as the call is handled."""
    tracing = Tracing("edge")
    headers = {"traceparent": PARENT, "tracestate": "vendor=1,other=2"}
    with tracing.server_span("GET /", headers):
        with tracing.span("inner", "client") as inner:
            inside = propagation_headers()
        trace_id = current_trace_id()

    assert inner is None
    assert headers == inside
    assert PARENT[3:35] == trace_id
    assert {} == propagation_headers()


async def test_next_request_of_a_connection_starts_anew() -> None:
    """A connection's second request without a trace does not inherit the first one's."""
    tracing = Tracing("edge")
    accept_context({"traceparent": PARENT})
    with tracing.server_span("GET /", {}):
        inside = propagation_headers()

    assert {} == inside
    assert {"traceparent": PARENT} == propagation_headers()


async def test_concurrent_requests_keep_to_their_own() -> None:
    """Two requests that are handled at the same time do not see each other's trace."""
    tracing = Tracing("edge")

    async def handle(parent: str) -> str:
        with tracing.server_span("GET /", {"traceparent": parent}):
            await asyncio.sleep(0)
            return propagation_headers()["traceparent"]

    first, second = await asyncio.gather(handle(PARENT), handle(OTHER))

    assert (PARENT, OTHER) == (first, second)


async def test_generator_closed_elsewhere_does_no_harm() -> None:
    """A stream that is closed by another task than the one that read it leaves that task's trace alone."""
    tracing = Tracing("edge")

    async def stream() -> AsyncIterator[int]:
        with tracing.server_span("stream", {"traceparent": PARENT}):
            yield 1
            yield 2

    running = stream()
    await anext(running)

    async def close() -> dict[str, str]:
        accept_context({"traceparent": OTHER})
        await running.aclose()  # type: ignore[attr-defined]  # it is a generator
        return propagation_headers()

    assert {"traceparent": OTHER} == await asyncio.create_task(close())


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        PARENT.upper(),
        PARENT.replace("00-", "ff-", 1),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        PARENT + "\r\nx-evil: 1",
        PARENT + "-\r\nx-evil: 1",
        PARENT + "-" + "a" * 500,
        PARENT + "é",
    ],
)
def test_malformed_parent_is_dropped(parent: str) -> None:
    """What is no trace context is not passed on, least of all a second header."""
    with Tracing("edge").server_span("GET /", {"traceparent": parent}):
        assert {} == propagation_headers()


def test_later_version_is_passed_on() -> None:
    """A context of a later version of the format, with more fields, is passed on as it came."""
    parent = PARENT.replace("00-", "01-", 1) + "-more"
    with Tracing("edge").server_span("GET /", {"traceparent": parent}):
        assert {"traceparent": parent} == propagation_headers()


@pytest.mark.parametrize("state", ["a=1\r\nx-evil: 1", "a=" + "b" * 600, "ü=1"])
def test_malformed_state_is_dropped(state: str) -> None:
    """A malformed tracestate is dropped and the parent kept, as the standard says."""
    with Tracing("edge").server_span("GET /", {"traceparent": PARENT, "tracestate": state}):
        assert {"traceparent": PARENT} == propagation_headers()
