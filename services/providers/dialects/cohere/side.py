"""
Cohere's chat API as a target.
"""

from __future__ import annotations

from typing import Final

from services.providers.dialects.cohere.answer_reader import read_answer
from services.providers.dialects.cohere.request_writer import write_request
from services.providers.dialects.cohere.stream_reader import CohereStreamReader
from services.providers.dialects.neutral.sides import TargetSide

__all__ = ["TARGET"]

TARGET: Final = TargetSide(
    write_request=write_request, read_answer=read_answer, stream_reader=CohereStreamReader
)
