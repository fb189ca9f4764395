"""
Messages as a target.
"""

from __future__ import annotations

from functools import partial

from services.providers.dialects.anthropic.answer_reader import read_answer
from services.providers.dialects.anthropic.request_writer import DEFAULT_MAX_TOKENS, write_request
from services.providers.dialects.anthropic.stream_reader import MessagesReader
from services.providers.dialects.neutral.sides import TargetSide

__all__ = ["anthropic_target"]


def anthropic_target(*, default_max_tokens: int = DEFAULT_MAX_TOKENS, beta: str = "") -> TargetSide:
    """
    Make the target for a call.

    Args:
        default_max_tokens: Longest answer, when neither the client nor the model's own limit says.
        beta: Values of the client's `anthropic-beta` headers, with commas between them.
    """
    return TargetSide(
        write_request=partial(write_request, default_max_tokens=default_max_tokens, beta=beta),
        read_answer=read_answer,
        stream_reader=MessagesReader,
    )
