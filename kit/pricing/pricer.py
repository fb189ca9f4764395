"""Which rule gives the cost of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.common.v1 import usage_pb2
from kit.pricing.cost import Custom, Tokens, custom_cost, table_cost
from kit.providers import LOCAL

if TYPE_CHECKING:
    from headrace.ledger.v1 import log_entry_pb2
    from kit.pricing.table import PriceTable

__all__ = ["Pricer"]


class Pricer:
    """
    Sets costs.

    Args:
        table: Listed prices.
        log: Where requests are told whose cost cannot be worked out.
    """

    def __init__(self, table: PriceTable, *, log: Any) -> None:
        self._table = table
        self._log = log

    async def ready(self) -> None:
        """Have the table read, which the first price otherwise waits for."""
        await self._table.loaded()

    def cost(
        self,
        *,
        provider: str,
        models: tuple[str, ...],
        usage: usage_pb2.Usage | None,
        custom: log_entry_pb2.CustomCost | None,
        cached: bool,
        at_us: int,
    ) -> usage_pb2.Cost | None:
        """
        Return what a request cost; None when that is not known.

        An answer of our cache costs nothing, whatever prices the caller named; then the caller's prices win;
        then the operator's own machine costs nothing; then the table.

        Args:
            provider: Slug.
            models: Names of the model, the surest first.
            usage: What was used; None: not known.
            custom: The caller's own prices.
            cached: The answer is our cache's.
            at_us: When the request was made, microseconds since 1970: prices change.
        """
        try:
            if cached:
                return usage_pb2.Cost(nano_usd=0, source=usage_pb2.COST_SOURCE_CACHE_HIT)
            tokens = _tokens(usage) if usage is not None else None
            if custom is not None:
                return _cost(custom_cost(_custom(custom), tokens), usage_pb2.COST_SOURCE_CUSTOM)
            return self._listed(provider, models, tokens, at_us)
        except Exception as error:  # noqa: BLE001 - whatever it is, the entry is worth more than its cost
            self._log.error("a request cannot be priced", provider=provider, error=repr(error))
            return None

    def _listed(
        self, provider: str, models: tuple[str, ...], tokens: Tokens | None, at_us: int
    ) -> usage_pb2.Cost | None:
        if provider == LOCAL:
            return usage_pb2.Cost(nano_usd=0, source=usage_pb2.COST_SOURCE_LOCAL)
        if tokens is None:
            return None
        prices = self._table.find(provider, models, at_us)
        if prices is None:
            return None
        return _cost(
            table_cost(prices, tokens), usage_pb2.COST_SOURCE_PRICE_TABLE, version=self._table.version
        )


def _cost(
    nano_usd: int | None, source: usage_pb2.CostSource.ValueType, version: str = ""
) -> usage_pb2.Cost | None:
    if nano_usd is None:
        return None
    return usage_pb2.Cost(nano_usd=nano_usd, source=source, price_table_version=version)


def _tokens(usage: usage_pb2.Usage) -> Tokens:
    known = usage.HasField
    return Tokens(
        input=usage.input_tokens if known("input_tokens") else None,
        output=usage.output_tokens if known("output_tokens") else None,
        cache_read=usage.cache_read_tokens,
        cache_write=usage.cache_write_tokens,
        cache_write_1h=usage.cache_write_1h_tokens,
        reasoning=usage.reasoning_tokens,
        input_audio=usage.input_audio_tokens,
        output_audio=usage.output_audio_tokens,
        input_image=usage.input_image_tokens,
        output_image=usage.output_image_tokens if known("output_image_tokens") else None,
    )


def _custom(custom: log_entry_pb2.CustomCost) -> Custom:
    known = custom.HasField
    return Custom(
        input_token=custom.input_token_nano_usd if known("input_token_nano_usd") else None,
        output_token=custom.output_token_nano_usd if known("output_token_nano_usd") else None,
        cache_read_token=custom.cache_read_token_nano_usd if known("cache_read_token_nano_usd") else None,
        cache_write_token=custom.cache_write_token_nano_usd if known("cache_write_token_nano_usd") else None,
        total=custom.total_nano_usd if known("total_nano_usd") else None,
    )
