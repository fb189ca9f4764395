"""
Chat completions as clients speak them.
"""

from __future__ import annotations

from typing import Final

from services.providers.dialects.neutral.sides import ClientSide
from services.providers.dialects.openai_chat.answer_writer import write_answer
from services.providers.dialects.openai_chat.errors import write_error
from services.providers.dialects.openai_chat.request_reader import read_request
from services.providers.dialects.openai_chat.stream_writer import ChatStreamWriter

__all__ = ["CLIENT"]

CLIENT: Final = ClientSide(
    read_request=read_request,
    write_answer=write_answer,
    stream_writer=ChatStreamWriter,
    write_error=write_error,
)
