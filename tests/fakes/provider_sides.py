"""
How each provider is seen from its own side: where calls arrive, and where the key is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How a provider is seen from its own side."""

    chat_path: str
    native_path: str
    key_header: str
    key_prefix: str
    translated: bool
    needs_key: bool = True


_OPENAI = Side(
    chat_path="/v1/chat/completions",
    native_path="chat/completions",
    key_header="authorization",
    key_prefix="Bearer ",
    translated=False,
)
SIDES = {
    "openai": _OPENAI,
    "local": Side(
        chat_path="/v1/chat/completions",
        native_path="chat/completions",
        key_header="authorization",
        key_prefix="Bearer ",
        translated=False,
        needs_key=False,
    ),
    "anthropic": Side(
        chat_path="/v1/messages",
        native_path="v1/messages",
        key_header="x-api-key",
        key_prefix="",
        translated=True,
    ),
}
