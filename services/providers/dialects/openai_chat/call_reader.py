"""
Puts the pieces of streamed tool calls together, whatever a host makes of index and id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.providers.dialects.answer import text
from services.providers.dialects.neutral.events import ToolCallDelta, ToolCallStarted
from services.providers.dialects.openai_chat.answer_reader import read_signature
from services.providers.dialects.openai_chat.answer_words import arguments_text, made_up_id, usable_id

if TYPE_CHECKING:
    from services.providers.dialects.neutral.events import Event

__all__ = ["CallReader"]


@dataclass(slots=True)
class _Call:
    """
    A call that has begun.

    Attributes:
        index: Ours; -1 as long as its name is not known.
        held: Arguments that came before the name.
    """

    id: str
    index: int = -1
    held: list[str] = field(default_factory=list)
    signature: str = ""


class CallReader:
    """
    Reads the calls of one choice.

    Args:
        choice: Its index.
    """

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._by_index: dict[int, _Call] = {}
        self._last: _Call | None = None
        self._ids: set[str] = set()
        self.count = 0

    def read(self, entry: Any, answer_id: str, out: list[Event]) -> None:
        """Read one entry of `tool_calls`."""
        if not isinstance(entry, dict):
            return
        custom = entry.get("custom")
        function = custom if isinstance(custom, dict) else entry.get("function")
        function = function if isinstance(function, dict) else {}
        call = self._find(entry.get("index"), usable_id(entry.get("id")), text(function.get("name")))
        call.signature = call.signature or read_signature(entry)
        is_custom = function is custom
        if call.index < 0 and (name := text(function.get("name"))):
            self._start(call, name, answer_id, out, custom=is_custom)
        piece = text(function.get("input")) if is_custom else arguments_text(function.get("arguments"))
        if not piece:
            return
        if call.index < 0:
            call.held.append(piece)
        else:
            out.append(ToolCallDelta(call.index, piece, self._choice))

    def _find(self, given: Any, call_id: str, name: str) -> _Call:
        """Find the call that a piece belongs to, or begin one."""
        index = given if isinstance(given, int) and not isinstance(given, bool) else None
        call = self._last if index is None else self._by_index.get(index)
        if call is None or self._is_another(call, index, call_id, name):
            call = _Call(id=call_id)
            if index is not None:
                self._by_index[index] = call
        self._last = call
        return call

    @staticmethod
    def _is_another(call: _Call, index: int | None, call_id: str, name: str) -> bool:
        """Tell a new call from more of the last: some hosts number all calls alike, or none."""
        if call_id:
            # An id that comes late, or again, is the call's own.
            return bool(call.id) and call_id != call.id and bool(name or index is None)
        return index is None and bool(name) and call.index >= 0

    def _start(self, call: _Call, name: str, answer_id: str, out: list[Event], *, custom: bool) -> None:
        call.index = self.count
        self.count += 1
        identity = call.id
        if not identity or identity in self._ids:
            identity = made_up_id(answer_id, self._choice, call.index)
        self._ids.add(identity)
        out.append(ToolCallStarted(call.index, identity, name, call.signature, custom, self._choice))
        if call.held:
            out.append(ToolCallDelta(call.index, "".join(call.held), self._choice))
            call.held.clear()
