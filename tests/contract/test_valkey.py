"""Exchanges with a real Valkey: what works, and what a full, a dead and a frozen one are."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kit.clock import SystemClock
from kit.config import ConfigError, load
from kit.secret import Secret
from kit.valkey import Script, Trouble, Valkey, ValkeyError
from kit.valkey_config import ValkeyConfig, check_valkey_url
from services.router.config import RouterConfig
from tests.fakes.stopped_clock import StoppedClock
from tests.fakes.valkey_server import PATIENT, Server, shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HASTY = ValkeyConfig(timeout_s=0.05, connect_timeout_s=0.05)
COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
WAIT = ("BLPOP", "nothing", 30)


@pytest.fixture
async def valkey() -> AsyncIterator[Valkey]:
    client = Valkey(shared_valkey().new_url(), PATIENT, clock=SystemClock())
    yield client
    await client.close()


@pytest.fixture
def own() -> Iterator[Server]:
    server = Server("--maxmemory", "6mb", "--maxmemory-policy", "noeviction")
    yield server
    server.remove()


async def _trouble(valkey: Valkey, *command: str | int) -> Trouble:
    with pytest.raises(ValkeyError) as caught:
        await valkey.execute(*(command or ("PING",)))
    return caught.value.trouble


async def test_commands_and_scripts_are_answered(valkey: Valkey) -> None:
    """In order, several at once in one round trip, and a script also when the server forgets it."""
    await valkey.check()
    assert b"OK" == await valkey.execute("SET", "a", b"\x00\xff")
    assert [b"\x00\xff", None] == await valkey.pipeline([("GET", "a"), ("GET", "b")])
    assert 2 == await valkey.run(COUNT, ["n"], [2])
    await valkey.execute("SCRIPT", "FLUSH")
    assert [5, 1] == await valkey.run_each(COUNT, [(["n"], [3]), (["m"], [1])])
    assert ([], []) == (await valkey.pipeline([]), await valkey.run_each(COUNT, []))


async def test_an_error_of_the_server_is_one_and_the_connection_goes_on(valkey: Valkey) -> None:
    """Also in the middle of others."""
    await valkey.execute("SET", "text", "x")

    assert Trouble.ERROR is await _trouble(valkey, "INCR", "text")
    with pytest.raises(ValkeyError):
        await valkey.pipeline([("INCR", "text"), ("SET", "other", "y")])
    assert b"y" == await valkey.execute("GET", "other")


async def test_who_gives_up_does_not_leave_an_answer_for_the_next_one(valkey: Valkey) -> None:
    """A connection whose answer nobody waits for is not used again."""
    for _ in range(3):
        waiting = asyncio.create_task(valkey.execute(*WAIT))
        await valkey.execute("PING")
        waiting.cancel()
        await asyncio.wait((waiting,))

    assert [b"PONG"] * 8 == await asyncio.gather(*(valkey.execute("PING") for _ in range(8)))


async def test_there_are_never_more_connections_than_allowed() -> None:
    """Others wait for their turn."""
    url = shared_valkey().new_url()
    valkey = Valkey(url, replace(PATIENT, connections=2), clock=SystemClock())
    answers = await asyncio.gather(*(valkey.run(COUNT, ["n"], [1]) for _ in range(50)))
    clients = (await valkey.execute("CLIENT", "LIST")).decode()
    await valkey.close()

    assert [*range(1, 51)] == sorted(answers)
    assert 2 == clients.count(f"db={url.reveal().rpartition('=')[2]} ")


async def test_a_dead_server_is_away_and_is_found_again(own: Server) -> None:
    """Nobody asks it for a while after it failed a few times; then one does."""
    clock = StoppedClock()
    valkey = Valkey(own.new_url(), PATIENT, clock=clock)
    await valkey.check()
    own.stop()
    found = [await _trouble(valkey) for _ in range(4)]
    own.start()
    clock.advance(0.2)
    still = await _trouble(valkey)
    clock.advance(0.1)
    await valkey.check()
    await valkey.close()

    assert [Trouble.AWAY, Trouble.AWAY, Trouble.AWAY, Trouble.PAUSED] == found
    assert Trouble.PAUSED is still


async def test_a_connection_that_the_server_closed_is_not_used(own: Server) -> None:
    """A restart between two exchanges goes unnoticed."""
    valkey = Valkey(own.new_url(), PATIENT, clock=SystemClock())
    await asyncio.gather(*(valkey.execute("PING") for _ in range(4)))
    own.stop()
    own.start()

    # The ends of the connections are heard of in the next turn of the event loop.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await valkey.check()
    await valkey.close()


async def test_a_frozen_server_is_slow(own: Server) -> None:
    """Whoever asks waits for as long as the settings say, and only the first few do."""
    clock = StoppedClock()
    valkey = Valkey(own.new_url(), HASTY, clock=clock)
    await valkey.execute("PING", timeout_s=20)
    own.freeze()
    found = [await _trouble(valkey) for _ in range(4)]
    own.thaw()
    clock.advance(1)
    await valkey.execute("PING", timeout_s=20)
    await valkey.close()

    assert {Trouble.SLOW, Trouble.AWAY} >= {*found[:3]}
    assert Trouble.PAUSED is found[3]


async def test_a_full_server_says_so(own: Server) -> None:
    """For a command and for a script; what needs no memory works on."""
    valkey = Valkey(own.new_url(), PATIENT, clock=SystemClock())
    # Large ones, and small ones for what is left beside them.
    commands = [("SET", f"k{number}", b"x" * (100_000 if number < 80 else 1000)) for number in range(400)]
    with pytest.raises(ValkeyError) as caught:
        await valkey.pipeline(commands)

    assert Trouble.FULL is caught.value.trouble
    with pytest.raises(ValkeyError) as in_script:
        await valkey.run(COUNT, ["n"], [1])
    assert Trouble.FULL is in_script.value.trouble
    assert b"x" == (await valkey.execute("GET", "k0"))[:1]
    await valkey.close()


async def test_a_server_that_another_one_takes_over_from_is_away(own: Server) -> None:
    """It takes no writes any more, in a while the other one will; what only reads goes on."""
    valkey = Valkey(own.new_url(), PATIENT, clock=SystemClock())
    await valkey.execute("SET", "a", "x")
    await valkey.execute("REPLICAOF", "127.0.0.1", "1")

    assert Trouble.AWAY is await _trouble(valkey, "SET", "a", "y")
    with pytest.raises(ValkeyError) as in_script:
        await valkey.run(COUNT, ["n"], [1])
    assert Trouble.AWAY is in_script.value.trouble
    assert b"x" == await valkey.execute("GET", "a")
    await valkey.close()


async def test_a_password_is_sent_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Neither where it is right nor where it is wrong."""
    server = Server("--requirepass", "canary-word")
    try:
        url = server.new_url().reveal()
        right = Valkey(Secret(f"{url}&password=canary-word"), PATIENT, clock=SystemClock())
        wrong = Valkey(Secret(f"{url}&password=canary-other"), PATIENT, clock=SystemClock())
        await right.check()
        with pytest.raises(ValkeyError) as caught:
            await wrong.check()
        await right.close()
        await wrong.close()
    finally:
        server.remove()

    assert Trouble.AWAY is caught.value.trouble
    assert "canary" not in f"{caught.value!r} {caught.value} {right!r} {vars(right)!r} {caplog.text}"


