"""
What is known of a model.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ModelRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """
    A model of a provider. What is not known is None.

    Attributes:
        name: As the provider is asked for it.
        context_tokens: Longest input.
        output_tokens: Longest output.
        input_nano_usd: Price of an input token, in billionths of a US dollar.
        output_nano_usd: Likewise of an output token.
        capabilities: `chat`, `embeddings`, `vision`, `tools`, `reasoning`, …, as far as they are known.
    """

    name: str
    context_tokens: int | None = None
    output_tokens: int | None = None
    input_nano_usd: float | None = None
    output_nano_usd: float | None = None
    capabilities: tuple[str, ...] = ()
