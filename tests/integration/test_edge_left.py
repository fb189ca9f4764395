"""What a stream is counted with whose client leaves: all that came, to the last piece."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.common.v1 import usage_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.router.v1 import gateway_pb2, router_service_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import AUTH, BODY, CHAT
from tests.fakes.peers import chunk, edge_between, head
from tests.fakes.provider_calls import provider_harness
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headrace.ledger.v1 import log_entry_pb2
    from tests.fakes.peers import Peers

DELTAS = (1, 4, 15, 16, 17, 30)
CAP = Duration(nanos=50_000_000)
POLICIES: dict[str, dict[str, Any]] = {
    "cancel": {},
    "drain with a cap": {
        "on_disconnect": gateway_pb2.DISCONNECT_POLICY_DRAIN, "drain_timeout": CAP,
    },
    "drain": {"on_disconnect": gateway_pb2.DISCONNECT_POLICY_DRAIN},
}  # fmt: skip
NATIVE = "/v1/local/default"
PROMPT = [{"role": "user", "content": "Hello?"}]
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}
STREAMED = {**BODY, "stream": True}


def _call(dialect: str) -> tuple[str, dict[str, Any]]:
    """Give path and body of a stream."""
    asked = {"model": "m", "messages": PROMPT, "stream": True}
    match dialect:
        case "openai":
            return f"{NATIVE}/openai/chat/completions", asked
        case "openai, in no format that is read":
            return f"{NATIVE}/openai/completions", {"model": "m", "prompt": "Hello?", "stream": True}
        case "anthropic":
            return f"{NATIVE}/anthropic/v1/messages", {**asked, "max_tokens": 100}
        case "gemini":
            path = "google-ai-studio/v1beta/models/m:streamGenerateContent?alt=sse"
            return f"{NATIVE}/{path}", GEMINI
        case _:
            provider = dialect.removeprefix("compat ")
            return CHAT, {**asked, "model": f"{provider}/m"}


async def _left(peers: Peers, dialect: str, steer: str, event_id: str, *, after: int | None) -> None:
    """Ask, and leave after so many deltas; None: stay until the provider breaks off."""
    path, body = _call(dialect)
    headers = {
        "cf-aig-authorization": AUTH["authorization"], "cf-aig-event-id": event_id,
        "x-fake": f"words=40; {steer}",
    }  # fmt: skip
    async with peers.client.post(path, json=body, headers=headers) as answer:
        assert 200 == answer.status
        got = b""
        try:
            while after is None or b"w%d" % (after - 1) not in got:
                data = await answer.content.readany()
                if not data:
                    break
                got += data
        except (OSError, aiohttp.ClientError):
            assert after is None
        answer.close()


def _used(entry: log_entry_pb2.LogEntry) -> tuple[int, int, bool]:
    usage = entry.usage
    return usage.input_tokens, usage.output_tokens, usage.estimated


@asynccontextmanager
async def _edge(tmp_path: Path, *, over_grpc: bool = False) -> AsyncIterator[Peers]:
    async with (
        FakeUpstream() as upstream,
        provider_harness(upstream.url, operator_key="sk-operator-0123456789") as providers,
        edge_between(tmp_path, provider=providers.servicer, over_grpc=over_grpc) as peers,
    ):
        yield peers


@pytest.mark.parametrize(
    ("dialect", "over_grpc"),
    [
        ("openai", False),
        ("openai, in no format that is read", False),
        ("anthropic", False),
        ("gemini", False),
        ("compat openai", False),
        ("compat anthropic", False),
        ("compat google-ai-studio", False),
        ("anthropic", True),
    ],
)
async def test_as_if_the_provider_had_broken_off(tmp_path: Path, dialect: str, over_grpc: bool) -> None:  # noqa: FBT001 - a table's column
    """Whoever ends a stream after so many deltas, and whatever the policy is, the same is counted."""
    async with _edge(tmp_path, over_grpc=over_grpc) as peers:
        for policy, settings in POLICIES.items():
            peers.router.settings |= {"on_disconnect": gateway_pb2.DISCONNECT_POLICY_UNSPECIFIED} | settings
            # Those who drain without a cap need a provider that ends.
            ending = "cut={}" if policy == "drain" else "stall={}"
            calls = [
                _left(
                    peers, dialect, ending.format(deltas), f"{policy} {deltas}",
                    after=1 if policy == "drain" else deltas,
                )
                for deltas in DELTAS
            ]  # fmt: skip
            await asyncio.gather(*calls)
            peers.router.settings.pop("drain_timeout", None)
        await asyncio.gather(*(_left(peers, dialect, f"cut={n}", f"cut {n}", after=None) for n in DELTAS))
        entries = await peers.entries(len(DELTAS) * (len(POLICIES) + 1))

    used = {entry.event_id: _used(entry) for entry in entries}
    expected = {f"{kind} {n}": used[f"cut {n}"] for kind in (*POLICIES, "cut") for n in DELTAS}
    assert expected == used
    assert list(DELTAS) == [used[f"cut {n}"][1] for n in DELTAS]


async def _of_silence(peers: Peers, *, leaves: bool) -> tuple[log_entry_pb2.LogEntry, Any]:
    """Ask a provider that says nothing, until the client has enough of it, or our own time is over."""
    asked = asyncio.Event()

    async def say_nothing() -> None:
        asked.set()
        if not leaves:
            raise GatewayError(Reason.UPSTREAM_TIMEOUT, "The provider was silent for too long.")
        await asyncio.Event().wait()

    peers.provider.script = [say_nothing]
    asking = asyncio.ensure_future(peers.client.post(CHAT, json=STREAMED, headers=AUTH))
    await asyncio.wait_for(asked.wait(), 5)
    if leaves:
        asking.cancel()
    await asyncio.wait([asking])
    [settlement] = await peers.settlements(1)
    return await peers.entry(), settlement


@pytest.mark.parametrize("leaves", [True, False])
async def test_nothing_came(tmp_path: Path, leaves: bool) -> None:  # noqa: FBT001 - a table's column
    """Nothing is counted, in the log and in limits, whoever has had enough of a provider's silence."""
    async with edge_between(tmp_path) as peers:
        peers.router.limited = True
        entry, settlement = await _of_silence(peers, leaves=leaves)

    assert (False, False) == (entry.HasField("usage"), entry.HasField("cost"))
    assert settlement.HasField("tokens")
    assert settlement.HasField("nano_usd")
    assert (0, 0) == (settlement.tokens, settlement.nano_usd)


