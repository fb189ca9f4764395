"""
Anthropic messages as clients speak them.
"""

from __future__ import annotations

from typing import Final

from services.providers.dialects.anthropic.answer_writer import write_answer
from services.providers.dialects.anthropic.errors import write_error
from services.providers.dialects.anthropic.request_reader import read_request
from services.providers.dialects.anthropic.stream_writer import MessageStreamWriter
from services.providers.dialects.neutral.sides import ClientSide

__all__ = ["CLIENT"]

CLIENT: Final = ClientSide(
    read_request=read_request,
    write_answer=write_answer,
    stream_writer=MessageStreamWriter,
    write_error=write_error,
)
