"""The log as a client of the management API sees it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from tests.e2e.calls import Answer, call

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp

    from tests.fakes.stack import Stack

PAGE = 50


class LogView:
    """Reads the log of a stack's gateway."""

    def __init__(self, session: aiohttp.ClientSession, stack: Stack, *, gateway: str = "default") -> None:
        self._session = session
        self._url = stack.logs_url.replace("/gateways/default/", f"/gateways/{gateway}/")
        self._stack = stack

    async def entry(self, log_id: str, *, timeout_s: float = 15) -> dict[str, Any]:
        """Give an entry as soon as it is there: recording is off the client's path."""
        deadline = time.monotonic() + timeout_s
        while True:
            answer = await self._get(f"/{log_id}")
            if answer.status == 200:
                entry: dict[str, Any] = answer.json["result"]
                return entry
            assert time.monotonic() < deadline, f"no entry {log_id} after {timeout_s} s: {answer.body!r}"
            await asyncio.sleep(0.05)

    async def entry_of(self, event_id: str, *, timeout_s: float = 15) -> dict[str, Any]:
        """Give the entry of a request that had an event id, as soon as it is there."""
        deadline = time.monotonic() + timeout_s
        filters = orjson.dumps([{"key": "event_id", "operator": "eq", "value": [event_id]}]).decode()
        while True:
            entries: list[dict[str, Any]] = (await self.page(filters=filters))["result"]
            if entries:
                assert len(entries) == 1
                return entries[0]
            assert time.monotonic() < deadline, f"no entry of {event_id} after {timeout_s} s"
            await asyncio.sleep(0.05)

    async def payload(self, log_id: str, which: str) -> bytes:
        """Give the `request` or the `response` body of an entry that is there."""
        answer = await self._get(f"/{log_id}/{which}")
        assert answer.status == 200, answer.body
        return answer.body

    async def page(self, **parameters: str) -> dict[str, Any]:
        """Give a page of the list, newest first."""
        answer = await self._get(f"?{urlencode(parameters)}")
        assert answer.status == 200, answer.body
        page: dict[str, Any] = answer.json
        return page

    async def newest(self, count: int) -> list[dict[str, Any]]:
        """Give the newest entries, at least `count` of them if there are so many."""
        entries: list[dict[str, Any]] = []
        number = 1
        while len(entries) < count:
            page = await self.page(page=str(number), per_page=str(PAGE))
            entries.extend(page["result"])
            if len(page["result"]) < PAGE:
                break
            number += 1
        return entries

    async def with_all(
        self, log_ids: Iterable[str | None], *, among: int, timeout_s: float = 60
    ) -> list[dict[str, Any]]:
        """Give the newest entries, at least `among` of them if there are so many, once some are there."""
        wanted = set(log_ids)
        deadline = time.monotonic() + timeout_s
        while True:
            entries = await self.newest(among)
            if not (missing := wanted - {entry["id"] for entry in entries}):
                return entries
            assert time.monotonic() < deadline, f"no entries {missing} after {timeout_s} s"
            await asyncio.sleep(0.2)

    async def _get(self, path: str) -> Answer:
        return await call(self._session, self._url + path, method="GET", token=self._stack.token)
