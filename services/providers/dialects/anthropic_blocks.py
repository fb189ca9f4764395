"""What a stream translation remembers of a content block between its start and its end."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class OpenBlock:
    """
    A content block that has started.

    Attributes:
        kind: Anthropic's type of block; `answer` for a call of the tool that gives the answer.
        call_index: Place among the client's tool calls.
        has_arguments: Some of the arguments were handed out.
        whole: All of the arguments came with the start.
        thinking: Thinking so far, to be handed out again with its signature.
        signature: Signature of the thinking.
    """

    kind: str
    call_index: int = 0
    has_arguments: bool = False
    whole: bool = False
    thinking: list[str] = field(default_factory=list)
    signature: str = ""
