"""
What a request cost, in whole billionths of a US dollar.

Prices are decimal numbers of billionths a token, so the sum is exact; it is rounded once, at the end, a half
going up. A cost that is not known is None and never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

__all__ = ["Custom", "PriceList", "Rates", "Tokens", "custom_cost", "table_cost"]

_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)
_MOST_NANO_USD: Final = Decimal(2**63 - 1)  # what the message can hold; nine billion dollars


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Tokens:
    """What was used, as `headrace.common.v1.Usage` has it: totals include their parts, None is not known."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    input_image: int | None = None
    output_image: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """
    Prices in billionths of a US dollar: of a token by its kind, and of a request.

    A kind without a price of its own costs what the kind costs that it is part of.
    """

    input: Decimal = _ZERO
    output: Decimal = _ZERO
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    output_audio: Decimal | None = None
    input_image: Decimal | None = None
    output_image: Decimal | None = None
    request: Decimal = _ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """
    Prices of a model, which may depend on the length of the input.

    Attributes:
        base: Prices of short inputs.
        steps: (tokens, prices) in growing order; all of an input of more tokens than these has these prices.
    """

    base: Rates
    steps: tuple[tuple[int, Rates], ...] = ()

    def rates(self, input_tokens: int) -> Rates:
        """Return the prices for an input of some length."""
        found = self.base
        for start, rates in self.steps:
            if input_tokens > start:
                found = rates
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """The caller's own prices, as `headrace.ledger.v1.CustomCost` has them."""

    input_token: int | None = None
    output_token: int | None = None
    cache_read_token: int | None = None
    cache_write_token: int | None = None
    total: int | None = None


def table_cost(prices: PriceList, tokens: Tokens) -> int | None:
    """Return what a request cost at listed prices; None when a count is missing that has a price."""
    return _cost(prices.rates(tokens.input or 0), tokens)


def custom_cost(custom: Custom, tokens: Tokens | None) -> int | None:
    """
    Return what a request cost at the caller's own prices; None when a count is missing that has a price.

    A total wins over prices of tokens. Without a price of their own, tokens that the provider's prompt cache
    read or wrote cost what other input costs.
    """
    if custom.total is not None:
        return _whole(Decimal(custom.total))
    if tokens is None:
        return None
    rates = Rates(
        input=_price(custom.input_token) or _ZERO,
        output=_price(custom.output_token) or _ZERO,
        cache_read=_price(custom.cache_read_token),
        cache_write=_price(custom.cache_write_token),
    )
    return _cost(rates, tokens)


def without_surcharge_for_reading(rates: Rates) -> Rates:
    """Return prices at which a token read from the provider's cache costs no more than any other."""
    if rates.cache_read is None or rates.cache_read <= rates.input:
        return rates
    return replace(rates, cache_read=rates.input)


def _price(nano_usd: int | None) -> Decimal | None:
    return None if nano_usd is None else Decimal(max(0, nano_usd))


def _cost(rates: Rates, tokens: Tokens) -> int | None:
    sides = (_input_cost(rates, tokens), _output_cost(rates, tokens))
    if sides[0] is None or sides[1] is None:
        return None
    return _whole(sides[0] + sides[1] + rates.request)


def _input_cost(rates: Rates, tokens: Tokens) -> Decimal | None:
    if tokens.input is None:
        own = (
            rates.cache_read,
            rates.cache_write,
            rates.cache_write_1h,
            rates.input_audio,
            rates.input_image,
        )
        return None if rates.input or any(own) else _ZERO
    rest = max(0, tokens.input)
    total = _ZERO
    # A part is never more than what is left of the whole, whatever a provider reports.
    read = _part(tokens.cache_read, rest)
    rest -= read
    written = _part(tokens.cache_write, rest)
    rest -= written
    written_1h = _part(tokens.cache_write_1h, written)
    audio = _part(tokens.input_audio, rest)
    rest -= audio
    # Whoever asks for a price of their own for images that come in says how many tokens they were.
    images = _part(tokens.input_image, rest)
    rest -= images
    if read:
        total += read * _or(rates.cache_read, rates.input)
    if written:
        write_rate = _or(rates.cache_write, rates.input)
        total += (written - written_1h) * write_rate
        total += written_1h * _or(rates.cache_write_1h, write_rate)
    if audio:
        total += audio * _or(rates.input_audio, rates.input)
    if images:
        total += images * _or(rates.input_image, rates.input)
    return total + rest * rates.input


def _output_cost(rates: Rates, tokens: Tokens) -> Decimal | None:
    if tokens.output is None:
        own = (rates.reasoning, rates.output_audio, rates.output_image)
        return None if rates.output or any(own) else _ZERO
    if tokens.output_image is None and rates.output_image not in {None, rates.output}:
        return None  # images cost ten times as much as text, and nobody says what this is
    rest = max(0, tokens.output)
    reasoning = _part(tokens.reasoning, rest)
    rest -= reasoning
    audio = _part(tokens.output_audio, rest)
    rest -= audio
    images = _part(tokens.output_image, rest)
    rest -= images
    total = rest * rates.output
    if reasoning:
        total += reasoning * _or(rates.reasoning, rates.output)
    if audio:
        total += audio * _or(rates.output_audio, rates.output)
    if images:
        total += images * _or(rates.output_image, rates.output)
    return total


def _part(count: int | None, whole: int) -> int:
    return 0 if not count or count < 0 else min(count, whole)


def _or(rate: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if rate is None else rate


def _whole(nano_usd: Decimal) -> int | None:
    if not nano_usd.is_finite():
        return None
    # Within bounds before it is rounded: rounding fails on numbers of more digits than decimals have.
    bounded = min(max(_ZERO, nano_usd), _MOST_NANO_USD)
    return int(bounded.quantize(_ONE, ROUND_HALF_UP))
