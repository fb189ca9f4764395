"""
OpenAI responses as providers speak them.
"""

from __future__ import annotations

from functools import partial

from services.providers.dialects.neutral.sides import TargetSide
from services.providers.dialects.openai_responses.answer_reader import read_answer
from services.providers.dialects.openai_responses.request_writer import write_request
from services.providers.dialects.openai_responses.stream_reader import ResponsesStreamReader

__all__ = ["responses_target"]


def responses_target(*, openai_models: bool) -> TargetSide:
    """
    Make the target for a host.

    Args:
        openai_models: It serves OpenAI's own models, with OpenAI's rules for each family.
    """
    return TargetSide(
        write_request=partial(write_request, openai_models),
        read_answer=read_answer,
        stream_reader=ResponsesStreamReader,
    )
