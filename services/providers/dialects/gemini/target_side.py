"""Gemini as a target."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from services.providers.dialects.gemini.answer_reader import read_answer
from services.providers.dialects.gemini.media import wants_bytes
from services.providers.dialects.gemini.models import profile_for
from services.providers.dialects.gemini.request_writer import write_request
from services.providers.dialects.gemini.stream_reader import GeminiStreamReader
from services.providers.dialects.neutral.sides import TargetSide

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.neutral.conversation import MediaPart

__all__ = ["gemini_target", "wanted_media"]


def gemini_target(*, vertex: bool) -> TargetSide:
    """
    Make the target.

    Args:
        vertex: For Vertex AI, which differs a little from AI Studio.
    """
    return TargetSide(
        write_request=partial(write_request, vertex=vertex),
        read_answer=read_answer,
        stream_reader=GeminiStreamReader,
    )


def wanted_media(model: str, *, vertex: bool) -> Callable[[MediaPart], bool]:
    """Make what says of media on the web whether the model has to be given their bytes."""
    return partial(wants_bytes, profile=profile_for(model), vertex=vertex)
