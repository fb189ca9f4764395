"""
What a family of Gemini models takes, as data.

Taken from Google's pages on thinking, structured output, function calling and file input, and from its guides
to moving between versions. A model that no row names is newer than this table, and gets the rules of the
newest families: they are the strictest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

__all__ = ["ModelProfile", "profile_for"]

# `budget`: in tokens. `level`: in words. `none`: the model does not think.
Thinking = Literal["none", "budget", "level"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """
    What a family of models takes.

    Attributes:
        thinking: How thinking is asked for.
        levels: Values of `thinkingLevel`, lowest first.
        budgets: Smallest and largest `thinkingBudget`.
        can_stop: A budget of 0 turns thinking off.
        json_schema: Takes JSON schema as it is; else only the OpenAPI subset.
        json_with_tools: Takes a shape for the answer beside tools.
        signatures: Refuses a tool call of the running turn without a signature.
        resolutions: Takes a resolution for each piece of media, and media in the results of tools.
        penalties: Takes presence and frequency penalties.
        choices: Gives several answers.
        sampling: Takes `temperature`, `topP` and `topK`.
        prefill: The last turn may be the model's.
        urls: Fetches media from the web by itself.
        system: Takes a system instruction.
    """

    thinking: Thinking = "level"
    levels: tuple[str, ...] = ("low", "medium", "high")
    budgets: tuple[int, int] = (0, 0)
    can_stop: bool = False
    json_schema: bool = True
    json_with_tools: bool = True
    signatures: bool = True
    resolutions: bool = True
    penalties: bool = False
    choices: bool = False
    sampling: bool = False
    prefill: bool = False
    urls: bool = True
    system: bool = True


_NEWEST: Final = ModelProfile()
# Before version 3.6, sampling and a turn of the model's at the end were still taken.
_THREE: Final = ModelProfile(sampling=True, prefill=True)
_FLASH_THREE: Final = replace(_THREE, levels=("minimal", "low", "medium", "high"))
_TWO: Final = ModelProfile(
    thinking="none",
    levels=(),
    json_schema=False,
    json_with_tools=False,
    signatures=False,
    resolutions=False,
    penalties=True,
    choices=True,
    sampling=True,
    prefill=True,
    urls=False,
)
_TWO_FIVE: Final = replace(
    _TWO, thinking="budget", json_schema=True, penalties=False, urls=True, budgets=(1, 24_576), can_stop=True
)

# The longest prefix that fits wins.
_PROFILES: Final = {
    "gemini": _NEWEST,
    "gemini-1": _TWO,
    "gemini-2": _TWO,
    "gemini-2.5": _TWO_FIVE,
    "gemini-2.5-pro": replace(_TWO_FIVE, budgets=(128, 32_768), can_stop=False),
    "gemini-2.5-flash": _TWO_FIVE,
    "gemini-2.5-flash-lite": replace(_TWO_FIVE, budgets=(512, 24_576)),
    "gemini-2.5-flash-image": replace(_TWO_FIVE, thinking="none"),
    "gemini-3": _THREE,
    "gemini-3-pro": replace(_THREE, levels=("low", "high")),
    "gemini-3-flash": _FLASH_THREE,
    "gemini-3.1": _THREE,
    "gemini-3.1-flash": _FLASH_THREE,
    "gemini-3.5": _THREE,
    "gemini-3.5-flash": _FLASH_THREE,
    "gemini-3.5-flash-lite": replace(_FLASH_THREE, sampling=False, prefill=False),
    "gemini-3.6": _NEWEST,
    "gemini-3.6-flash": replace(_NEWEST, levels=_FLASH_THREE.levels),
    "gemini-3.7": _NEWEST,
    "gemini-3.8": _NEWEST,
    "gemini-pro": _TWO,
    "gemini-pro-vision": _TWO,
    "gemini-flash": _NEWEST,
    "learnlm": _TWO,
    "gemma": replace(_TWO, penalties=False),
    "gemma-3": replace(_TWO, penalties=False, system=False),
}

# AI Studio writes `models/gemini-…`, catalogues `google/gemini-…`, Vertex AI
# `publishers/google/models/gemini-…`.
_NAME: Final = re.compile(r"(?:gemini|gemma|learnlm)[a-z0-9.-]*")


# Asked with every request, and mostly of the same few models.
@lru_cache(maxsize=256)
def profile_for(model: str) -> ModelProfile:
    """Find what a model takes, by its name in any spelling."""
    match = _NAME.search(model.lower())
    name = match.group() if match is not None else ""
    fitting = [prefix for prefix in _PROFILES if _is_prefix(prefix, name)]
    return _PROFILES[max(fitting, key=len)] if fitting else _NEWEST


def _is_prefix(prefix: str, name: str) -> bool:
    """Match whole parts of a name: version 1.5 belongs to 1, and 10 does not; `gemma-3n` belongs to 3."""
    rest = name.removeprefix(prefix) if name.startswith(prefix) else None
    return rest is not None and (not rest or rest[0] in ".-" or (prefix[-1].isdigit() and rest[0].isalpha()))
