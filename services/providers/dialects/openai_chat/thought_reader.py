"""
Reads thoughts out of answers, in all the forms in which hosts give them.

One delta, or one message, may say the same in several: as `reasoning` for those who only show it, and as
`reasoning_details` or `thinking_blocks` with what the next request has to give back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.answer import text
from services.providers.dialects.neutral.conversation import ReasoningPart
from services.providers.dialects.openai_chat.thought_writer import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Thought", "read_content_parts", "read_thoughts", "to_parts"]

Json = dict[str, Any]
_ORIGINS: Final = {form: origin for origin, form in FORMATS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """
    A piece of thought.

    Attributes:
        text: More of it.
        closes: It ends with this piece; what follows is another.
        repeats: The text is all that was thought since the last close, and may have been told already.
        signature: See `ReasoningPart`, as the rest.
    """

    text: str = ""
    closes: bool = False
    repeats: bool = False
    signature: str = ""
    sealed: str = ""
    origin: str = ""
    item_id: str = ""


def read_thoughts(message: Json) -> list[Thought]:
    """Read the thoughts of a message or a delta."""
    plain = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    details = message.get("reasoning_details")
    if isinstance(details, list) and details:
        found = [thought for entry in details if (thought := _detail(entry)) is not None]
        if any(thought.text for thought in found) or not plain:
            return found
        return [Thought(text=plain), *found]
    blocks = message.get("thinking_blocks")
    if isinstance(blocks, list) and blocks:
        found = [thought for entry in blocks if (thought := _block(entry, told=bool(plain))) is not None]
        return [Thought(text=plain), *found] if plain else found
    return [Thought(text=plain)] if plain else []


def _detail(entry: Any) -> Thought | None:
    """Read one of OpenRouter's details."""
    if not isinstance(entry, dict):
        return None
    kind, item_id = text(entry.get("type")), text(entry.get("id"))
    origin = _ORIGINS.get(text(entry.get("format")), "")
    if kind == "reasoning.summary":
        said = text(entry.get("summary"))
        return Thought(text=said, item_id=item_id, origin=origin) if said else None
    if kind == "reasoning.encrypted":
        sealed = text(entry.get("data"))
        return Thought(closes=True, sealed=sealed, origin=origin, item_id=item_id) if sealed else None
    said, signature = text(entry.get("text")), text(entry.get("signature"))
    if not said and not signature:
        return None
    return Thought(text=said, closes=bool(signature), signature=signature, origin=origin if signature else "")


def _block(entry: Any, *, told: bool) -> Thought | None:
    """Read a thinking block: a piece of one, or a whole one under its signature."""
    if not isinstance(entry, dict):
        return None
    said, signature = text(entry.get("thinking")), text(entry.get("signature"))
    sealed = text(entry.get("data"))
    closes = bool(signature or sealed)
    if not closes:
        return None if told or not said else Thought(text=said)
    origin = text(entry.get("origin")) or "anthropic"
    return Thought(
        text="" if told and not said else said,
        closes=True,
        repeats=True,
        signature=signature,
        sealed=sealed,
        origin=origin,
        item_id=text(entry.get("id")),
    )


def to_parts(thoughts: list[Thought]) -> list[ReasoningPart]:
    """Put the thoughts of a whole message together."""
    parts: list[ReasoningPart] = []
    said: list[str] = []
    for thought in thoughts:
        if not thought.closes:
            said.append(thought.text)
            continue
        if thought.repeats and thought.text:
            # The blocks of a whole message say everything; what was told beside them is the same.
            said = [thought.text]
        elif thought.text:
            said.append(thought.text)
        parts.append(
            ReasoningPart(
                text="".join(said),
                signature=thought.signature,
                sealed=thought.sealed,
                origin=thought.origin,
                item_id=thought.item_id,
            )
        )
        said = []
    if any(said):
        parts.append(ReasoningPart(text="".join(said)))
    return parts


def read_content_parts(content: Any) -> Iterator[tuple[str, bool]]:
    """Read content: texts, and whether each is a thought. Mistral's may be parts, thoughts among them."""
    if isinstance(content, str):
        if content:
            yield content, False
        return
    for entry in content if isinstance(content, list) else []:
        if isinstance(entry, str):
            yield entry, False
        elif isinstance(entry, dict):
            yield from _content_part(entry)


def _content_part(entry: Json) -> Iterator[tuple[str, bool]]:
    if text(entry.get("type")) == "thinking":
        inner = entry.get("thinking")
        for said, _ in read_content_parts(inner):
            yield said, True
    elif said := text(entry.get("text")):
        yield said, False
