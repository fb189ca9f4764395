"""
Chat completions as providers speak them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from services.providers.dialects.neutral.sides import TargetSide
from services.providers.dialects.openai_chat.answer_reader import read_answer
from services.providers.dialects.openai_chat.request_writer import write_request
from services.providers.dialects.openai_chat.stream_reader import ChatStreamReader

if TYPE_CHECKING:
    from services.providers.dialects.openai_chat.quirks import ChatQuirks

__all__ = ["chat_target"]


def chat_target(quirks: ChatQuirks) -> TargetSide:
    """Make the target for a host, by what it takes."""
    return TargetSide(
        write_request=partial(write_request, quirks),
        read_answer=read_answer,
        stream_reader=ChatStreamReader,
    )
