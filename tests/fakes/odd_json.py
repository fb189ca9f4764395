"""
Odd JSON for readers of requests: values of the wrong kind, and good requests with one of those put somewhere.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["bent", "odd_values"]

_SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    1 << 63,
    "",
    "x",
    "data:",
    [],
    {},
    [[]],
    [{}],
    [None],
)
Place = tuple[Any, Any]


def odd_values(words: list[str]) -> st.SearchStrategy[Any]:
    """Make any JSON, of members and words that a reader looks for."""
    leaves = st.one_of(st.sampled_from(_SCALARS), st.sampled_from(words), st.text(max_size=3))
    names = st.sampled_from(words)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


def bent(good: dict[str, Any], words: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Make a good request with a few of its values, anywhere in it, replaced or taken out."""
    values = odd_values(words)

    @st.composite
    def bend(draw: Callable[..., Any]) -> dict[str, Any]:
        body = deepcopy(good)
        for _ in range(draw(st.integers(1, 3))):
            places = list(_places(body))
            if not places:
                break
            holder, key = places[draw(st.integers(0, len(places) - 1))]
            if isinstance(holder, dict) and draw(st.integers(0, 3)) == 0:
                del holder[key]
            else:
                # A copy: what is drawn may be shared, and is bent in its turn.
                holder[key] = deepcopy(draw(values))
        return body

    return bend()


def _places(value: Any) -> Iterator[Place]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)
