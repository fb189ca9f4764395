"""
Streams of OpenAI chat completions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.edge.splice.fields import Json, array_of, object_of
from services.edge.splice.sent import Sent
from services.edge.splice.usage import counted
from services.edge.splice.verdict import Meaning, Mode, Spent

if TYPE_CHECKING:
    from services.edge.splice.frames import Frames

__all__ = ["ChatSent"]

# Members that all chunks of an answer have alike.
_HEAD: Final = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
_OTHER: Final = {
    "tool_calls": "tool",
    "function_call": "tool",
    "refusal": "refusal",
    "annotations": "citation",
    "audio": "media",
    "images": "media",
}
_PLAIN: Final = frozenset({"role", "content", *_REASONING})


class ChatSent(Sent):
    """An answer in chunks; see `Sent`."""

    def __init__(self, frames: Frames) -> None:
        super().__init__(frames)
        self.head: Json = {}
        self.has_role = False

    @property
    def started(self) -> bool:
        """Whether a chunk was sent."""
        self._settle()
        return bool(self.head)

    def read(self, name: str, document: Json) -> Meaning:
        """Say what a chunk comes to."""
        return read_chunk(name, document)

    def writer(self, mode: Mode, before: Spent) -> ChatWriter:
        """Make what writes a fallback's chunks."""
        return ChatWriter(self, before if mode is Mode.CONTINUE else Spent())

    def end(self) -> bytes:
        """Write the mark of the end, unless it was written."""
        return b"" if self.done else self.write_done()

    def _note(self, name: str, document: Json) -> str:
        """Take note of a chunk: nearly all of them by the shortest way."""
        text = _only_text(document) if self.head else ""
        if not text:
            return super()._note(name, document)
        self._pieces.append(text)
        self._thinking = False
        return text

    def _follow(self, name: str, document: Json) -> None:  # noqa: ARG002 - chunks have no name
        if not self.head and document.get("choices"):
            self.head = {key: document[key] for key in _HEAD if key in document}
            self.head.setdefault("object", "chat.completion.chunk")
        for choice in array_of(document, "choices"):
            if choice.get("index", 0) != 0:
                self._other.add("choice")
            elif object_of(choice, "delta").get("role"):
                self.has_role = True


class ChatWriter:
    """
    Writes chunks; see `Writer`.

    Args:
        sent: What the client has.
        before: What is added to the usage.
    """

    def __init__(self, sent: ChatSent, before: Spent) -> None:
        self._sent = sent
        self._before = before

    def read(self, name: str, document: Json) -> Meaning:
        """Say what a chunk comes to."""
        return read_chunk(name, document)

    def skip(self, name: str, document: Json) -> None:
        """Learn nothing: each chunk stands for itself."""

    def say(self, text: str) -> list[bytes]:
        """Write a chunk with text."""
        choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
        return [self._sent.write("", {**self._sent.head, "choices": [choice]})]

    def write(self, name: str, document: Json, text: str, *, muted: bool) -> list[bytes]:
        """Write a chunk, unless nothing is left of it."""
        sent = self._sent
        if not sent.started:
            return [sent.write(name, document)]
        made = {key: value for key, value in document.items() if key not in _HEAD or key in sent.head}
        made |= sent.head
        choices = [self._choice(choice, text, muted=muted) for choice in array_of(document, "choices")[:1]]
        made["choices"] = [choice for choice in choices if choice is not None]
        usage = document.get("usage")
        if isinstance(usage, dict):
            made["usage"] = counted(usage, self._before, "prompt_tokens", "completion_tokens", "total_tokens")
        elif not made["choices"]:
            return []
        return [sent.write(name, made)]

    def _choice(self, choice: Json, text: str, *, muted: bool) -> Json | None:
        """Make a choice of what the client is to have of it. None: nothing."""
        delta = dict(object_of(choice, "delta"))
        if self._sent.has_role:
            delta.pop("role", None)
        if muted:
            for key in _REASONING:
                delta.pop(key, None)
        if isinstance(delta.get("content"), str) and delta["content"] != text:
            delta.pop("content", None)
            if text:
                delta = {"content": text, **delta}
                # Those of the tokens that the client has are among them.
                choice = {**choice, "logprobs": None} if "logprobs" in choice else choice
        if not choice.get("finish_reason") and not any(delta.values()):
            return None
        return {**choice, "index": 0, "delta": delta}


def _only_text(document: Json) -> str:
    """Return the text of a chunk that has nothing else. Empty: it has something else, or no text."""
    choices = document.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or "error" in document:
        return ""
    match choices[0]:
        case {"index": 0, "delta": {"content": str(text), **rest}, **members} if not rest:
            return "" if members.get("finish_reason") or members.get("logprobs") else text
    return ""


def read_chunk(name: str, document: Json) -> Meaning:
    """Say what a chunk comes to."""
    found = Meaning(error=bool(document.get("error")) or name == "error")
    for choice in array_of(document, "choices"):
        if choice.get("index", 0) != 0:
            continue
        delta = object_of(choice, "delta")
        for key, value in delta.items():
            if not value:
                continue
            if key == "content" and isinstance(value, str):
                found.text += value
            elif key in _REASONING:
                found.reasoning = True
            elif key not in _PLAIN or key == "content":
                found.other = _OTHER.get(key, "unknown")
        if choice.get("logprobs"):
            found.other = found.other or "logprobs"
        if choice.get("finish_reason"):
            found.end = True
    return found
