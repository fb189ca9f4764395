"""
Which models a provider has: the adapter knows, or the provider is asked and its answer reused for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.providers.answer import BrokenAnswerError
from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.model_list import read_model_list
from services.providers.upstream import Timeouts, UpstreamRequest

if TYPE_CHECKING:
    from kit.clock import Clock
    from services.providers.adapters.adapter import Adapter
    from services.providers.call import Exchange
    from services.providers.model_row import ModelRow
    from services.providers.upstream import Upstream

__all__ = ["ModelLists"]

_CACHED_LISTS: Final = 256
# Whoever wants the models of all providers waits for the slowest.
_MOST_S: Final = 4.0
# That long a provider that failed is not asked again, so that nobody waits for it each time.
_FAILED_S: Final = 10.0
# Parsing more than this would keep everybody else waiting.
_LONG_LIST_BYTES: Final = 1 << 20


class ModelLists:
    """
    The lists of models of all providers. Whoever wants the same one at the same time waits for one question.

    Args:
        upstream: Where providers are asked.
        timeouts: Of such a question, which takes a few seconds at most.
        reuse_s: How long an answer is reused.
        clock: The time.
    """

    def __init__(self, upstream: Upstream, timeouts: Timeouts, *, reuse_s: float, clock: Clock) -> None:
        self._upstream = upstream
        self._timeouts = Timeouts(
            connect_s=min(_MOST_S, timeouts.connect_s),
            first_byte_s=min(_MOST_S, timeouts.first_byte_s),
            idle_s=min(_MOST_S, timeouts.idle_s),
            total_s=min(_MOST_S, timeouts.total_s),
        )
        self._reuse_s = reuse_s
        self._clock = clock
        self._found: OrderedDict[bytes, tuple[float, list[ModelRow] | GatewayError]] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[list[ModelRow]]] = {}

    async def of(self, adapter: Adapter) -> list[ModelRow]:
        """
        Return the models of a provider; empty when it takes a credential that there is not.

        Raises:
            GatewayError: the provider could not be asked.
        """
        known = await adapter.models()
        if known is not None:
            return known
        if not adapter.provider.lists_models:
            return []
        target = NativeTarget(method="GET", path="models", query=adapter.provider.models_query)
        call = Call(model="", dialect=ClientDialect.NATIVE, body=b"", stream=False, headers=(), native=target)
        try:
            exchange = await adapter.exchange(call)
        except GatewayError as error:
            if error.reason is Reason.CREDENTIAL_MISSING:
                return []
            raise
        key = _key(adapter.provider.slug, exchange)
        cached = self._found.get(key)
        if cached is not None and cached[0] > self._clock.monotonic_s():
            if isinstance(cached[1], GatewayError):
                raise cached[1].with_traceback(None)
            return cached[1]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._learn(adapter, exchange, key))
            task.add_done_callback(lambda done: self._done(key, done))
        # Whoever gives up waiting does not take the list away from the others.
        return await asyncio.shield(task)

    def _done(self, key: bytes, task: asyncio.Task[list[ModelRow]]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report one that nobody waited for

    async def _learn(self, adapter: Adapter, exchange: Exchange, key: bytes) -> list[ModelRow]:
        try:
            models = await self._ask(adapter, exchange)
        except GatewayError as error:
            self._keep(key, error, min(self._reuse_s, _FAILED_S))
            raise
        self._keep(key, models, self._reuse_s)
        return models

    async def _ask(self, adapter: Adapter, exchange: Exchange) -> list[ModelRow]:
        slug = adapter.provider.slug
        answer = await self._upstream.send(
            UpstreamRequest(
                provider=slug,
                method=exchange.method,
                url=exchange.url,
                headers=exchange.headers,
                body=b"",
                timeouts=self._timeouts,
                guarded=exchange.guarded,
            )
        )
        try:
            body = await answer.read_all()
        except BrokenAnswerError as error:
            raise GatewayError(Reason.UPSTREAM_CUT, error.message, provider=slug) from error
        finally:
            answer.close()
        if answer.status != 200:
            text = f"The provider answered the question for its models with status {answer.status}."
            raise GatewayError(Reason.UPSTREAM_ERROR, text, provider=slug, status=str(answer.status))
        if len(body) > _LONG_LIST_BYTES:
            return await asyncio.to_thread(read_model_list, body, slug)
        return read_model_list(body, slug)

    def _keep(self, key: bytes, found: list[ModelRow] | GatewayError, reuse_s: float) -> None:
        if reuse_s <= 0:
            return
        self._found[key] = (self._clock.monotonic_s() + reuse_s, found)
        self._found.move_to_end(key)
        while len(self._found) > _CACHED_LISTS:
            self._found.popitem(last=False)


def _key(slug: str, exchange: Exchange) -> bytes:
    """One list for each credential, whose value is not kept."""
    text = repr((slug, str(exchange.url), sorted(exchange.headers)))
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
