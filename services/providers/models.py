"""
Which models a provider has: the adapter knows, or the provider is asked and its answer reused for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.providers.answer import BrokenAnswerError
from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.upstream import UpstreamRequest

if TYPE_CHECKING:
    from kit.clock import Clock
    from services.providers.adapters.adapter import Adapter, ModelRow
    from services.providers.call import Exchange
    from services.providers.upstream import Timeouts, Upstream

__all__ = ["ModelLists"]

# The longest list in use (an aggregator's) has some hundreds of entries.
_MOST: Final = 5000
_CACHED_LISTS: Final = 256
_LIST: Final = NativeTarget(method="GET", path="v1/models", query="")
# Anthropic's list comes in pages; this is the longest page.
_ANTHROPIC_LIST: Final = NativeTarget(method="GET", path="v1/models", query="limit=1000")


class ModelLists:
    """
    The lists of models of all providers.

    Args:
        upstream: Where providers are asked.
        timeouts: Of such a question.
        reuse_s: How long an answer is reused.
        clock: The time.
    """

    def __init__(self, upstream: Upstream, timeouts: Timeouts, *, reuse_s: float, clock: Clock) -> None:
        self._upstream = upstream
        self._timeouts = timeouts
        self._reuse_s = reuse_s
        self._clock = clock
        self._found: OrderedDict[bytes, tuple[float, list[ModelRow]]] = OrderedDict()

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
        target = _ANTHROPIC_LIST if adapter.provider.api == "anthropic" else _LIST
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
            return cached[1]
        models = await self._ask(adapter, exchange)
        self._keep(key, models)
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
        return await asyncio.to_thread(_read, body, slug) if len(body) > 1 << 20 else _read(body, slug)

    def _keep(self, key: bytes, models: list[ModelRow]) -> None:
        if self._reuse_s <= 0:
            return
        self._found[key] = (self._clock.monotonic_s() + self._reuse_s, models)
        self._found.move_to_end(key)
        while len(self._found) > _CACHED_LISTS:
            self._found.popitem(last=False)


def _key(slug: str, exchange: Exchange) -> bytes:
    """One list for each credential, whose value is not kept."""
    text = repr((slug, str(exchange.url), sorted(exchange.headers)))
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def _read(body: bytes, slug: str) -> list[ModelRow]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    # OpenAI and Anthropic wrap the list, some providers of OpenAI's API do not.
    rows = document.get("data") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's list of models is none.", provider=slug)
    names = [row["id"] for row in rows[:_MOST] if isinstance(row, dict) and isinstance(row.get("id"), str)]
    return [(name, None) for name in names]
