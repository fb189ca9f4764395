"""
Names of tools, fitted to what a target takes, and the way back.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from services.providers.dialects.neutral.conversation import FunctionTool, ToolCallPart, ToolResultPart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.providers.dialects.neutral.conversation import Conversation

__all__ = ["LETTERS_64", "NameRule", "ToolNames", "custom_names", "names_in"]

_HASH_CHARS = 8


class NameRule:
    """
    What names a target takes.

    Args:
        allowed: Characters, as the inside of a regular expression's class.
        longest: In characters.
        first: Characters that may begin a name, likewise; empty: all of `allowed`.
    """

    def __init__(self, allowed: str, longest: int, *, first: str = "") -> None:
        self.longest = longest
        self._first = re.compile(f"[{first or allowed}]")
        self._legal = re.compile(f"[{first or allowed}][{allowed}]{{0,{longest - 1}}}")
        self._illegal = re.compile(f"[^{allowed}]")

    def fits(self, name: str) -> bool:
        """Tell whether a name can be sent as it is."""
        return self._legal.fullmatch(name) is not None

    def clean(self, name: str, room: int) -> str:
        """Make a name legal, at most `room` characters long; two names may become one."""
        cleaned = self._illegal.sub("_", name)
        if not self._first.match(cleaned):
            cleaned = f"t_{cleaned}"
        return cleaned[:room]


# Anthropic, Bedrock, OpenAI and Cohere.
LETTERS_64: Final = NameRule(r"a-zA-Z0-9_-", 64)


class ToolNames:
    """
    Fits tool names to a target, one to one.

    A name that fits stays as it is. Another gets a hash of itself, so that it is the same in every request
    (prompt caches hold) and no two become one.

    Args:
        names: Every name in the request. Those that fit are never given to another.
        rule: What the target takes.
    """

    def __init__(self, names: Iterable[str], rule: NameRule) -> None:
        names = set(names)
        self._rule = rule
        self._sent = {name: name for name in names if rule.fits(name)}
        taken = set(self._sent)
        for name in sorted(names - taken):
            self._sent[name] = self._fit(name, taken)
            taken.add(self._sent[name])

    def sent(self, name: str) -> str:
        """Return the name under which a tool is sent."""
        return self._sent.get(name) or self._fit(name, set(self._sent.values()))

    def fresh(self, name: str) -> str:
        """Return a name that no tool of the request has."""
        taken = set(self._sent.values())
        return name if name not in taken else self._fit(name, taken)

    def changed(self) -> dict[str, str]:
        """Return the names that were changed: as sent → as the client has them."""
        return {sent: name for name, sent in self._sent.items() if sent != name}

    def _fit(self, name: str, taken: set[str]) -> str:
        stem = self._rule.clean(name, self._rule.longest - _HASH_CHARS - 1)
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        for start in range(0, len(digest) - _HASH_CHARS, _HASH_CHARS):
            candidate = f"{stem}_{digest[start : start + _HASH_CHARS]}"
            if candidate not in taken:
                return candidate
        return self._rule.clean(digest, self._rule.longest)


def names_in(conversation: Conversation) -> set[str]:
    """Collect every tool name of a request: definitions, calls, results, choice."""
    names = {tool.name for tool in conversation.tools if isinstance(tool, FunctionTool)}
    for message in conversation.messages:
        names.update(
            part.name
            for part in message.parts
            if isinstance(part, ToolCallPart | ToolResultPart) and part.name
        )
    choice = conversation.tool_choice
    if choice is not None:
        names.update(choice.allowed)
        if choice.name:
            names.add(choice.name)
    return names


def custom_names(conversation: Conversation, names: ToolNames) -> frozenset[str]:
    """Return the names, as sent, of the tools that take free text; see `Restore.custom_tools`."""
    tools = (tool for tool in conversation.tools if isinstance(tool, FunctionTool))
    return frozenset(names.sent(tool.name) for tool in tools if tool.custom)
