"""
Errors as clients of chat completions read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.providers.dialects.openai_error import openai_error

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass

__all__ = ["write_error"]


def write_error(status: int, failure_class: FailureClass, message: str) -> bytes:
    """Write an error as the JSON body that OpenAI's clients read."""
    return openai_error(status, failure_class, message)