@pytest.mark.parametrize("policy", ["cancel", "drain with a cap"])
async def test_limits_count_what_the_log_says(tmp_path: Path, policy: str) -> None:
    """The output that came since the last report counts for both."""
    told = usage_pb2.Usage(input_tokens=1000, estimated=True)
    parts = [pb.Chunk(data=b"data: 1\n\n", usage=told), pb.Chunk(data=b"data: 2\n\n", output_tokens=7)]
    async with edge_between(tmp_path) as peers:
        peers.router.limited = True
        peers.router.steps = [router_service_pb2.Step(provider="openai", model="gpt-4o")]
        peers.router.settings |= POLICIES[policy]
        peers.provider.script = [
            head(200, "text/event-stream"), *(pb.InvokeResponse(chunk=part) for part in parts),
            asyncio.Event().wait,
        ]  # fmt: skip
        answer = await peers.client.post(CHAT, json=STREAMED, headers=AUTH)
        got = b""
        while b"2" not in got:
            got += await answer.content.readany()
        answer.close()
        [settlement] = await peers.settlements(1)
        entry = await peers.entry()

    assert (1000, 7, True) == _used(entry)
    assert (1007, entry.cost.nano_usd) == (settlement.tokens, settlement.nano_usd)
    assert entry.cost.nano_usd > 0


async def test_an_answer_of_no_known_format(tmp_path: Path) -> None:
    """Something came, and nobody knows what it used: the log has no cost, and what was reserved counts."""
    async with edge_between(tmp_path) as peers:
        peers.router.limited = True
        peers.provider.script = [head(200, "text/event-stream"), chunk(b"1"), asyncio.Event().wait]
        answer = await peers.client.post(CHAT, json=STREAMED, headers=AUTH)
        await answer.content.readany()
        answer.close()
        [settlement] = await peers.settlements(1)
        entry = await peers.entry()

    assert (False, False) == (entry.HasField("cost"), settlement.HasField("nano_usd"))
