"""
OpenAI responses as clients speak them.
"""

from __future__ import annotations

from typing import Final

from services.providers.dialects.neutral.sides import ClientSide
from services.providers.dialects.openai_responses.answer_writer import write_answer
from services.providers.dialects.openai_responses.errors import write_error
from services.providers.dialects.openai_responses.request_reader import read_request
from services.providers.dialects.openai_responses.stream_writer import ResponsesStreamWriter

__all__ = ["CLIENT"]

CLIENT: Final = ClientSide(
    read_request=read_request,
    write_answer=write_answer,
    stream_writer=ResponsesStreamWriter,
    write_error=write_error,
)
