"""
The translation report: what a translation dropped, clamped or emulated, and the refusals beside it.

Every note and every refusal names the parameter as the client knows it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PARTS", "Notes", "invalid", "unsupported"]

# Notes travel in a response header, so their alphabet and number are bounded.
_NOTE_UNSAFE = re.compile(r"[^A-Za-z0-9_.:\[\]-]")
_MAX_NOTES = 32
_MAX_NOTE_CHARS = 80
_MORE = "more"  # stands for all notes beyond the last that fits

# What writers may lose or rebuild of messages and tools, beside the members of `Conversation`. Every reader
# tells what its clients call those that they can send.
PARTS: Final = (
    "cache_control",
    "messages.citations",
    "messages.content",
    "messages.detail",
    "messages.is_error",
    "messages.media",
    "messages.name",
    "messages.reasoning",
    "messages.tool_calls",
    "messages.tool_calls.signature",
    "messages.user",
    "reasoning.budget_tokens",
    "response_format.schema",
    "tool_choice.allowed",
    "tools.strict",
)


class Notes:
    """
    Records what a translation dropped, clamped or emulated.

    Writers name parameters by their member of `Conversation`, and what they lose of messages and tools by one
    of `PARTS`; readers tell, by `call`, what the client calls those. A name that was not told goes by the
    nearest one above it that was, so that no client reads of another dialect's parameter; else it is taken
    as it is.

    Args:
        strict: Refuse the request instead.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._notes: dict[str, None] = {}
        self._client_names: dict[str, str] = {}

    def call(self, names: Mapping[str, str]) -> None:
        """Tell the client's names: member of `Conversation` → parameter."""
        self._client_names.update(names)

    def name(self, param: str) -> str:
        """Give the client's name of a parameter."""
        known = param
        while known:
            if known in self._client_names:
                return self._client_names[known]
            known = known.rpartition(".")[0]
        return param

    def dropped(self, param: str) -> None:
        """
        Record a parameter that the target has no way to take.

        Raises:
            GatewayError: UNSUPPORTED, in strict mode.
        """
        self._add("dropped", param, "is not supported by this provider")

    def clamped(self, param: str, value: object) -> None:
        """
        Record a parameter that went on with another value.

        Raises:
            GatewayError: UNSUPPORTED, in strict mode.
        """
        self._add("clamped", param, "has a value that this provider does not take", f":{value}")

    def emulated(self, param: str) -> None:
        """
        Record a parameter that the target lacks and that is brought about by other means.

        Raises:
            GatewayError: UNSUPPORTED, in strict mode.
        """
        self._add("emulated", param, "is only emulated for this provider")

    def refuse(self, param: str, why: str) -> NoReturn:
        """
        Refuse what no dropping can make right.

        Raises:
            GatewayError: UNSUPPORTED.
        """
        unsupported(self.name(param), why)

    def taken(self) -> tuple[str, ...]:
        """Return the notes in the order in which they were made."""
        return tuple(self._notes)

    def _add(self, kind: str, param: str, why: str, suffix: str = "") -> None:
        param = self.name(param)
        if self._strict:
            unsupported(param, why)
        if len(self._notes) >= _MAX_NOTES:
            kind, param, suffix = "dropped", _MORE, ""
        self._notes[f"{kind}={_NOTE_UNSAFE.sub('_', param + suffix)[:_MAX_NOTE_CHARS]}"] = None


def invalid(param: str, why: str) -> NoReturn:
    """Refuse a request that is malformed."""
    raise GatewayError(Reason.INVALID_REQUEST, f"'{_shown(param)}' {why}.", param=_shown(param))


def unsupported(param: str, why: str) -> NoReturn:
    """Refuse a request that the target cannot do."""
    raise GatewayError(Reason.UNSUPPORTED, f"'{_shown(param)}' {why}.", param=_shown(param))


def _shown(param: str) -> str:
    """Make a parameter's name, which the client may have chosen, fit for messages and metadata."""
    return _NOTE_UNSAFE.sub("_", param)[:_MAX_NOTE_CHARS]
