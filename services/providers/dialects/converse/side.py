"""Converse as a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.providers.dialects.converse.answer_reader import reader_for
from services.providers.dialects.converse.families import family_for
from services.providers.dialects.converse.request_writer import write_request
from services.providers.dialects.converse.stream_reader import ConverseStreamReader
from services.providers.dialects.neutral.sides import TargetSide

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.converse.frames import FrameSources

__all__ = ["converse_target"]


def converse_target(model: str, frames: FrameSources, *, answer_id: Callable[[], str] = str) -> TargetSide:
    """
    Make the target for a model.

    Args:
        model: In Bedrock's naming: its family says whose signatures its thoughts bear.
        frames: Makes what takes a stream apart.
        answer_id: Tells the id of the answer, which AWS has in a header, once that has come; empty: none.
    """
    origin = family_for(model).origin
    return TargetSide(
        write_request=write_request,
        read_answer=reader_for(origin, answer_id),
        stream_reader=lambda max_event_bytes: ConverseStreamReader(
            frames(max_event_bytes), origin, answer_id
        ),
    )
