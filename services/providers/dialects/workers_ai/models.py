"""
What models of Workers AI take, as far as it differs between them.
"""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = ["NAME", "default_tokens", "speaks_chat", "task"]

# Goes into a path.
NAME: Final = re.compile(r"@?[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,3}")

# Take all of OpenAI's chat completions, and some of them stream by no other API. What every other model takes
# is less, and `run` says all of it.
_CHAT: Final = re.compile(
    r"@cf/(?:openai/gpt-oss.*|(?:zai-org|moonshotai|nvidia|ibm-granite)/.*)"
    r"|@cf/google/gemma-4.*|@cf/qwen/qwen3.*|@cf/deepseek-ai/deepseek-v.*",
    re.IGNORECASE,
)
# A few thousand tokens are all that these read and write together.
_SHORT: Final = re.compile(
    r".*(?:llama-2|llamaguard|tinyllama|phi-2|falcon|sqlcoder|discolm|openchat|mistral-7b|gemma-(?:2b|7b)"
    r"|deepseek-(?:math|coder)|hermes|neural-chat|zephyr|starling|una-cybertron|qwen1\.5|llama-3-8b).*",
    re.IGNORECASE,
)
_SHORT_TOKENS: Final = 1024
_EMBEDS: Final = re.compile(r".*/(?:bge-(?!rerank)|.*embedding).*", re.IGNORECASE)
# Answer with images, sound, scores or labels.
_NO_TEXT: Final = re.compile(
    r".*(?:flux|diffusion|dreamshaper|lucid|phoenix|whisper|deepgram|melotts|smart-turn|resnet|detr|reranker"
    r"|distilbert|m2m100|indictrans|bart-large).*",
    re.IGNORECASE,
)


def speaks_chat(model: str) -> bool:
    """Tell whether a model is asked by OpenAI's chat completions rather than by `run`."""
    return _CHAT.fullmatch(model) is not None


def default_tokens(model: str, usual: int) -> int:
    """Return the output limit for a request without one, which the API would end after 256 tokens."""
    return min(usual, _SHORT_TOKENS) if _SHORT.fullmatch(model) else usual


def task(model: str) -> Literal["chat", "embeddings", ""]:
    """Tell what a model does; empty: something that is not counted in tokens."""
    if _EMBEDS.fullmatch(model):
        return "embeddings"
    return "" if _NO_TEXT.fullmatch(model) else "chat"
