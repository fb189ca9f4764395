"""What bodies may take at the edge, all together: who is refused, and that everything is given back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import openai
import orjson
import pytest

from headrace.inference.v1 import inference_service_pb2 as pb
from headrace.inference.v1 import inference_service_pb2_grpc
from headrace.router.v1 import gateway_pb2
from kit.errors import GatewayError, Reason
from services.edge.body_room import SMALL_BYTES
from tests.fakes.edge_calls import ANSWER, BODY, CHAT
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail
from tests.fakes.provider_calls import provider_harness
from tests.fakes.realtime import FakeRealtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LONGEST: Final = 6_000
SIZE: Final = 4_000
SETTINGS: dict[str, Any] = {
    "edge_max_body_bytes": str(LONGEST),
    "edge_bodies_bytes": "10000",
    "edge_body_timeout_s": "0.4",
    "edge_whole_body_bytes": "5000",
}
NATIVE = "/v1/local/default/openai/v1/files"
DIALECTS = {
    CHAT: ("error", "type"),
    "/v1/messages": ("error", "type"),
    "/v1beta/models/openai/gpt-x:generateContent": ("error", "status"),
    "/v1/local/default": ("message",),
    NATIVE: ("message",),
}
WHOLE = orjson.dumps(BODY).ljust(SIZE)


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path, **SETTINGS) as found:
        found.provider.script = [head(), chunk(ANSWER), tail()]
        yield found


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path, **SETTINGS | {"edge_body_timeout_s": "20"}) as found:
        found.provider.script = [head(), chunk(ANSWER), tail()]
        yield found


def count(peers: Peers, name: str) -> int:
    """Read a metric of the edge."""
    return int(peers.runtime.metrics.get_sample_value(f"headrace_{name}") or 0)


async def until_held(peers: Peers, size: int) -> None:
    """Wait until so many bytes of bodies are held."""
    async with asyncio.timeout(5):
        while size != count(peers, "request_bodies_bytes"):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


class Raw:
    """A request that comes byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take its connection."""
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, bytes, Any]:
        """Read status, head and body of the answer."""
        async with asyncio.timeout(5):
            found = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(found.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(found.split()[1]), found, orjson.loads(await self.reader.readexactly(length))


@asynccontextmanager
async def sending(
    peers: Peers, body: bytes, path: str = CHAT, *, length: int | None = SIZE, token: str = TOKEN
) -> AsyncIterator[Raw]:
    """Begin a request with the beginning of its body; without a length, that is a chunk."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(peers.base.rpartition(":")[2]))
    long = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    name = "cf-aig-authorization" if path.startswith("/v1/local") else "authorization"
    lines = (f"POST {path} HTTP/1.1", "host: x", f"{name}: Bearer {token}", long, "", "")
    begun = b"%x\r\n%s\r\n" % (len(body), body) if length is None else body
    # In one write: a body that is whole comes with its headers.
    writer.write("\r\n".join(lines).encode() + begun)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_who_comes_too_much_is_refused_in_its_own_words(patient: Peers) -> None:
    """Slow clients hold what they sent; the next one is told to come back, and they go on."""
    async with sending(patient, WHOLE[:3900]) as one, sending(patient, WHOLE[:3900]) as other:
        await until_held(patient, 7800)
        for number, (path, (*to, name)) in enumerate(DIALECTS.items(), 1):
            async with sending(patient, WHOLE[:2500], path) as third:
                status, found, told = await third.answer()
            for member in to:
                told = told[member]

            assert (503, True, True) == (status, b"retry-after: 1\r" in found, b"connection: close" in found)
            assert name in told, path
            assert number == count(patient, "requests_without_room_total")
        await until_held(patient, 7800)
        for each in (one, other):
            each.writer.write(WHOLE[3900:])

        assert [200, 200] == [(await each.answer())[0] for each in (one, other)]
    await until_held(patient, 0)


