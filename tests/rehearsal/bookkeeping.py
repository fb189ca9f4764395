"""
Whether the books are right after a load: log, money and limits against what clients got and what the
provider served.

    python -m tests.rehearsal.bookkeeping --url http://127.0.0.1:8080 --token-file token --gateway steady \
        --records records.jsonl --journal http://203.0.113.20:8000/journal --valkey valkey://… --report
        report.json

Everything is asked over the management API, as an operator would. It waits, for a bounded time, until the
log has come to rest, since recording is off the path of a request.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from kit.clock import SystemClock
from kit.secret import Secret
from kit.valkey import Valkey
from kit.valkey_config import ValkeyConfig
from tests.rehearsal.asking import IN_NANO_USD, INPUT_TOKENS, OUT_NANO_USD
from tests.rehearsal.outcome import read_outcomes
from tests.rehearsal.upstream import read_journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.rehearsal.outcome import Outcome
    from tests.rehearsal.upstream import Served

__all__ = ["Books", "Management", "balance", "counters"]

_NANO: Final = 1_000_000_000
_PAGE: Final = 50
_UNSETTLED_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """
    What was found; all lists are empty and both sums the same when the books are right.

    Attributes:
        gateway: Of this gateway.
        whole: Requests that were answered whole.
        failed: Requests that were not, by kind.
        entries: Entries of the log.
        missing: Markers of answers that have no entry.
        doubled: Markers that have several.
        strange: Markers of entries that nobody asked for.
        misnamed: Markers whose entry has another id than the answer said.
        mispriced: Markers of whole answers whose cost is not what they cost.
        asked_twice: Markers that the provider was asked for several times.
        logged_nano_usd: Sum of the log's costs.
        served_nano_usd: What the provider served, priced; of answers that broke off what was sent of them.
        whole_nano_usd: Of that, what clients got whole.
        counted_nano_usd: What the limits have settled; None when they were not looked at.
        reserved_nano_usd: What they still hold for requests that are over.
        unpriced: Markers of entries without a cost; the provider may have been asked for them.
    """

    gateway: str
    whole: int
    failed: dict[str, int]
    entries: int
    missing: tuple[str, ...]
    doubled: tuple[str, ...]
    strange: tuple[str, ...]
    misnamed: tuple[str, ...]
    mispriced: tuple[str, ...]
    asked_twice: tuple[str, ...]
    logged_nano_usd: int
    served_nano_usd: int
    whole_nano_usd: int
    counted_nano_usd: int | None
    reserved_nano_usd: int | None
    unpriced: tuple[str, ...]

    def faults(self) -> list[str]:
        """Say what must never be, whatever died."""
        return [
            f"{name}: {', '.join(getattr(self, name)[:5])} ({len(getattr(self, name))})"
            for name in ("missing", "doubled", "strange", "misnamed", "mispriced")
            if getattr(self, name)
        ]


class Management:
    """The management API of one account."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        token: str,
        account: str = "local",
        *,
        server_name: str | None = None,
    ) -> None:
        self._session = session
        self._server_name = server_name
        self._base = f"{url}/client/v4/accounts/{account}/ai-gateway/gateways"
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """
        Make a call that must succeed.

        Raises:
            RuntimeError: It did not.
        """
        data = None if body is None else orjson.dumps(body)
        async with self._session.request(
            method, self._base + path, data=data, headers=self._headers, server_hostname=self._server_name
        ) as answer:
            raw = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{method} {path}: {answer.status} {raw[:500].decode()}")
            return orjson.loads(raw)

    async def make_gateway(self, gateway: str, *, mode: str = "hard", limit_usd: float = 100_000) -> None:
        """Make a gateway with a limit of money that is never reached, and without a cache."""
        rule = {
            "id": "all",
            "limitType": "cost",
            "limit": limit_usd,
            "window": 30 * 86_400,
            "technique": "fixed",
            "mode": mode,
        }
        await self.call(
            "POST",
            "",
            {
                "id": gateway,
                "authentication": True,
                "cache_invalidate_on_update": False,
                "cache_ttl": 0,
                "collect_logs": True,
                "collect_payloads": False,
                "rate_limiting_interval": 0,
                "rate_limiting_limit": 0,
                "spend_limits": {"enabled": True, "rules": [rule]},
            },
        )

    async def entries(self, gateway: str) -> list[dict[str, Any]]:
        """Return all entries of a gateway's log, the oldest first."""
        found: list[dict[str, Any]] = []
        for page in range(1, 10_000):
            query = f"per_page={_PAGE}&page={page}&order_by=created_at&order_by_direction=asc"
            rows = (await self.call("GET", f"/{gateway}/logs?{query}"))["result"]
            found.extend(rows)
            if len(rows) < _PAGE:
                return found
        raise RuntimeError("there is no end of the log")


