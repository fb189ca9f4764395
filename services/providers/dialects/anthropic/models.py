"""
What each family of Claude models takes, as data.

Taken from the provider's model and migration pages. A model that no row names is newer than this table, and
gets the rules of the newest families: they are the strictest, so a request that keeps to them is accepted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

# `none`: no thinking. `manual`: with a budget. `adaptive`: the model decides. `always`: it cannot be off.
Thinking = Literal["none", "manual", "adaptive", "always"]
# `both`: temperature and top_p together. `one`: either. `none`: neither.
Sampling = Literal["both", "one", "none"]

_LOW_TO_HIGH = ("low", "medium", "high")
_TO_MAX = ("low", "medium", "high", "max")
_ALL_EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """
    What a family of models takes.

    Attributes:
        max_output_tokens: Longest answer. None: not known.
        thinking: How thinking is asked for.
        thinking_off: Value of `thinking.type` that turns thinking off where it is on by itself. Empty:
            leaving `thinking` out does.
        efforts: Values that `output_config.effort` takes, lowest first.
        sampling: Which of `temperature` and `top_p` may be set.
        prefill: The last message may be the assistant's.
        forced_tools: `tool_choice` may force a call.
        structured: `output_config.format` and strict tools exist.
    """

    max_output_tokens: int | None = 128_000
    thinking: Thinking = "adaptive"
    thinking_off: str = ""
    efforts: tuple[str, ...] = _ALL_EFFORTS
    sampling: Sampling = "none"
    prefill: bool = False
    forced_tools: bool = True
    structured: bool = True


def _older(
    max_output_tokens: int,
    *,
    thinking: Thinking = "none",
    sampling: Sampling = "both",
    structured: bool = False,
    efforts: tuple[str, ...] = (),
) -> ModelProfile:
    """Make the profile of a family from before adaptive thinking; all of those take a prefill."""
    return ModelProfile(
        max_output_tokens=max_output_tokens,
        thinking=thinking,
        efforts=efforts,
        sampling=sampling,
        prefill=True,
        structured=structured,
    )


_NEWEST = ModelProfile(thinking="always", forced_tools=False)
_UNKNOWN = ModelProfile(max_output_tokens=None, thinking="always", forced_tools=False)

# The longest prefix that fits wins.
_PROFILES = {
    "claude-3": _older(4_096),
    "claude-3-5": _older(8_192),
    "claude-3-7": _older(64_000, thinking="manual"),
    "claude-opus-4": _older(32_000, thinking="manual"),
    "claude-sonnet-4": _older(64_000, thinking="manual"),
    "claude-opus-4-1": _older(32_000, thinking="manual", sampling="one", structured=True),
    "claude-sonnet-4-5": _older(64_000, thinking="manual", sampling="one", structured=True),
    "claude-haiku-4-5": _older(64_000, thinking="manual", sampling="one", structured=True),
    "claude-opus-4-5": _older(
        64_000, thinking="manual", sampling="one", structured=True, efforts=_LOW_TO_HIGH
    ),
    "claude-opus-4-6": ModelProfile(efforts=_TO_MAX, sampling="one"),
    "claude-sonnet-4-6": ModelProfile(efforts=_TO_MAX, sampling="one"),
    "claude-opus-4-7": ModelProfile(),
    "claude-opus-4-8": ModelProfile(),
    "claude-mythos-preview": _NEWEST,
    "claude-sonnet-5": ModelProfile(thinking_off="disabled"),
    "claude-opus-5": ModelProfile(thinking_off="disabled"),
    "claude-fable-5": ModelProfile(thinking="always"),
    "claude-mythos-5": ModelProfile(thinking="always"),
    "claude-fable-5-1": _NEWEST,
    "claude-fable-5-2": _NEWEST,
    "claude-mythos-5-1": _NEWEST,
    "claude-mythos-5-2": _NEWEST,
    "claude-opus-5-5": _NEWEST,
    "claude-sonnet-5-5": ModelProfile(thinking_off="between_tools", forced_tools=False),
    "claude-haiku-5-5": _NEWEST,
}

# Bedrock writes `us.anthropic.claude-…-v1:0`, Vertex `claude-…@20250929`, resellers `anthropic/claude-…`.
_NAME = re.compile(r"claude-[a-z0-9-]+")


# Asked with every request, and mostly of the same few models.
@lru_cache(maxsize=256)
def profile_for(model: str) -> ModelProfile:
    """Find what a model takes, by its name in any reseller's spelling."""
    match = _NAME.search(model.lower().replace(".", "-"))
    name = match.group() if match is not None else ""
    fitting = [prefix for prefix in _PROFILES if _is_prefix(prefix, name)]
    return _PROFILES[max(fitting, key=len)] if fitting else _UNKNOWN


def _is_prefix(prefix: str, name: str) -> bool:
    """Match whole parts of a name, so that version 5 is not taken for 50."""
    return name == prefix or name.startswith(prefix + "-")
