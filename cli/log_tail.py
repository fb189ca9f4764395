"""
Reads the logs of gateways as one: the latest entries, and then what is recorded after them.

The management API has a log for each gateway, so a place in each is kept. What follows is asked for in the
order of recording, so that requests that end late, or that an edge had to keep for a while, are not missed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cli.api import ApiError, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cli.api import Api

__all__ = ["LogTail"]

_PER_PAGE: Final = 50
# To know again what comes twice: when the entry that was seen last is deleted, all others come anew.
_MOST_KNOWN: Final = 100_000
_LOOK_FOR_GATEWAYS_S: Final = 10.0
# No entry's id: what is recorded after an entry that is not there is everything, in the order of recording.
_BEFORE_ALL: Final = "-"


@dataclass(slots=True, kw_only=True)
class _Log:
    """The log of a gateway, and the last entry that was read of it."""

    account_id: str
    gateway_id: str
    last_id: str = _BEFORE_ALL

    @property
    def path(self) -> str:
        return path_of("accounts", self.account_id, "ai-gateway", "gateways", self.gateway_id, "logs")


class LogTail:
    """
    Gives entries as the management API shows them, with `account_id` and `gateway_id`; none twice.

    Args:
        api: The management API.
        accounts: Whose; none for all that the token may see.
        gateway_id: Only of gateways of this id; empty for all.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        api: Api,
        accounts: Sequence[str],
        gateway_id: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._accounts = accounts
        self._gateway_id = gateway_id
        self._clock = clock
        self._logs: dict[tuple[str, str], _Log] = {}
        self._looked_at = 0.0
        self._known: dict[str, None] = {}

    def latest(self, count: int) -> list[dict[str, Any]]:
        """
        Give the latest entries, oldest first.

        Raises:
            ApiError: They cannot be had.
        """
        self._look_for_gateways()
        found = [entry for log in list(self._logs.values()) for entry in self._latest_of(log, count)]
        found.sort(key=_when)
        return found[len(found) - min(count, len(found)) :]

    def newer(self) -> tuple[list[dict[str, Any]], bool]:
        """
        Give what was recorded since, a page of each gateway at most; and whether there is more already.

        Raises:
            ApiError: It cannot be had.
        """
        # The first gateway makes itself with its first request, which somebody may be waiting to see.
        if not self._logs or self._clock() - self._looked_at >= _LOOK_FOR_GATEWAYS_S:
            self._look_for_gateways()
        found: list[dict[str, Any]] = []
        more = False
        for key, log in list(self._logs.items()):
            query = {"after_id": log.last_id, "order_by_direction": "asc", "per_page": _PER_PAGE}
            try:
                page = self._api.get(log.path, query)
            except ApiError as error:
                if not error.is_missing or self._is_named:
                    raise
                del self._logs[key]  # the gateway was deleted
                continue
            last_id = page[-1]["id"] if page else log.last_id
            more = more or (len(page) == _PER_PAGE and last_id != log.last_id)
            log.last_id = last_id
            found += self._unknown(log, page)
        found.sort(key=_when)
        return found, more

    @property
    def _is_named(self) -> bool:
        """Whether just one log is meant, that has to be there."""
        return bool(self._gateway_id) and len(self._accounts) == 1

    def _latest_of(self, log: _Log, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        number = 1
        while True:
            # One more than asked for nothing: where to go on from is the latest entry even if none is shown.
            per_page = max(1, min(count, _PER_PAGE))
            page = self._api.get(log.path, {"page": number, "per_page": per_page})
            if number == 1 and page:
                log.last_id = page[0]["id"]
            found += self._unknown(log, page)
            if len(page) < per_page or len(found) >= count:
                return found
            number += 1

    def _unknown(self, log: _Log, page: list[dict[str, Any]]) -> list[dict[str, Any]]:
        new = []
        for entry in page:
            if entry["id"] not in self._known:
                self._known[entry["id"]] = None
                new.append({"account_id": log.account_id, "gateway_id": log.gateway_id, **entry})
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return new

    def _look_for_gateways(self) -> None:
        self._looked_at = self._clock()
        if self._is_named:
            self._add(self._accounts[0], self._gateway_id)
            return
        for account in self._accounts or [each["id"] for each in self._api.pages("/accounts")]:
            for gateway in self._api.pages(path_of("accounts", account, "ai-gateway", "gateways")):
                if self._gateway_id in {"", gateway["id"]}:
                    self._add(account, gateway["id"])

    def _add(self, account_id: str, gateway_id: str) -> None:
        self._logs.setdefault((account_id, gateway_id), _Log(account_id=account_id, gateway_id=gateway_id))


def _when(entry: dict[str, Any]) -> str:
    return str(entry["created_at"])