def balance(
    gateway: str,
    outcomes: Sequence[Outcome],
    entries: Iterable[dict[str, Any]],
    journal: Sequence[Served],
    counters: tuple[int, int] | None = None,
) -> Books:
    """
    Compare the books of one gateway.

    Args:
        gateway: The gateway.
        outcomes: What clients got.
        entries: Its log.
        journal: What the provider served.
        counters: What the limits have settled and still hold, in billionths of a dollar.
    """
    ours = {one.marker: one for one in outcomes if one.gateway == gateway}
    by_marker: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        by_marker.setdefault(str(entry["event_id"]), []).append(entry)
    served = [one for one in journal if one.marker in ours]
    whole = {marker: one for marker, one in ours.items() if one.kind == "whole"}
    logged = {marker: sum(map(_cost, rows)) for marker, rows in by_marker.items()}
    return Books(
        gateway=gateway,
        whole=len(whole),
        failed=dict(Counter(one.kind for one in ours.values() if one.kind != "whole")),
        entries=sum(map(len, by_marker.values())),
        missing=tuple(
            marker for marker, one in ours.items() if one.log_id is not None and marker not in by_marker
        ),
        doubled=tuple(marker for marker, rows in by_marker.items() if len(rows) > 1),
        strange=tuple(marker for marker in by_marker if marker not in ours),
        misnamed=tuple(
            marker
            for marker, one in ours.items()
            if one.log_id is not None and one.log_id not in {row["id"] for row in by_marker.get(marker, ())}
        ),
        mispriced=tuple(
            marker
            for marker, one in whole.items()
            if marker in logged and logged[marker] != _price(one.words)
        ),
        asked_twice=tuple(
            marker for marker, count in Counter(one.marker for one in served).items() if count > 1
        ),
        logged_nano_usd=sum(logged.values()),
        served_nano_usd=sum(_price(one.words_sent) for one in served),
        whole_nano_usd=sum(_price(one.words) for one in whole.values()),
        counted_nano_usd=None if counters is None else counters[0],
        reserved_nano_usd=None if counters is None else counters[1],
        unpriced=tuple(
            marker for marker, rows in by_marker.items() if any(row["cost"] is None for row in rows)
        ),
    )


def _price(words: int) -> int:
    return INPUT_TOKENS * IN_NANO_USD + words * OUT_NANO_USD


def _cost(entry: dict[str, Any]) -> int:
    return round((entry["cost"] or 0) * _NANO)


async def counters(url: str, gateway: str) -> tuple[int, int]:
    """Return what the limits of a gateway have settled and what they still hold, from Valkey itself."""
    valkey = Valkey(Secret(url), ValkeyConfig(timeout_s=20.0, connect_timeout_s=20.0), clock=SystemClock())
    used = reserved = 0
    try:
        for key in await valkey.execute("KEYS", "hr:c:*"):
            if f"/{gateway}}}:".encode() in key and await valkey.execute("TYPE", key) == b"hash":
                values = await valkey.execute("HMGET", key, "u", "p", "r", "q")
                numbers = [int(value or 0) for value in values]
                used += sum(numbers[:2])
                reserved += sum(numbers[2:])
    finally:
        await valkey.close()
    return used, reserved


async def settle(options: argparse.Namespace, session: aiohttp.ClientSession, gateway: str) -> Books:
    """Return the books of a gateway once they are right, or as they are when time is over."""
    management = _management(options, session)
    began_s = time.monotonic()
    while True:
        async with session.get(options.journal) as answer:
            journal = read_journal(await answer.read())
        held = await counters(options.valkey, gateway) if options.valkey else None
        entries = await management.entries(gateway)
        books = balance(gateway, read_outcomes(options.records), entries, journal, held)
        unsettled = books.reserved_nano_usd or books.counted_nano_usd not in {None, books.logged_nano_usd}
        # What an edge held that died is settled by nobody, so that is not waited for as long.
        patience_s = options.patience_s if books.faults() else min(options.patience_s, _UNSETTLED_S)
        if not (books.faults() or unsettled) or time.monotonic() > began_s + patience_s:
            return books
        await asyncio.sleep(0.5)


def _management(options: argparse.Namespace, session: aiohttp.ClientSession) -> Management:
    token = options.token_file.read_text().strip()
    return Management(session, options.url, token, options.account, server_name=options.server_name)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare log, money and limits with what was asked and served."
    )
    parser.add_argument(
        "--make", choices=("hard", "soft"), help="make the gateways instead, with such a limit"
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--server-name")
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--account", default="local")
    parser.add_argument("--gateway", action="append", required=True)
    parser.add_argument("--records", type=Path)
    parser.add_argument("--journal", default="")
    parser.add_argument("--valkey", default="")
    parser.add_argument("--patience-s", type=float, default=60.0)
    parser.add_argument("--report", type=Path)
    return parser.parse_args()


async def _main() -> None:
    options = _options()
    connector = aiohttp.TCPConnector(
        ssl=ssl.create_default_context(cafile=str(options.ca)) if options.ca else True
    )
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        if options.make:
            for gateway in options.gateway:
                await _management(options, session).make_gateway(gateway, mode=options.make)
            return
        books = [await settle(options, session, gateway) for gateway in options.gateway]
    options.report.write_bytes(orjson.dumps([asdict(one) for one in books], option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    asyncio.run(_main())
