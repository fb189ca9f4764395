"""
What Cohere's models take, as far as it differs between them.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["reasons"]

# Known to have no thinking, so that `thinking` and thoughts in the history are refused. Newer models have it.
_WITHOUT_THINKING: Final = re.compile(
    r"command(-light|-nightly)?"
    r"|command-r.*"
    r"|command-a(-translate|-vision)?-\d.*"
    r"|(c4ai-)?aya-.*|c4ai-command-.*",
    re.IGNORECASE,
)


def reasons(model: str) -> bool:
    """Tell whether a model can think before it answers."""
    return _WITHOUT_THINKING.fullmatch(model) is None
