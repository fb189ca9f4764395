"""
Answers in Valkey, shared by all caches that use it.

Nobody waits for a Valkey that is away, slow or full: whatever goes wrong is a miss, and everybody fetches for
himself. What is kept says nothing about whose it is or what was asked but the answer itself: names are
digests.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from kit.errors import GatewayError, Reason
from kit.valkey import Trouble, ValkeyError
from services.cache.core.epochs import MOST_EPOCHS
from services.cache.core.lifetime import MAX_TTL_S
from services.cache.store import Found
from services.cache.valkey_scripts import FIND, PURGE, PUT, RELEASE, RENEW
from services.cache.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from kit.valkey import Valkey
    from services.cache.core.epochs import Scope
    from services.cache.core.key import Key
    from services.cache.store import Answer, Claim, Wanted

__all__ = ["ValkeyAnswerStore"]

_DAY_MS: Final = 86_400_000
# Longer than any answer is kept.
_PURGES_MS: Final = int(2 * MAX_TTL_S * 1000) + _DAY_MS
# How often it is looked whether an answer that others wait for has come: soon at first, then less often.
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.25
_PAUSES_GROW: Final = 1.5
# What a large answer takes on the way to Valkey, on top of an exchange's usual time.
_BYTES_PER_S: Final = 50_000_000
# A longer one is fetched by an exchange of its own, which may take as long as it needs: one that always came
# too late would look like a server that is away.
_LONG_BYTES: Final = 500_000
# Of a claim's name, which no two caches may give to two claims on a key.
_ID_BITS: Final = 63


class ValkeyAnswerStore:
    """
    Keeps answers in a Valkey.

    Args:
        valkey: The server; closed by whoever opened it.
        timeout_s: How long an exchange with it may take.
        claim_s: How long a claim lasts.
        trouble: Told what went wrong, each time.
    """

    def __init__(
        self, valkey: Valkey, *, timeout_s: float, claim_s: float, trouble: Callable[[Trouble], None]
    ) -> None:
        self._valkey = valkey
        self._timeout_s = timeout_s
        self._claim_ms = int(claim_s * 1000)
        self._trouble = trouble
        # The same lookup at the same time is one exchange. By digest, since a change ends all of a question.
        self._finding: dict[bytes, dict[tuple[bytes, Wanted], asyncio.Task[Found]]] = {}
        self._waiting = Waiting()
        self._looking: dict[bytes, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def find(self, key: Key, wanted: Wanted) -> Found:
        """Look for an answer, and claim it when it is not there; nothing is claimed when cancelled."""
        same = self._finding.setdefault(key.digest, {})
        asked = (key.request, wanted)
        task = same.get(asked)
        is_first = task is None
        if task is None:
            task = same[asked] = self._begin(self._find(key, wanted))
            task.add_done_callback(lambda done: self._found(key.digest, asked, done))
        try:
            found = await asyncio.shield(task)
        except asyncio.CancelledError:
            if is_first and wanted.claims:
                task.add_done_callback(lambda done: self._give_back(key, done))
            raise
        # Of those who asked together, one has the claim.
        if is_first or not found.claimed:
            return found
        return replace(found, claimed=False, taken=True, claim_id=0)

    async def changed(self, key: Key, left_s: float) -> None:
        """Wait until there may be something new about a key that is taken, or for so long."""
        if key.digest not in self._looking:
            task = self._looking[key.digest] = self._begin(self._look(key))
            task.add_done_callback(lambda _: self._looked(key))
        try:
            await self._waiting.wait(key.digest, left_s)
        finally:
            if key.digest not in self._waiting and (looking := self._looking.get(key.digest)):
                looking.cancel()

    async def put(self, key: Key, answer: Answer) -> bool:
        """Keep an answer in place of any earlier one, and end the claim; false when it is not kept."""
        arguments = (
            key.gateway.hex(),
            key.request,
            key.mark.hex(),
            key.born,
            answer.provider.hex(),
            int(answer.ttl_s * 1000),
            int(answer.stale_s * 1000),
            _PURGES_MS,
            answer.value,
        )
        timeout_s = self._timeout_s + len(answer.value) / _BYTES_PER_S
        try:
            return bool(await self._valkey.run(PUT, _keys(key), arguments, timeout_s=timeout_s))
        except ValkeyError as error:
            self._trouble(error.trouble)
            return False
        finally:
            self._wake(key)

    async def release(self, key: Key) -> None:
        """End the claim on a key."""
        try:
            await self._valkey.run(RELEASE, (_keys(key)[2],), (key.born,))
        except ValkeyError as error:
            self._trouble(error.trouble)
        finally:
            self._wake(key)

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """
        Let claims last for their time again, and say which are still there.

        Where Valkey does not say, they are: it has them for a while, and may be back by the next time.
        """
        kept = [True] * len(claims)
        # One script runs where one account's keys are.
        by_account: dict[bytes, list[int]] = {}
        for place, claim in enumerate(claims):
            by_account.setdefault(claim.key.account, []).append(place)
        try:
            answers = await self._valkey.run_apart(
                RENEW, [self._renewal([claims[place] for place in places]) for places in by_account.values()]
            )
        except ValkeyError as error:
            self._trouble(error.trouble)
            return kept
        for places, answer in zip(by_account.values(), answers, strict=True):
            if isinstance(answer, ValkeyError):
                self._trouble(answer.trouble)
                continue
            for place, is_there in zip(places, answer, strict=True):
                kept[place] = bool(is_there)
        return kept

    def _renewal(self, claims: Sequence[Claim]) -> tuple[list[str], list[int]]:
        """Give the keys and arguments of the script for claims of one account."""
        numbers = [number for claim in claims for number in (claim.key.born, claim.id)]
        return [_keys(claim.key)[2] for claim in claims], [self._claim_ms, *numbers]

    async def purge(self, scope: Scope) -> None:
        """
        Forget answers, and those that are being fetched now.

        Raises:
            GatewayError: SERVICE_UNAVAILABLE; it could not be done.
        """
        try:
            await self._valkey.run(PURGE, (_base(scope.account),), (_field(scope), MOST_EPOCHS, _PURGES_MS))
        except ValkeyError as error:
            self._trouble(error.trouble)
            raise GatewayError(
                Reason.SERVICE_UNAVAILABLE, "The store of answers cannot be reached.", retry_after_s=1.0
            ) from None
        self._finding.clear()

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _find(self, key: Key, wanted: Wanted) -> Found:
        claim_id = secrets.randbits(_ID_BITS) if wanted.claims else 0
        arguments = (
            key.gateway.hex(),
            key.request,
            key.mark.hex(),
            int(wanted.read),
            int(wanted.stale_s * 1000),
            self._claim_ms if wanted.claims else 0,
            _PURGES_MS,
            _LONG_BYTES,
            claim_id,
        )
        try:
            born, state, *rest = await self._valkey.run(FIND, _keys(key), arguments)
            value = rest[0] if rest else None
            if isinstance(value, int):
                value = await self._long(key, value)
        except ValkeyError as error:
            self._trouble(error.trouble)
            return Found(born=0, claimed=wanted.claims and wanted.read)
        if state == b"full":
            self._trouble(Trouble.FULL)
        return Found(
            born=int(born),
            value=value,
            stale=value is not None and state != b"fresh",
            claimed=state == b"claimed" or (state == b"full" and wanted.claims and wanted.read),
            taken=state == b"taken",
            claim_id=claim_id if state == b"claimed" else 0,
            conflict=state == b"conflict",
        )

    async def _long(self, key: Key, length: int) -> bytes | None:
        """Fetch a long value; None when it has gone meanwhile."""
        timeout_s = self._timeout_s + length / _BYTES_PER_S
        found: bytes | None = await self._valkey.execute("HGET", _keys(key)[1], "v", timeout_s=timeout_s)
        return found

    async def _look(self, key: Key) -> None:
        """Wake those who wait for a key once its claim is over."""
        claim, pause_s = _keys(key)[2], _FIRST_PAUSE_S
        try:
            await asyncio.sleep(pause_s)
            while await self._valkey.execute("EXISTS", claim):
                pause_s = min(pause_s * _PAUSES_GROW, _LONGEST_PAUSE_S)
                await asyncio.sleep(pause_s)
        except ValkeyError as error:
            self._trouble(error.trouble)

    def _looked(self, key: Key) -> None:
        self._looking.pop(key.digest, None)
        self._wake(key)

    def _wake(self, key: Key) -> None:
        # Whoever asks from now on is not told what others were told before.
        self._finding.pop(key.digest, None)
        self._waiting.wake(key.digest)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _found(self, digest: bytes, asked: tuple[bytes, Wanted], done: asyncio.Task[Found]) -> None:
        same = self._finding.get(digest, {})
        if same.get(asked) is done:
            del same[asked]
            if not same:
                del self._finding[digest]

    def _give_back(self, key: Key, done: asyncio.Task[Found]) -> None:
        if not done.cancelled() and done.exception() is None and done.result().claimed:
            _ = self._begin(self.release(replace(key, born=done.result().born)))


def _base(account: bytes) -> str:
    return f"hr:a:{{{account.hex()}}}"


def _keys(key: Key) -> tuple[str, str, str]:
    """Give the names in Valkey: purges, answer, claim."""
    base, digest = _base(key.account), key.digest.hex()
    return base, f"{base}:e:{digest}", f"{base}:c:{digest}"


def _field(scope: Scope) -> str:
    """Give what a purge is noted under."""
    parts = (("g", scope.gateway), ("p", scope.provider), ("k", scope.mark))
    return ":".join(f"{kind}:{value.hex()}" for kind, value in parts if value) or "a"
