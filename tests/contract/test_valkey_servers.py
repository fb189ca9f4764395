"""Valkey in several servers: a cluster, and one that sentinels look after."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from kit.clock import SystemClock
from kit.secret import Secret
from kit.valkey import Script, Trouble, Valkey, ValkeyError
from kit.valkey_cluster import slot_of
from kit.valkey_config import check_valkey_url, target_of
from tests.fakes.valkey_cluster import ClusterServers, SentinelServers, empty_cluster, shared_cluster
from tests.fakes.valkey_server import PATIENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
# Of the three servers' slots, in their order.
KEYS = ("{b}", "{c}", "{a}")


@asynccontextmanager
async def _open(url: Secret) -> AsyncIterator[Valkey]:
    valkey = Valkey(url, PATIENT, clock=SystemClock())
    try:
        yield valkey
    finally:
        await valkey.close()


@pytest.fixture
def own_cluster() -> Iterator[ClusterServers]:
    servers = ClusterServers()
    yield servers
    servers.remove()


@pytest.fixture
def sentinels() -> Iterator[SentinelServers]:
    servers = SentinelServers()
    yield servers
    servers.remove()


def test_slots_are_those_of_the_cluster() -> None:
    """The values that its specification gives, and the rule of braces."""
    assert 12_739 == slot_of(b"123456789")
    assert slot_of(b"user1000") == slot_of(b"{user1000}.following") == slot_of(b"x{user1000}{y}")
    assert slot_of(b"foo{}{bar}") != slot_of(b"foo{}{baz}")
    assert [0, 1, 2] == [slot_of(key.encode()) * 3 // 16_384 for key in KEYS]


async def test_commands_go_to_whoever_has_their_key() -> None:
    """Several at once, in the order in which they were asked, and scripts that a server does not know yet."""
    async with _open(empty_cluster()) as valkey:
        await valkey.check()
        assert [b"OK"] * 3 == await valkey.pipeline([("SET", key, key) for key in KEYS])
        assert [key.encode() for key in KEYS] == await valkey.pipeline([("GET", key) for key in KEYS])
        calls = [([f"{key}:n"], [number]) for number, key in enumerate((*KEYS, *KEYS), start=1)]
        assert [1, 2, 3, 5, 7, 9] == await valkey.run_each(COUNT, calls)
        with pytest.raises(ValkeyError) as caught:
            await valkey.run(Script("return redis.call('MGET', KEYS[1], KEYS[2])"), KEYS[:2])
        assert Trouble.ERROR is caught.value.trouble


async def test_a_key_that_moved_is_found() -> None:
    """While it moves, and when it has moved, without an error on the way."""
    servers = shared_cluster().servers
    key, other = "{moving}:old", "{moving}:new"
    slot = slot_of(key.encode())
    # Wherever an earlier test left it.
    first = next(each for each in servers if each.ask("GET", key).startswith(b"$-1"))
    second, third = (each for each in servers if each is not first)
    mine, its = (each.ask("CLUSTER", "MYID").splitlines()[1].decode() for each in (first, second))
    async with _open(empty_cluster()) as valkey:
        await valkey.execute("SET", key, "x")
        second.ask("CLUSTER", "SETSLOT", str(slot), "IMPORTING", mine)
        first.ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", its)

        assert [b"x", 1] == [await valkey.execute("GET", key), await valkey.run(COUNT, [other], [1])]
        first.ask("MIGRATE", "127.0.0.1", str(second.port), key, "0", "5000")
        for server in (second, first, third):
            server.ask("CLUSTER", "SETSLOT", str(slot), "NODE", its)
        assert [b"x", 2] == [await valkey.execute("GET", key), await valkey.run(COUNT, [other], [1])]


async def test_a_dead_server_takes_its_own_keys_alone(own_cluster: ClusterServers) -> None:
    """Also of what is asked in one go, and a new client gets by without it."""
    async with _open(own_cluster.url) as valkey, _open(own_cluster.url) as newcomer:
        await valkey.check()
        own_cluster.servers[0].kill()
        calls = [([key], [1]) for key in KEYS]
        found: list[object] = []
        for _ in range(6):
            found = await valkey.run_apart(COUNT, calls)
            assert isinstance(found[0], ValkeyError)
            assert not any(isinstance(each, ValkeyError) for each in found[1:])
        assert found[1:] == [6, 6]
        assert [7, 7] == await newcomer.run_each(COUNT, calls[1:])
        with pytest.raises(ValkeyError):
            await newcomer.run(COUNT, *calls[0])


async def test_the_server_that_takes_over_is_found(sentinels: SentinelServers) -> None:
    """The one before answers still, as a replica that takes no writes."""
    async with _open(sentinels.url) as valkey:
        assert 1 == await valkey.run(COUNT, ["n"], [1])
        await valkey.execute("WAIT", 1, 5000)
        sentinels.fail_over()
        sentinels.primary.until(lambda: b"role:slave" in sentinels.primary.ask("INFO", "replication"))

        assert 2 == await _again(valkey)


async def test_after_a_death_it_is_found_too(sentinels: SentinelServers) -> None:
    """Once the sentinels have noticed."""
    async with _open(sentinels.url) as valkey:
        assert 1 == await valkey.run(COUNT, ["n"], [1])
        await valkey.execute("WAIT", 1, 5000)
        sentinels.primary.kill()

        assert 2 == await _again(valkey)


async def _again(valkey: Valkey) -> int:
    async with asyncio.timeout(60):
        while True:
            try:
                return int(await valkey.run(COUNT, ["n"], [1]))
            except ValkeyError:
                await asyncio.sleep(0.05)


async def test_without_sentinels_it_is_away() -> None:
    """And nobody waits for it again and again."""
    async with _open(Secret("valkey-sentinel://127.0.0.1:1,127.0.0.1:2/ours")) as valkey:
        found = []
        for _ in range(5):
            with pytest.raises(ValkeyError) as caught:
                await valkey.check()
            found.append(caught.value.trouble)

    assert Trouble.AWAY is found[0]
    assert Trouble.PAUSED is found[-1]


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("valkey-cluster://a,b:7000", ["valkey://a:6379", "valkey://b:7000"]),
        ("valkeys-cluster://u:p@a:1,[::1]:2", ["valkeys://u:p@a:1", "valkeys://u:p@[::1]:2"]),
    ],
)
def test_a_cluster_is_its_servers(url: str, servers: list[str]) -> None:
    """Each with user and password."""
    target = target_of(Secret(url))
    check_valkey_url(Secret(url), "X")

    assert servers == [target.server(each).reveal() for each in target.addresses]
    assert "u:p" not in repr(target)


def test_sentinels_have_a_password_of_their_own() -> None:
    """Which is not the server's."""
    url = Secret("valkey-sentinel://u:p@a,b:1/ours/3?sentinel_user=s&sentinel_password=x%2Fy")
    target = target_of(url)
    check_valkey_url(url, "X")

    assert ("ours", "valkey://u:p@h:6379/3") == (target.name, target.server("h:6379").reveal())
    assert ["valkey://s:x%2Fy@a:26379", "valkey://s:x%2Fy@b:1"] == [
        target.sentinel(each).reveal() for each in target.addresses
    ]


@pytest.mark.parametrize(
    "url",
    [
        "valkey-cluster://canary:canary@",
        "valkey-cluster://canary/1",
        "valkey-cluster://canary:0",
        "valkey-cluster://canary,,b",
        "valkey-sentinel://canary",
        "valkey-sentinel://canary/name/x",
        "valkey-sentinel://canary/name?other=1",
        "unix-cluster://canary",
        "valkey-other://canary",
    ],
)
def test_what_is_no_such_address_is_refused(url: str) -> None:
    """And not repeated."""
    with pytest.raises(ValueError, match="X must be valkey://") as caught:
        check_valkey_url(Secret(url), "X")
    assert "canary" not in str(caught.value)
