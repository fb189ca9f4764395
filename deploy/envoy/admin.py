"""What is asked of Envoy's admin socket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit.probe import ask

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Activity", "Admin"]

# The listeners of clients, by their prefix in the configuration; Envoy counts our own questions too.
_ACTIVE: Final = re.compile(
    r"^http\.(?:https?|http3|grpcs?)\.downstream_(rq|cx)_active: (\d+)$", re.MULTILINE
)
_OK: Final = 200
_PARENT: Final = re.compile(r"^server\.parent_connections: (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """
    What clients have going on.

    Attributes:
        requests: Requests and streams that run.
        connections: Connections, with those that are idle.
        old_connections: Connections of the Envoy before this one, during a hot restart.
    """

    requests: int
    connections: int
    old_connections: int


class Admin:
    """
    Envoy's admin interface.

    Args:
        socket: Its path.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def epoch(self) -> int | None:
        """Say how many Envoys were before the one that takes requests; None while none does."""
        answer = await ask(self._socket, "/server_info")
        info = answer.json() if answer.status == _OK else None
        if not isinstance(info, dict) or info.get("state") != "LIVE":
            return None
        return int(info["command_line_options"]["restart_epoch"])

    async def say_unready(self) -> bool:
        """
        Have it say that it is not ready, and ask clients to connect elsewhere with each answer.

        Returns:
            Whether it heard.
        """
        return (await ask(self._socket, "/healthcheck/fail", method="POST")).status == _OK

    async def refuse_connections(self) -> bool:
        """
        Have it take no new connection; what runs goes on, and so does what watches it.

        Returns:
            Whether it heard.
        """
        return (await ask(self._socket, "/drain_listeners?inboundonly", method="POST")).status == _OK

    async def activity(self) -> Activity | None:
        """Say what is going on; None when it does not answer."""
        answer = await ask(self._socket, "/stats?filter=_active$|parent_connections$")
        if answer.status != _OK:
            return None
        text = answer.body.decode(errors="replace")
        sums = {"rq": 0, "cx": 0}
        for kind, number in _ACTIVE.findall(text):
            sums[kind] += int(number)
        old = _PARENT.search(text)
        return Activity(
            requests=sums["rq"], connections=sums["cx"], old_connections=int(old[1]) if old else 0
        )
