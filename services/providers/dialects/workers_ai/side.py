"""
Workers AI's `run` as a target.
"""

from __future__ import annotations

from functools import partial

from services.providers.dialects.neutral.sides import TargetSide
from services.providers.dialects.workers_ai.answer_reader import read_answer
from services.providers.dialects.workers_ai.request_writer import DEFAULT_TOKENS, write_request
from services.providers.dialects.workers_ai.stream_reader import RunStreamReader

__all__ = ["target"]


def target(default_max_tokens: int = DEFAULT_TOKENS) -> TargetSide:
    """
    Make the target.

    Args:
        default_max_tokens: Output limit of a request without one.
    """
    return TargetSide(
        write_request=partial(write_request, default_max_tokens=default_max_tokens),
        read_answer=read_answer,
        stream_reader=RunStreamReader,
    )
