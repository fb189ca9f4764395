"""
The stored keys that auth gives out, in memory for as long as auth says and not a moment longer.

A request costs auth nothing as long as an answer holds. Changes there void answers here at once, and while
auth is away they go on for their grace.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headrace.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, credential_pb2, credential_pb2_grpc
from kit.background import going_on
from kit.decisions import DecisionCache, Fetched
from kit.providers import CUSTOM_PREFIX, SLUGS, canonical, is_custom
from kit.secret import Secret
from services.providers.credentials import DEFAULT_ALIAS
from services.providers.key_pool import StoredKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc.aio

    from headrace.common.v1 import caller_pb2, lifetime_pb2

__all__ = ["Keyring", "StoredKeys"]

# What aliases look like; what does not is nobody's.
_ALIAS: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# How long a key may outlive the time that auth gave it.
_PURGE_EVERY_S: Final = 5.0
_PERIOD_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKeys:
    """
    What an account has for a gateway, a provider and an alias.

    Attributes:
        keys: Of that alias.
        aliases: That there are, sorted.
        unified: The account may use the operator's keys.
    """

    keys: tuple[StoredKey, ...] = ()
    aliases: tuple[str, ...] = ()
    unified: bool = False


class Keyring:
    """
    Finds stored keys.

    Args:
        auth: Channel to auth.
        timeout_s: Longest wait for it.
        capacity: Most answers kept.
        log: Where changes of the watch are told.
    """

    def __init__(self, auth: grpc.aio.Channel, *, timeout_s: float, capacity: int, log: Any) -> None:
        self._credentials = credential_pb2_grpc.CredentialServiceStub(auth)
        self._auth = auth_service_pb2_grpc.AuthServiceStub(auth)
        self._timeout_s = timeout_s
        self._decisions: DecisionCache[tuple[str, str, str, str], StoredKeys] = DecisionCache(
            capacity=capacity, log=log
        )

    @property
    def heard(self) -> bool:
        """True once auth has been heard of: before that, nobody's key is found."""
        return self._decisions.heard

    async def find(self, caller: caller_pb2.Caller, provider: str, alias: str) -> StoredKeys:
        """
        Return the stored keys for a call.

        Raises:
            GatewayError: SERVICE_UNAVAILABLE or another; auth cannot say.
        """
        known = bool(not alias or _ALIAS.fullmatch(alias))
        asked = alias if alias and known else DEFAULT_ALIAS
        found = await self._resolve(caller, provider, asked)
        bare = provider.removeprefix(CUSTOM_PREFIX) if is_custom(provider) else ""
        # Some clients name an account's own provider without what stands before it in URLs. A name that is a
        # provider's as well must not bring that one's keys to another's address.
        if bare and not found.keys and canonical(bare) not in SLUGS:
            other = await self._resolve(caller, bare, asked)
            found = StoredKeys(
                keys=other.keys,
                aliases=tuple(sorted({*found.aliases, *other.aliases})),
                unified=found.unified,
            )
        return found if known else StoredKeys(aliases=found.aliases, unified=found.unified)

    async def report(self, request: credential_pb2.ReportKeysRequest) -> None:
        """
        Tell auth how keys were taken.

        Raises:
            GatewayError: It cannot be told.
        """
        await self._credentials.ReportKeys(request, timeout=self._timeout_s)

    @asynccontextmanager
    async def following(self, *each: Callable[[], None]) -> AsyncIterator[None]:
        """
        Follow auth's changes, and forget what is too old, while the context is open.

        Args:
            *each: Called as often as old answers are looked for.
        """
        async with going_on(
            self._decisions.follow(self._watch), _every(_PURGE_EVERY_S, (self._decisions.purge, *each))
        ):
            yield

    async def _resolve(self, caller: caller_pb2.Caller, provider: str, alias: str) -> StoredKeys:
        key = (caller.account_id, caller.gateway_id, provider, alias)
        found = self._decisions.fresh(key)
        if found is not None:
            return found

        async def fetch() -> Fetched[StoredKeys]:
            request = credential_pb2.ResolveCredentialRequest(
                account_id=key[0], gateway_id=key[1], provider=provider, alias=alias
            )
            answer = await self._credentials.ResolveCredential(request, timeout=self._timeout_s)
            return Fetched(_read(answer), answer.lifetime)

        return await self._decisions.get(key, fetch)

    async def _watch(self) -> AsyncIterator[lifetime_pb2.Invalidation]:
        async for event in self._auth.Watch(auth_service_pb2.WatchRequest()):
            yield event.invalidation


async def _every(pause_s: float, calls: tuple[Callable[[], None], ...]) -> None:
    while True:
        await asyncio.sleep(pause_s)
        for call in calls:
            call()


def _read(answer: credential_pb2.ResolveCredentialResponse) -> StoredKeys:
    return StoredKeys(
        keys=tuple(
            StoredKey(
                id=key.id,
                secret=Secret(key.secret),
                weight=max(1, key.weight),
                rate_limit=key.rate_limit or None,
                period_s=key.rate_limit_period.ToNanoseconds() / 1e9 or _PERIOD_S,
            )
            for key in answer.keys
        ),
        aliases=tuple(answer.aliases),
        unified=answer.unified,
    )
