"""A provider that fails and recovers, again and again, behind a route with something else to try."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.calls import call, chat_body

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from tests.e2e.conftest import Launch
    from tests.e2e.upstreams import Upstreams

pytestmark = pytest.mark.timeout(300)

# The provider is down for so long, then up for as long. The product's own times are a minute and more; here
# all are shorter by the same measure, so that a minute's flapping takes a few seconds.
STRETCH_S = 2.5
STRETCHES = 6
CLIENTS = 4
HEALTH = {
    "HEADRACE_ROUTER_HEALTH_WINDOW_S": "1",
    "HEADRACE_ROUTER_HEALTH_LEAST_ATTEMPTS": "4",
    "HEADRACE_ROUTER_HEALTH_PAUSE_S": "0.3",
    "HEADRACE_ROUTER_HEALTH_FAILURES_IN_A_ROW": "3",
    "HEADRACE_ROUTER_HEALTH_LONGEST_PAUSE_S": "0.6",
    "HEADRACE_ROUTER_HEALTH_SLOW_START_S": "0",
    "HEADRACE_ROUTER_ROUTE_HEALTH_REUSE_FOR_S": "0.1",
}


def _route(marker: str) -> list[dict[str, Any]]:
    down = f"+served={marker}+status=503+down={STRETCH_S * 1000:.0f}+text=first"
    models = {"m1": ("openai", f"gpt-4o{down}"), "m2": ("anthropic", f"claude-haiku-4-5+served={marker}")}
    made: list[dict[str, Any]] = [
        {"id": "s", "type": "start", "outputs": {"next": {"elementId": "m1"}}},
        {"id": "e", "type": "end", "outputs": {}},
    ]
    for name, (provider, model) in models.items():
        outputs = {"success": {"elementId": "e"}}
        if name == "m1":
            outputs["fallback"] = {"elementId": "m2"}
        properties = {"provider": provider, "model": model, "retries": 0}
        made.append({"id": name, "type": "model", "properties": properties, "outputs": outputs})
    return made


async def test_everybody_is_answered_and_the_provider_is_let_rest(
    launch: Launch,
    upstreams: Upstreams,
    session: aiohttp.ClientSession,
    record_property: Callable[[str, object], None],
) -> None:
    """Every answer is whole; while the provider is down it gets few requests, and it comes back by itself."""
    stack = launch("inline", envoy=False, **HEALTH)  # type: ignore[arg-type]  # settings, by their names
    marker = f"flap-{uuid.uuid4()}"
    base = f"{stack.base_url}/client/v4/accounts/local/ai-gateway/gateways/default/routes"
    made = await call(session, base, {"name": "flaps", "elements": _route(marker)}, token=stack.token)
    assert made.status == 200, made.body
    end_s = time.monotonic() + STRETCH_S * STRETCHES
    answered: dict[str, int] = {}
    stretches: set[int] = set()

    async def client() -> None:
        while time.monotonic() < end_s:
            body = chat_body("dynamic/flaps", marker)
            answer = await call(session, f"{stack.openai_base_url}/chat/completions", body, token=stack.token)
            assert answer.status == 200, answer.body
            assert answer.text
            provider = answer.headers["cf-aig-provider"]
            answered[provider] = answered.get(provider, 0) + 1
            if provider == "openai":
                stretches.add(int((end_s - time.monotonic()) / (2 * STRETCH_S)))
            await asyncio.sleep(0.01)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    asked = [one for one in upstreams.received(marker) if b"gpt-4o" in one.body]
    failed = len(asked) - answered["openai"]
    record_property("flapping_answered", sum(answered.values()))
    record_property("flapping_failed_attempts", failed)

    # Half of the time it was down: without a circuit, about as many requests would have met that.
    assert failed < answered["anthropic"] * 0.6
    # It was found to be well again more than once.
    assert len(stretches) >= 2