async def test_who_is_still_sending_is_heard_out_for_a_moment(
    patient: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest passes by, and the connection serves the next request."""
    for name in ("_STALLED_S", "_STEP_OVER_S"):
        monkeypatch.setattr(f"services.edge.http_body.{name}", 5.0)
    async with sending(patient, WHOLE[:3900]), sending(patient, WHOLE[:3900]):
        await until_held(patient, 7800)
        async with sending(patient, WHOLE[:2500]) as raw:
            while not count(patient, "requests_without_room_total"):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0)
            raw.writer.write(WHOLE[2500:])
            status, found, _ = await raw.answer()
            raw.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")

            assert (503, False) == (status, b"connection: close" in found)
            assert b" 200 " in await asyncio.wait_for(raw.reader.readline(), 5)
        await until_held(patient, 7800)


async def test_a_length_that_is_only_claimed_takes_nothing(patient: Peers) -> None:
    """Many may say that they will send much."""
    claims = [sending(patient, b"{", length=LONGEST) for _ in range(5)]
    begun = [await each.__aenter__() for each in claims]
    await until_held(patient, 5)
    async with sending(patient, WHOLE[:1]) as raw:
        raw.writer.write(WHOLE[1:])

        assert 200 == (await raw.answer())[0]
    assert 5 == len(begun)
    for each in claims:
        await each.__aexit__(None, None, None)
    await until_held(patient, 0)


async def test_what_came_with_its_headers_takes_nothing(patient: Peers) -> None:
    """The ordinary request is answered however full the room is."""
    async with sending(patient, WHOLE[:3900]), sending(patient, WHOLE[:3900]):
        await until_held(patient, 7800)
        async with sending(patient, WHOLE) as raw:
            assert 200 == (await raw.answer())[0]
    await until_held(patient, 0)


@pytest.mark.parametrize(
    ("path", "length", "token", "rest", "status"),
    [
        (CHAT, SIZE, TOKEN, WHOLE[2000:], 200),
        (CHAT, SIZE, TOKEN, b"x" * 2000, 400),
        (CHAT, SIZE, "hr_wrong", WHOLE[2000:], 401),
        (CHAT, None, TOKEN, b"1388\r\n" + b" " * 5000 + b"\r\n", 413),
        (CHAT, SIZE, TOKEN, b"", 408),
        ("/v1/local/default", SIZE, TOKEN, WHOLE[2000:], 400),
        (NATIVE, SIZE, TOKEN, WHOLE[2000:], 200),
        (NATIVE, None, TOKEN, b"0\r\n\r\n", 200),
    ],
    ids=["answered", "no-json", "refused", "too-large", "too-slow", "universal", "native", "short-upload"],
)
async def test_room_is_given_back(
    peers: Peers, path: str, length: int | None, token: str, rest: bytes, status: int
) -> None:
    """Whatever becomes of a request, in the end it holds nothing."""
    async with sending(peers, WHOLE[:2000], path, length=length, token=token) as raw:
        await until_held(peers, 2000)
        raw.writer.write(rest)

        assert status == (await raw.answer())[0]
        await until_held(peers, 0)


async def test_room_is_given_back_by_who_goes_away(patient: Peers) -> None:
    """In the midst of a body, and while the provider is asked."""
    async with sending(patient, WHOLE[:2000]):
        await until_held(patient, 2000)
    await until_held(patient, 0)

    asked, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await gate.wait()

    patient.provider.script = [wait, head(), chunk(ANSWER), tail()]
    async with sending(patient, WHOLE[:2000]) as raw:
        await until_held(patient, 2000)
        raw.writer.write(WHOLE[2000:])
        await asyncio.wait_for(asked.wait(), 5)

        assert SIZE == count(patient, "request_bodies_bytes")
    await until_held(patient, 0)


@pytest.mark.parametrize(("size", "held"), [(16 << 10, 0), ((16 << 10) + 1, (16 << 10) + 1)])
async def test_what_comes_with_its_headers_counts_unless_it_is_short(
    tmp_path: Path, size: int, held: int
) -> None:
    """A socket gives far more than that at once, and a provider may take long."""
    gate = asyncio.Event()
    async with edge_between(tmp_path) as peers:
        peers.provider.script = [gate.wait, head(), chunk(ANSWER), tail()]
        async with sending(peers, orjson.dumps(BODY).ljust(size), length=size) as raw:
            async with asyncio.timeout(5):
                while not peers.provider.requests:  # noqa: ASYNC110 - the fake has nothing to wait for
                    await asyncio.sleep(0.005)
            found = count(peers, "request_bodies_bytes")
            gate.set()
            status, _, _ = await raw.answer()
        await until_held(peers, 0)

    assert (held, 200) == (found, status)


async def test_one_of_the_longest_fits_whatever_the_room(tmp_path: Path) -> None:
    """A longer body may be allowed without a word on how much there may be of all."""
    async with edge_between(tmp_path, edge_max_body_bytes="40000", edge_bodies_bytes="1024") as peers:
        peers.provider.script = [head(), chunk(ANSWER), tail()]
        body = orjson.dumps(BODY).ljust(40_000)
        async with sending(peers, body[:30_000], length=len(body)) as raw:
            await until_held(peers, 30_000)
            raw.writer.write(body[30_000:])
            status, _, _ = await raw.answer()

    assert 200 == status


async def test_a_call_that_outlives_its_client_holds_its_body(patient: Peers) -> None:
    """A gateway may want answers read to their end."""
    patient.router.settings["on_disconnect"] = gateway_pb2.DISCONNECT_POLICY_DRAIN
    asked, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await gate.wait()

    patient.provider.script = [wait, head(), chunk(ANSWER), tail()]
    async with sending(patient, WHOLE[:2000]) as raw:
        await until_held(patient, 2000)
        raw.writer.write(WHOLE[2000:])
        await asyncio.wait_for(asked.wait(), 5)
    while count(patient, "requests_in_flight"):  # noqa: ASYNC110 - nothing tells that its client's has ended
        await asyncio.sleep(0.005)
    left = count(patient, "request_bodies_bytes")
    gate.set()
    await until_held(patient, 0)

    assert SIZE == left


async def test_an_upload_gives_back_what_it_began_with(patient: Peers) -> None:
    """Once that is sent on, nothing of it is in memory."""
    async with sending(patient, b"x" * 3000, NATIVE, length=None) as raw:
        await until_held(patient, 3000)
        # More comes after it is known to be no short one.
        await asyncio.wait_for(patient.provider.received.wait(), 5)
        await until_held(patient, 0)
        raw.writer.write(b"3\r\nyyy\r\n0\r\n\r\n")

        assert 200 == (await raw.answer())[0]
    assert 3003 == sum(map(len, patient.provider.uploaded[0]))


async def test_the_openai_sdk_comes_back(tmp_path: Path) -> None:
    """It heeds `Retry-After`, and has its answer once there is room."""
    mib = 1 << 20
    async with edge_between(tmp_path, edge_max_body_bytes="2MiB", edge_bodies_bytes="3MiB") as peers:
        peers.provider.script = [head(), chunk(ANSWER), tail()]
        async with openai.AsyncOpenAI(base_url=f"{peers.base}/v1", api_key=TOKEN, max_retries=1) as sdk:
            async with sending(peers, b" " * (2 * mib - 1), length=2 * mib):
                await until_held(peers, 2 * mib - 1)
                asking = asyncio.ensure_future(
                    sdk.chat.completions.create(
                        model="openai/gpt-x", messages=[{"role": "user", "content": "x" * mib}]
                    )
                )
                while not count(peers, "requests_without_room_total"):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.005)
            answer = await asking

        assert (orjson.loads(ANSWER)["id"], 1) == (answer.id, count(peers, "requests_without_room_total"))
        await until_held(peers, 0)


async def test_messages_of_a_websocket(patient: Peers) -> None:
    """A message counts while its request runs; one too many is told so, and the others go on."""
    asked, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await gate.wait()

    patient.provider.script = [wait, head(), chunk(ANSWER), tail()]
    step = {"provider": "openai", "endpoint": "x", "query": {"text": "x" * 5000}}
    message = orjson.dumps({"type": "universal.create", "request": step}).decode()
    auth = {"cf-aig-authorization": f"Bearer {TOKEN}"}
    async with patient.client.ws_connect("/v1/local/default", headers=auth) as socket:
        await socket.send_str(message)
        await asyncio.wait_for(asked.wait(), 5)
        held = count(patient, "request_bodies_bytes")
        await socket.send_str(message)
        refused = orjson.loads((await socket.receive(timeout=5)).data)
        gate.set()
        answered = orjson.loads((await socket.receive(timeout=5)).data)
        await until_held(patient, 0)

    assert (len(message), 503, 1) == (held, refused["metadata"]["status"], refused["metadata"]["retryAfter"])
    assert "universal.created" == answered["type"]


async def test_a_large_message_that_finds_no_room(tmp_path: Path) -> None:
    """Its connection ends with 1013, whether it is for the gateway or for a provider."""
    mib = 1 << 20
    large = b"x" * (SMALL_BYTES + 1)
    auth = {"cf-aig-authorization": f"Bearer {TOKEN}"}
    limits: dict[str, Any] = {"edge_max_body_bytes": "2MiB", "edge_bodies_bytes": "3MiB"}
    async with (
        FakeRealtime() as upstream,
        provider_harness(upstream.url, operator_key="sk-operator-0123456789") as providers,
        edge_between(tmp_path, provider=providers.servicer, **limits) as peers,
        peers.client.ws_connect("/v1/local/default", headers=auth) as universal,
        peers.client.ws_connect("/v1/local/default/openai?model=m", headers=auth) as realtime,
    ):
        await realtime.send_bytes(large)
        assert large == await realtime.receive_bytes(timeout=5)
        await until_held(peers, 0)
        async with sending(peers, b" " * (2 * mib - 1), length=2 * mib):
            await until_held(peers, 2 * mib - 1)
            for socket in (universal, realtime):
                await socket.send_bytes(large)
            codes = [(await socket.receive(timeout=5)).data for socket in (universal, realtime)]
        await until_held(peers, 0)
        entry = await peers.entry()

    assert [1013, 1013] == codes
    assert Reason.SERVICE_UNAVAILABLE == entry.error_reason


@pytest.mark.parametrize("streamed", [False, True])
async def test_typed_messages(patient: Peers, streamed: bool) -> None:  # noqa: FBT001 - a table's column
    """They count while they run."""
    asked, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await gate.wait()

    patient.provider.script = [wait, GatewayError(Reason.UPSTREAM_ERROR, "no")]
    stub: Any = inference_service_pb2_grpc.InferenceServiceStub(patient.runtime.channel("edge"))
    text = pb.Part(text="x" * 5000)
    request = pb.ChatRequest(model="openai/gpt-x", messages=[pb.Message(role=pb.ROLE_USER, parts=[text])])

    async def ask() -> str:
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        try:
            if streamed:
                async for _ in stub.ChatStream(request, metadata=metadata):
                    pass
            else:
                await stub.Chat(request, metadata=metadata)
        except GatewayError as error:
            return error.reason
        return ""

    first = asyncio.ensure_future(ask())
    await asyncio.wait_for(asked.wait(), 5)
    held = count(patient, "request_bodies_bytes")
    second = await ask()
    gate.set()

    assert (True, "SERVICE_UNAVAILABLE", "UPSTREAM_ERROR") == (5000 < held < 6000, second, await first)
    await until_held(patient, 0)
