"""
What a request and a token cost in the dialects alone: in this process, without network.

Every dialect of clients is measured against every dialect of providers, and beside them the four that are
handed on as they are.
"""

from __future__ import annotations

import gc
import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from rich.table import Table

from bench.pairs import SAME, pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Pair
    from services.providers.dialects.stream import AnswerStream

__all__ = ["Cost", "Effort", "measure", "table"]

_ANSWER_TOKENS: Final = 200
# Streams of two lengths: what a stream costs by itself drops out of the difference.
_SHORT_TOKENS: Final = 20
_EVENTS_OF_A_BUSY_READ: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """
    How much is measured.

    Attributes:
        rounds: The least of so many counts.
        requests: In each round, of each pair.
        streams: Likewise, of each kind of stream.
        tokens: By which the longer streams are longer.
    """

    rounds: int = 7
    requests: int = 100
    streams: int = 5
    tokens: int = 200


@dataclass(slots=True, kw_only=True)
class Cost:
    """
    CPU of one pair, in microseconds.

    Attributes:
        request_us: The client's request read, and the provider's written.
        answer_us: The provider's whole answer read, and the client's written.
        whole_us: Both.
        token_us: One more token of a stream of which each event comes in a read of its own.
        busy_token_us: Likewise where 16 events come in a read.
    """

    client: str
    target: str
    request_bytes: int
    request_us: float
    answer_us: float
    whole_us: float
    token_us: float
    busy_token_us: float


@dataclass(slots=True)
class _Work:
    """Something of which the cost is sought, and the least seconds that it took."""

    once: Callable[[], object]
    seconds: float = math.inf

    def time(self, count: int) -> None:
        """Do it so many times."""
        began = time.process_time()
        for _ in range(count):
            self.once()
        self.seconds = min(self.seconds, (time.process_time() - began) / count)


class _Measured:
    """
    A pair in the making of its figures.

    Args:
        pair: Which one.
        effort: How much is measured.
    """

    def __init__(self, pair: Pair, effort: Effort) -> None:
        self._pair = pair
        self._effort = effort
        whole = pair.spoken.whole(_ANSWER_TOKENS)
        self._request = _Work(pair.request)
        self._answer = _Work(partial(pair.answer, whole))
        longer = _SHORT_TOKENS + effort.tokens
        self._streams = {
            (tokens, size): _Work(partial(_run, pair.stream, _reads(pair.spoken.events(tokens), size)))
            for tokens in (_SHORT_TOKENS, longer)
            for size in (1, _EVENTS_OF_A_BUSY_READ)
        }

    def round(self) -> None:
        """Do everything once more. What came before is not collected at the expense of this pair."""
        gc.collect()
        self._request.time(self._effort.requests)
        self._answer.time(self._effort.requests)
        for stream in self._streams.values():
            stream.time(self._effort.streams)

    def cost(self) -> Cost:
        """Return the figures so far."""
        request_us, answer_us = self._request.seconds * 1e6, self._answer.seconds * 1e6
        return Cost(
            client=self._pair.client,
            target=self._pair.target,
            request_bytes=len(self._pair.body),
            request_us=round(request_us, 2),
            answer_us=round(answer_us, 2),
            whole_us=round(request_us + answer_us, 2),
            token_us=self._token_us(1),
            busy_token_us=self._token_us(_EVENTS_OF_A_BUSY_READ),
        )

    def _token_us(self, size: int) -> float:
        tokens = self._effort.tokens
        longer = (
            self._streams[_SHORT_TOKENS + tokens, size].seconds - self._streams[_SHORT_TOKENS, size].seconds
        )
        return round(longer * 1e6 / tokens, 3)


def _reads(events: list[bytes], size: int) -> list[bytes]:
    return [b"".join(events[at : at + size]) for at in range(0, len(events), size)]


def _run(make: Callable[[], AnswerStream], reads: list[bytes]) -> None:
    stream = make()
    for read in reads:
        stream.feed(read)
    stream.finish()
    if stream.failure is not None:
        raise RuntimeError(f"not a whole answer: {stream.failure}")


def measure(effort: Effort) -> list[Cost]:
    """Measure every pair, round by round, so that what disturbs the machine spoils a round and not a pair."""
    measured = [_Measured(pair, effort) for pair in pairs()]
    for _ in range(effort.rounds):
        for each in measured:
            each.round()
    return [each.cost() for each in measured]


def table(costs: list[Cost]) -> Table:
    """Lay the costs out, each beside its ratio to chat completions that are handed on."""
    base = next(cost for cost in costs if cost.client == "chat" and cost.target == SAME)
    made = Table(title="The dialects alone: CPU in µs; x is the ratio to chat completions that are handed on")
    for column in ("client", "provider"):
        made.add_column(column)
    for column in ("request", "answer", "both", "x", "token", "x", "token, 16 a read", "x"):
        made.add_column(column, justify="right")
    for cost in costs:
        if cost.target == SAME:
            made.add_section()
        made.add_row(
            cost.client,
            cost.target,
            f"{cost.request_us:.1f}",
            f"{cost.answer_us:.1f}",
            *_with_ratio(cost.whole_us, base.whole_us, digits=1),
            *_with_ratio(cost.token_us, base.token_us, digits=2),
            *_with_ratio(cost.busy_token_us, base.busy_token_us, digits=2),
        )
    return made


def _with_ratio(value: float, base: float, *, digits: int) -> tuple[str, str]:
    return f"{value:.{digits}f}", f"{value / base:.1f}" if base > 0 else ""
