"""
OpenAI's families of models: what chat completions take for each, as data.

A model that no row names is taken to be like those before reasoning, but may be told how much to think.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from services.providers.dialects.openai_chat.quirks import EFFORTS

__all__ = ["ModelFamily", "family_of", "lacks_chat", "prefers_responses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """
    What a family takes.

    Attributes:
        prefix: Begins the names of its models.
        efforts: How much it can be told to think, least first; empty: it does not think, or cannot be told.
        default: How much it thinks when it is not told.
        sampling: Takes temperature, penalties and the like: `never`, `always`, or while it is `unthinking`.
        stop: Takes stop sequences.
        parallel: Can be told whether to call tools in parallel.
        verbosity: Can be told how much to say.
        thinks_beside_tools: Chat completions let it think when there are tools.
        chat: Is there on chat completions at all.
    """

    prefix: str
    efforts: tuple[str, ...] = ()
    default: str = "none"
    sampling: str = "always"
    stop: bool = True
    parallel: bool = True
    verbosity: bool = False
    thinks_beside_tools: bool = True
    chat: bool = True


_USUAL: Final = ("low", "medium", "high")
_WITH_XHIGH: Final = ("none", *_USUAL, "xhigh")
_UNKNOWN: Final = ModelFamily(prefix="", efforts=EFFORTS, verbosity=True)


def _o_series(prefix: str, *, stop: bool = False, chat: bool = True) -> ModelFamily:
    return ModelFamily(
        prefix=prefix,
        efforts=_USUAL,
        default="medium",
        sampling="never",
        stop=stop,
        parallel=False,
        chat=chat,
    )


def _gpt_5(
    prefix: str,
    efforts: tuple[str, ...],
    default: str = "none",
    *,
    thinks_beside_tools: bool = False,
    chat: bool = True,
) -> ModelFamily:
    return ModelFamily(
        prefix=prefix,
        efforts=efforts,
        default=default,
        sampling="unthinking" if "none" in efforts else "never",
        stop=False,
        verbosity=True,
        thinks_beside_tools=thinks_beside_tools,
        chat=chat,
    )


# The longest prefix counts.
_FAMILIES: Final = (
    ModelFamily(prefix="gpt-3.5"),
    ModelFamily(prefix="gpt-4"),
    ModelFamily(prefix="chatgpt-"),
    _o_series("o1", stop=True),
    _o_series("o1-pro", chat=False),
    _o_series("o3"),
    _o_series("o3-pro", chat=False),
    _o_series("o3-deep-research", chat=False),
    _o_series("o4-mini"),
    _o_series("o4-mini-deep-research", chat=False),
    _o_series("codex-mini", chat=False),
    ModelFamily(prefix="computer-use-preview", chat=False),
    ModelFamily(prefix="gpt-5-chat"),
    _gpt_5("gpt-5", ("minimal", *_USUAL), "medium", thinks_beside_tools=True),
    _gpt_5("gpt-5-pro", ("high",), "high", chat=False),
    _gpt_5("gpt-5-codex", _USUAL, "medium", chat=False),
    _gpt_5("gpt-5.1", ("none", *_USUAL), thinks_beside_tools=True),
    _gpt_5("gpt-5.1-chat", ("medium",), "medium", thinks_beside_tools=True),
    _gpt_5("gpt-5.1-codex", (*_USUAL, "xhigh"), "medium", chat=False),
    _gpt_5("gpt-5.2", _WITH_XHIGH),
    _gpt_5("gpt-5.2-chat", ("medium",), "medium", thinks_beside_tools=True),
    _gpt_5("gpt-5.2-pro", ("medium", "high", "xhigh"), "medium", chat=False),
    _gpt_5("gpt-5.2-codex", (*_USUAL, "xhigh"), "medium", chat=False),
    _gpt_5("gpt-5.3-chat", ("medium",), "medium", thinks_beside_tools=True),
    _gpt_5("gpt-5.3-codex", (*_USUAL, "xhigh"), "medium", chat=False),
    _gpt_5("gpt-5.4", _WITH_XHIGH),
    _gpt_5("gpt-5.4-pro", ("medium", "high", "xhigh"), "medium", chat=False),
    _gpt_5("gpt-5.5", _WITH_XHIGH, "medium"),
    _gpt_5("gpt-5.5-pro", ("medium", "high", "xhigh"), "medium", chat=False),
    _gpt_5("gpt-5.6", (*_WITH_XHIGH, "max"), "medium"),
)


# Asked with every request, and mostly of the same few models.
@lru_cache(maxsize=256)
def family_of(model: str) -> ModelFamily:
    """Return the family of a model. A fine-tuned one, `ft:{base}:…`, is of its base's."""
    name = model.removeprefix("ft:").lower()
    found = [row for row in _FAMILIES if name.startswith(row.prefix)]
    return max(found, key=lambda row: len(row.prefix), default=_UNKNOWN)


def lacks_chat(model: str) -> bool:
    """Tell whether a model is there on responses alone."""
    return not family_of(model).chat


def prefers_responses(model: str) -> bool:
    """Tell whether a model gives on responses what chat completions refuse: thoughts beside tools."""
    family = family_of(model)
    return not family.chat or not family.thinks_beside_tools
