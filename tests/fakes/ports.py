"""
Ports to listen on.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

__all__ = ["free_port", "free_ports"]

# Below those from which the kernel takes one for each outgoing connection, so that none is given away between
# finding it and listening on it.
_FIRST, _LAST = 15_000, 32_000
_random = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Find ports that are free now."""
    found: list[int] = []
    # All are held at once, so they differ.
    with ExitStack() as held:
        while len(found) < count:
            probe, port = held.enter_context(socket.socket()), _random.randint(_FIRST, _LAST)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


def free_port() -> int:
    """Find a port that is free now."""
    return free_ports(1)[0]
