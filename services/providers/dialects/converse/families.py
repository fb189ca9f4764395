"""
What each family of models behind Converse takes, as data.

Converse has one shape for all models, but refuses what the chosen model does not have. A model that cannot be
told by its name (the ARN of an application's own profile, say) gets what the large families have: a refusal
of the provider's is clearer than a parameter that was left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

__all__ = ["Family", "Forces", "base_model", "family_for", "region_of"]

# `named`: a call of one tool can be forced. `any`: a call of some tool. `none`: no call can be forced.
Forces = Literal["named", "any", "none"]
# `claude`: `thinking`. `nova`: `reasoningConfig`. `effort`: `reasoning_effort`. `none`: not to be set.
Reasoning = Literal["claude", "nova", "effort", "none"]
# `member`: `top_k`. `nested`: `inferenceConfig.topK`. `none`: not to be set.
TopK = Literal["member", "nested", "none"]

_EVERYWHERE: Final = frozenset({"system", "messages", "tools"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """
    What a family of models takes.

    Attributes:
        claude: One of Anthropic's, whose own table says more.
        forces: Which tool calls can be forced.
        caches: Where marks for the prompt cache may stand.
        reasoning: How thinking is asked for.
        top_k: Where `top_k` goes.
        result_status: A tool's result may say that it is an error.
        structured: Answers can be held to a JSON schema, and tools can be strict.
    """

    claude: bool = False
    forces: Forces = "none"
    caches: frozenset[str] = frozenset()
    reasoning: Reasoning = "none"
    top_k: TopK = "none"
    result_status: bool = False
    structured: bool = False

    @property
    def origin(self) -> str:
        """Whose signatures the family's thoughts bear. Anthropic's are good on every platform."""
        return "anthropic" if self.claude else "converse"


_UNKNOWN: Final = Family(forces="named", caches=_EVERYWHERE, result_status=True)
_PLAIN: Final = Family()
_CONSTRAINED: Final = Family(structured=True)
_NOVA: Final = Family(
    forces="named", caches=frozenset({"system", "messages"}), top_k="nested", result_status=True
)

# The longest prefix that fits wins.
_FAMILIES: Final = {
    "anthropic.": Family(
        claude=True,
        forces="named",
        caches=_EVERYWHERE,
        reasoning="claude",
        top_k="member",
        result_status=True,
    ),
    "amazon.nova-": _NOVA,
    "amazon.nova-2-": Family(
        forces="named",
        caches=_NOVA.caches,
        reasoning="nova",
        top_k="nested",
        result_status=True,
    ),
    "amazon.titan-": _PLAIN,
    "ai21.": _PLAIN,
    "cohere.": Family(top_k="none"),
    "deepseek.": _PLAIN,
    "deepseek.v3": _CONSTRAINED,
    "google.gemma-": _CONSTRAINED,
    "meta.": _PLAIN,
    "minimax.": _CONSTRAINED,
    "mistral.": Family(forces="any", top_k="member"),
    "moonshot": _CONSTRAINED,
    "nvidia.": _CONSTRAINED,
    "openai.gpt-oss-": Family(reasoning="effort", structured=True),
    "qwen.": _CONSTRAINED,
    "stability.": _PLAIN,
    "writer.": _PLAIN,
    "zai.": _PLAIN,
}

_ARN: Final = re.compile(r"arn:aws[a-z-]*:[a-z]+:([a-z0-9-]*):[0-9]*:[a-z-]+/(.+)")
# Profiles that spread requests over regions bear the name of the part of the world before the model's.
_GEOGRAPHY: Final = re.compile(r"(?:us|us-gov|eu|apac|jp|au|ca|sa|global)\.(?=[a-z0-9-]+\.)")


def base_model(model: str) -> str:
    """Return the name of a model without the profile or ARN around it, as far as it can be seen."""
    match = _ARN.fullmatch(model)
    name = match.group(2) if match is not None else model
    return _GEOGRAPHY.sub("", name, count=1) if _GEOGRAPHY.match(name) else name


def region_of(model: str) -> str:
    """Return the region that the ARN of a model names; empty when it names none."""
    match = _ARN.fullmatch(model)
    return match.group(1) if match is not None else ""


# Asked with every request, and mostly of the same few models.
@lru_cache(maxsize=256)
def family_for(model: str) -> Family:
    """Find what a model takes."""
    name = base_model(model).lower()
    fitting = [prefix for prefix in _FAMILIES if name.startswith(prefix)]
    return _FAMILIES[max(fitting, key=len)] if fitting else _UNKNOWN
