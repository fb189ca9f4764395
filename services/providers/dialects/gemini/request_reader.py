"""
Reads a request of generateContent. The model, and whether to stream, are in its URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.providers.dialects.gemini.config_reader import read_config
from services.providers.dialects.gemini.content_reader import read_contents, read_system
from services.providers.dialects.gemini.tool_reader import read_tool_choice, read_tools
from services.providers.dialects.gemini.wire_names import camel
from services.providers.dialects.neutral.conversation import Conversation
from services.providers.dialects.neutral.fields import get_str, load_body

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_request"]

# Members that are read here; every other one goes into `extra`.
_READ: Final = frozenset(
    {
        "contents",
        "generationConfig",
        "model",
        "serviceTier",
        "systemInstruction",
        "toolConfig",
        "tools",
    }
)
_NAMES: Final = {
    "messages": "contents",
    "messages.detail": "contents.parts.mediaResolution",
    "messages.is_error": "contents.parts.functionResponse.response",
    "messages.media": "contents.parts.inlineData",
    "messages.reasoning": "contents.parts.thought",
    "messages.tool_calls.signature": "contents.parts.thoughtSignature",
    "service_tier": "serviceTier",
    "tool_choice": "toolConfig.functionCallingConfig",
    "tool_choice.allowed": "toolConfig.functionCallingConfig.allowedFunctionNames",
}
_TIERS: Final = {"unspecified": "", "service_tier_unspecified": "", "standard": "default"}


def read_request(body: bytes, notes: Notes) -> Conversation:
    """
    Read a request.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    document = camel(load_body(body))
    get_str(document, "model")
    tier = (get_str(document, "serviceTier") or "").lower()
    conversation = Conversation(
        messages=[*read_system(document, notes), *read_contents(document, notes)],
        tools=read_tools(document, notes),
        service_tier=_TIERS.get(tier, tier),
        include_usage=True,  # every stream of this dialect tells it
        extra={
            name: value
            for name, value in document.items()
            if name not in _READ and value not in (None, [], {}, "")
        },
    )
    conversation.tool_choice = read_tool_choice(document, conversation.tools, conversation.extra, notes)
    notes.call({**_NAMES, **read_config(document, conversation)})
    return conversation
