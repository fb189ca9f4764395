"""
Gemini's generateContent as clients speak it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from services.providers.dialects.gemini.answer_writer import write_answer
from services.providers.dialects.gemini.errors import write_error
from services.providers.dialects.gemini.request_reader import read_request
from services.providers.dialects.gemini.stream_writer import GenerateContentStreamWriter
from services.providers.dialects.neutral.sides import ClientSide

__all__ = ["CLIENT", "CLIENT_OF_ARRAYS"]

CLIENT: Final = ClientSide(
    read_request=read_request,
    write_answer=write_answer,
    stream_writer=GenerateContentStreamWriter,
    write_error=write_error,
)
# For a client that asks for a stream without `alt=sse`.
CLIENT_OF_ARRAYS: Final = replace(CLIENT, stream_writer=partial(GenerateContentStreamWriter, array=True))
