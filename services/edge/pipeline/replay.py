"""Sends an answer that the cache kept, as it was or in the other of its two forms."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from services.edge import headers as names

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.cache.v1 import cache_service_pb2
    from services.edge.pipeline.exchange import HeaderList, Progress, Sink

__all__ = ["note_entry", "replay"]

# What the provider said of its limits when it was asked; and notes, which are told anew.
_OF_THEN: Final = ("x-ratelimit-", "anthropic-ratelimit-", "retry-after", names.TRANSLATION)
# Bytes that are written at once, of a stream that comes without pause.
_AT_ONCE: Final = 64 << 10
# A pause of the provider's that was longer than this is not lived through again.
_LONGEST_PAUSE_S: Final = 10.0


def note_entry(entry: cache_service_pb2.Entry, progress: Progress, number: int | None) -> HeaderList:
    """
    Take note of a request that the cache answers, and give the provider's headers for the client.

    Args:
        entry: The answer.
        progress: What becomes of the request.
        number: Index that the request's steps are told by, where the client numbered them itself.
    """
    kept = [(header.name, header.value.decode("latin-1")) for header in entry.headers]
    headers = [header for header in kept if not header[0].startswith(_OF_THEN)]
    progress.notes = tuple(
        note for name, value in kept if name == names.TRANSLATION for note in value.split("; ")
    )
    progress.cached = True
    progress.saved_nano_usd = entry.cost.nano_usd
    progress.status = entry.status
    if entry.HasField("step"):
        progress.step = progress.place = entry.step
        progress.target_model = entry.target_model
    if number is not None:
        progress.step = number
    progress.provider = entry.provider
    progress.served_model = entry.model
    progress.finish_reason = entry.finish_reason
    progress.outcome = log_entry_pb2.OUTCOME_SUCCESS
    progress.content_type = next((value for name, value in headers if name == "content-type"), "")
    progress.usage = usage_pb2.Usage(input_tokens=0, output_tokens=0)
    return headers


async def replay(
    entry: cache_service_pb2.Entry,
    progress: Progress,
    sink: Sink,
    *,
    own_headers: Callable[[], HeaderList],
    finish: Callable[[], None],
    paced: bool,
    number: int | None = None,
) -> None:
    """
    Send a kept answer.

    Args:
        entry: The answer.
        progress: What becomes of the request.
        sink: Where it goes.
        own_headers: Gives the gateway's own headers.
        finish: Records the request; called before the last bytes go out.
        paced: Whether a stream comes at the pace at which it first came.
        number: Index that the request's steps are told by, where the client numbered them itself.
    """
    headers = note_entry(entry, progress, number)
    if not entry.pieces:
        progress.sent(entry.body)
        finish()
        await sink.whole(entry.status, [*headers, *own_headers()], entry.body)
        return
    await sink.begin(entry.status, [*headers, *own_headers()], entry.dialect)
    if paced:
        await _paced(entry, progress, sink, finish)
    else:
        progress.sent(entry.body)
        finish()
        for start in range(0, len(entry.body), _AT_ONCE):
            await sink.write(entry.body[start : start + _AT_ONCE])
    await sink.end()


async def _paced(
    entry: cache_service_pb2.Entry, progress: Progress, sink: Sink, finish: Callable[[], None]
) -> None:
    start, came_ms = 0, 0
    for number, piece in enumerate(entry.pieces, 1):
        pause_s = (piece.at_ms - came_ms) / 1000
        came_ms = piece.at_ms
        if pause_s > 0:
            await asyncio.sleep(min(pause_s, _LONGEST_PAUSE_S))
        data = entry.body[start : start + piece.size]
        start += piece.size
        progress.sent(data)
        if number == len(entry.pieces):
            finish()
        await sink.write(data)
