"""Label selectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.rehearsal.fields import Fields

__all__ = ["Requirement", "Selector", "of_labels", "read_selector", "selects"]

_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """What a label must be."""

    key: str
    operator: str = "In"
    values: tuple[str, ...] = ()


Selector = tuple[Requirement, ...]
"""All of them must hold; an empty one selects everything."""


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Return whether labels are selected."""
    return all(_holds(requirement, labels) for requirement in selector)


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    if requirement.operator == "Exists":
        return value is not None
    if requirement.operator == "DoesNotExist":
        return value is None
    # A label that is not there is in no set, and so outside of every one.
    return (value in requirement.values) == (requirement.operator == "In")


def of_labels(labels: Mapping[str, str]) -> Selector:
    """Return the selector for exact labels."""
    return tuple(Requirement(key=key, values=(value,)) for key, value in sorted(labels.items()))


def read_selector(fields: Fields) -> Selector:
    """Read a selector."""
    return (*of_labels(fields.mapping("matchLabels")), *fields.each("matchExpressions", _requirement))


def _requirement(fields: Fields) -> Requirement:
    return Requirement(
        key=fields.text("key"),
        operator=fields.text("operator", one_of=_OPERATORS),
        values=fields.texts("values"),
    )
