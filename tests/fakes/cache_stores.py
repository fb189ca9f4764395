"""The cache's stores, each alone or as two that share what they keep, as replicas do."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from kit.clock import SystemClock
from kit.valkey import Trouble, Valkey
from services.cache.core.epochs import Scope
from services.cache.core.key import Question, derive, mark_of, scope_of, unpack
from services.cache.store import Answer, Wanted
from services.cache.store_memory import MemoryAnswerStore
from services.cache.store_valkey import ValkeyAnswerStore
from tests.fakes.valkey_cluster import empty_cluster
from tests.fakes.valkey_server import PATIENT, shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kit.secret import Secret
    from kit.valkey_config import ValkeyConfig
    from services.cache.core.key import Key
    from services.cache.store import AnswerStore, Found

__all__ = ["Stores", "key_of", "purge_of", "stores", "valkey_store"]

OPENAI = scope_of("openai")


class Stores:
    """
    Two doors to the same answers, or twice the same one.

    Args:
        one: Where tests look.
        other: Where they put.
    """

    def __init__(self, one: AnswerStore, other: AnswerStore) -> None:
        self.one = one
        self.other = other

    async def ask(self, key: Key, *, stale_s: float = 0.0, claims: bool = False) -> Found:
        """Look for an answer."""
        return await self.one.find(key, Wanted(stale_s=stale_s, claims=claims))

    async def value(self, key: Key, *, stale_s: float = 0.0) -> bytes | None:
        """Give what is kept under a key."""
        return (await self.ask(key, stale_s=stale_s)).value

    async def begin(self, key: Key) -> Key:
        """Give a key as whoever fetches the answer has it."""
        found = await self.other.find(key, Wanted(read=False))
        begun = unpack(key.pack(found.born))
        assert begun is not None
        return begun

    async def keep(
        self,
        key: Key,
        value: bytes,
        *,
        ttl_s: float = 60.0,
        stale_s: float = 0.0,
        provider: bytes = OPENAI,
    ) -> bool:
        """Fetch an answer and keep it."""
        answer = Answer(value=value, provider=provider, ttl_s=ttl_s, stale_s=stale_s)
        return await self.other.put(await self.begin(key), answer)


@asynccontextmanager
async def valkey_store(
    url: Secret,
    *,
    claim_s: float = 120.0,
    settings: ValkeyConfig = PATIENT,
    troubles: list[Trouble] | None = None,
) -> AsyncIterator[ValkeyAnswerStore]:
    """Open a store in a Valkey."""
    valkey = Valkey(url, settings, clock=SystemClock())
    noted: list[Trouble] = [] if troubles is None else troubles
    store = ValkeyAnswerStore(
        valkey,
        timeout_s=settings.timeout_s,
        claim_s=claim_s,
        trouble=noted.append,
    )
    try:
        yield store
    finally:
        await store.close()
        await valkey.close()


@asynccontextmanager
async def stores(kind: str, *, claim_s: float = 120.0) -> AsyncIterator[Stores]:
    """Open stores of a kind, `memory`, `valkey` or `cluster`, that keep the same answers."""
    async with AsyncExitStack() as stack:
        if kind == "memory":
            memory = MemoryAnswerStore(max_bytes=10**6, claim_s=claim_s, clock=SystemClock())
            yield Stores(memory, memory)
            return
        url = empty_cluster() if kind == "cluster" else shared_valkey().new_url()
        both = [await stack.enter_async_context(valkey_store(url, claim_s=claim_s)) for _ in range(2)]
        yield Stores(both[0], both[1])


def key_of(
    body: bytes = b"{}",
    *,
    account_id: str = "acme",
    gateway_id: str = "default",
    custom_key: str | None = None,
    idempotency_key: str | None = None,
) -> Key:
    """Give the key of a question."""
    question = Question(
        account_id=account_id,
        gateway_id=gateway_id,
        custom_key=custom_key,
        idempotency_key=idempotency_key,
        provider="openai",
        model="m",
        endpoint="compat/chat/completions",
        credential_digest=b"",
        body=body,
    )
    return derive(question)


def purge_of(
    account_id: str = "acme", *, gateway_id: str = "", provider: str = "", custom_key: str | None = None
) -> Scope:
    """Give what a purge is of."""
    return Scope(
        account=scope_of(account_id),
        gateway=scope_of(gateway_id) if gateway_id else b"",
        provider=scope_of(provider) if provider else b"",
        mark=b"" if custom_key is None else mark_of(gateway_id, custom_key),
    )
