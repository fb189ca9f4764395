"""A body that is sent on as it comes: until when it is read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from kit.errors import GatewayError
from services.edge.http_upload import HttpUpload


class Silent:
    """A request whose body does not come."""

    content_length = None

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.content = self

    async def readany(self) -> bytes:
        """Wait for ever."""
        await asyncio.Event().wait()
        return b""


async def test_closing_in_the_moment_in_which_the_time_is_up() -> None:
    """The provider's answer may come in the same turn of the loop as the end of the client's time."""
    upload = HttpUpload(cast("Any", Silent()), limit_bytes=10, idle_s=60)
    reading = asyncio.ensure_future(anext(upload.pieces()))
    await asyncio.sleep(0)
    closing = upload.close()
    failed: list[RuntimeError] = []

    def close() -> None:
        try:
            closing.send(None)
        except RuntimeError as error:
            failed.append(error)

    loop = asyncio.get_running_loop()
    assert upload._reading is not None
    upload._reading.reschedule(loop.time())
    # What is called soon after the time is up runs before whoever was reading hears of it.
    loop.call_soon(close)
    with pytest.raises(GatewayError, match="too long"):
        await reading
    closing.close()

    assert [] == failed