async def test_with_tls_the_server_is_who_it_says() -> None:
    """Its certificate is signed by somebody we trust, or nothing is said to it."""
    tls = Path(__file__).parents[1] / "fakes" / "tls"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "loopback.pem", tls / "loopback.key")
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            heard.append(data)
            writer.write(b"+PONG\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        url = Secret(f"valkeys://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        stranger = Valkey(url, PATIENT, clock=SystemClock())
        with pytest.raises(ValkeyError, match="its certificate is refused: self-signed certificate"):
            await stranger.check()
        missing = Valkey(url, replace(PATIENT, ca_file=tls / "none.pem"), clock=SystemClock())
        with pytest.raises(ValkeyError, match=r"there is no file .*none\.pem"):
            await missing.check()
        assert [] == heard
        trusting = Valkey(url, replace(PATIENT, ca_file=tls / "loopback.pem"), clock=SystemClock())
        await trusting.check()
        await trusting.close()
    assert [b"*1\r\n$4\r\nPING\r\n"] == heard


@pytest.mark.parametrize(
    "url",
    [
        "valkey://localhost", "valkey://user:word@localhost:6379/3", "valkeys://host:1", "rediss://host",
        "redis://[::1]:6379", "unix:///tmp/x.sock?db=3",
    ],
)  # fmt: skip
def test_addresses_that_are_some(url: str) -> None:
    """Plain, with TLS, and sockets."""
    check_valkey_url(Secret(url), "X")


@pytest.mark.parametrize(
    "url",
    ["", "localhost:6379", "http://host", "valkey://", "valkey://host:canary", "unix://", "valkey://h:0"],
)
def test_addresses_that_are_none_are_not_repeated(url: str) -> None:
    """They may hold a password; so in the settings of a service."""
    with pytest.raises(ValueError, match="must be valkey://") as caught:
        check_valkey_url(Secret(url), "X")
    assert "canary" not in str(caught.value)
    if url:
        with pytest.raises(ConfigError, match="HEADRACE_ROUTER_VALKEY_URL must be"):
            load(RouterConfig, {"HEADRACE_ROUTER_VALKEY_URL": url})


def test_a_certificate_needs_its_key() -> None:
    """One without the other is a mistake."""
    with pytest.raises(ConfigError, match="go together"):
        load(ValkeyConfig, {"HEADRACE_VALKEY_CERT_FILE": "/x"})
