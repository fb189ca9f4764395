"""
Prices of models, from the table that the `genai-prices` package brings along.

Only the table and its matching of names are used, never the package's updater: nothing here opens a
connection. The package is imported when its table is first wanted: that takes a fifth of a second of CPU, and
most processes never ask for a price.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

from kit.moment import moment
from kit.pricing.cost import PriceList, Rates, without_surcharge_for_reading

if TYPE_CHECKING:
    from decimal import Decimal

    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

__all__ = ["PriceTable"]

# Slugs of ours whose provider has another name in the table.
_NAMES: Final = {
    "aws-bedrock": "aws",
    "azure-openai": "azure",
    "google-ai-studio": "google",
    "google-vertex-ai": "google",
    "grok": "x-ai",
    "perplexity-ai": "perplexity",
    "workers-ai": "cloudflare",
    "xai": "x-ai",
}
# Providers whose models are named `publisher/model` where the table has the model alone.
_WITH_PUBLISHER: Final = frozenset({"google-vertex-ai"})
# Model names come from clients, so what is remembered of them must be bounded.
_REMEMBERED: Final = 4096

# The table's prices by what they are for; it has a few more, of things that usage does not count.
_PER_TOKEN: Final = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
}
_PER_REQUEST: Final = "requests_kcount"
# Output that usage does not tell from the rest, and that costs ten times as much: the sum is not known.
_UNTOLD: Final = ("output_video_mtok",)
_NANO_PER_MTOK: Final = 1_000  # dollars a million tokens, as billionths of a dollar a token
_NANO_PER_THOUSAND: Final = 1_000_000  # dollars a thousand requests, as billionths of a dollar a request


class PriceTable:
    """
    Finds the prices of a model.

    Whoever first asks waits until the table is read; `load` or `loaded` does that before.
    """

    def __init__(self) -> None:
        self._model = lru_cache(maxsize=_REMEMBERED)(self._find_model)
        self._lists: dict[int, PriceList | None] = {}

    @cached_property
    def version(self) -> str:
        """Which table this is."""
        from genai_prices import __version__  # as above: late

        return f"genai-prices {__version__}"

    @cached_property
    def _all(self) -> list[Provider]:
        from genai_prices.data import providers  # as above: late

        return providers

    @cached_property
    def _providers(self) -> dict[str, Provider]:
        return {provider.id: provider for provider in self._all}

    def load(self) -> None:
        """Read the table now."""
        assert self._providers

    async def loaded(self) -> None:
        """Have the table read, in a thread: the event loop has others to serve meanwhile."""
        if "_providers" not in self.__dict__:
            await asyncio.to_thread(self.load)

    def find(self, provider: str, models: tuple[str, ...], at_us: int) -> PriceList | None:
        """
        Return the prices of the first of some names of a model that the table knows.

        Args:
            provider: Slug.
            models: Names, the surest first.
            at_us: When the request was made, microseconds since 1970: prices change.
        """
        for name in models:
            model = self._model(provider, name) if name else None
            if model is not None:
                prices = model.prices
                return self._list(model.get_prices(moment(at_us)) if isinstance(prices, list) else prices)
        return None

    def context_tokens(self, provider: str, name: str) -> int | None:
        """Return how many tokens a model takes; None when that is not known."""
        model = self._model(provider, name)
        return model.context_window if model is not None else None

    def _find_model(self, provider: str, name: str) -> ModelInfo | None:
        found = self._providers.get(_NAMES.get(provider, provider))
        if found is None:
            return None
        model = found.find_model(name, all_providers=self._all)
        if model is None and provider in _WITH_PUBLISHER:
            model = found.find_model(name.rpartition("/")[2], all_providers=self._all)
        return model

    def _list(self, prices: ModelPrice) -> PriceList | None:
        # The table's own objects, which live as long as it does: their number is bounded.
        key = id(prices)
        if key not in self._lists:
            self._lists[key] = _price_list(prices)
        return self._lists[key]


def _price_list(prices: ModelPrice) -> PriceList | None:
    known = {key: getattr(prices, key) for key in (*_PER_TOKEN, _PER_REQUEST)}
    known = {key: price for key, price in known.items() if price is not None}
    if not known or any(
        (own := getattr(prices, key)) is not None and own != prices.output_mtok for key in _UNTOLD
    ):
        return None
    starts = sorted({tier.start for price in known.values() for tier in getattr(price, "tiers", ())})
    return PriceList(
        base=_rates(known, None),
        steps=tuple((start, _rates(known, start)) for start in starts),
    )


def _rates(prices: dict[str, Decimal | TieredPrices], start: int | None) -> Rates:
    at = {key: _at(price, start) for key, price in prices.items()}
    request = at.pop(_PER_REQUEST, None)
    rates = Rates(**{_PER_TOKEN[key]: price * _NANO_PER_MTOK for key, price in at.items()})
    if request is not None:
        rates = replace(rates, request=request * _NANO_PER_THOUSAND)
    return without_surcharge_for_reading(rates)


def _at(price: Decimal | TieredPrices, start: int | None) -> Decimal:
    from genai_prices.types import TieredPrices  # as above: late; and once a model, not a request

    if not isinstance(price, TieredPrices):
        return price
    found = price.base
    for tier in price.tiers:
        if start is not None and start >= tier.start:
            found = tier.price
    return found
