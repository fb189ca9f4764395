"""Steps for people and for scripts. Secrets stand in neither."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from cli.manifest.diff import SECRET, Action
from cli.manifest.thing import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.manifest.diff import Change, Step

__all__ = ["as_json", "lines", "summary"]

_SIGNS: Final = {Action.CREATE: "+", Action.UPDATE: "~", Action.DELETE: "-"}
_WORDS: Final = {Action.CREATE: "create", Action.UPDATE: "change", Action.DELETE: "delete"}
_LONGEST: Final = 100


def lines(steps: Iterable[Step]) -> list[str]:
    """Give the difference, by account."""
    found: list[str] = []
    account = None
    for step in sorted(steps, key=_order):
        if _account(step) != account:
            account = _account(step)
            found.append(f"account {account}")
        found.append(f"  {_SIGNS[step.action]} {step.title}")
        for change in step.changes:
            found += [f"      {line}" for line in _change(change, is_new=step.action is Action.CREATE)]
    return found


def _order(step: Step) -> tuple[str, Kind, str, str]:
    # Keys and routes stand below their gateway.
    kind = step.place.kind
    gateway = step.place.gateway or (step.name if kind is Kind.GATEWAY else "")
    rank = Kind.GATEWAY if kind in {Kind.KEY, Kind.ROUTE} else kind
    return _account(step), rank, gateway, f"{kind:d}{step.name}"


def _account(step: Step) -> str:
    return step.name if step.place.kind is Kind.ACCOUNT else step.place.account


def _change(change: Change, *, is_new: bool) -> list[str]:
    if change.field == SECRET:
        return [f"{SECRET}: {'(not shown)' if is_new else 'another (not shown)'}"]
    if is_new:
        return [f"{change.field}: {_short(change.new)}"]
    old, new = _text(change.old), _text(change.new)
    if len(old) + len(new) <= _LONGEST:
        return [f"{change.field}: {old} → {new}"]
    return _parts(change.field, change.old, change.new)


def _short(value: Any) -> str:
    """Write a value; of one that has no place on a line, only how much it is."""
    text = _text(value)
    if len(text) <= _LONGEST:
        return text
    if isinstance(value, list):
        return f"({len(value)} entries)"
    return f"({len(value)} members)" if isinstance(value, dict) else f"{text[:_LONGEST]}…"


def _parts(name: str, old: Any, new: Any) -> list[str]:
    """Tell a long change by the parts that differ."""
    before, after = dict(_leaves(name, old)), dict(_leaves(name, new))
    found = []
    for path in dict.fromkeys((*before, *after)):
        if path not in after:
            found.append(f"- {path}: {_text(before[path])}")
        elif path not in before:
            found.append(f"+ {path}: {_text(after[path])}")
        elif before[path] != after[path]:
            found.append(f"~ {path}: {_text(before[path])} → {_text(after[path])}")
    return found


def _leaves(path: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from _leaves(f"{path}.{name}", member)
    elif isinstance(value, list) and value:
        for index, member in enumerate(value):
            # Elements of routes have ids, and are known by them wherever they stand.
            own = member.get("id") if isinstance(member, dict) else None
            yield from _leaves(f"{path}.{own or index}", member)
    else:
        yield path, value


def _text(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and value:
        return value
    return json.dumps(value, ensure_ascii=False)


def summary(steps: Iterable[Step]) -> str:
    """Give the numbers: `1 to create, 2 to change`."""
    counts = Counter(step.action for step in steps)
    return ", ".join(f"{counts[action]} to {_WORDS[action]}" for action in Action if counts[action])


def as_json(step: Step) -> dict[str, Any]:
    """Give a step for scripts."""
    return {
        "action": str(step.action),
        "kind": step.place.kind.word,
        "account": _account(step),
        "gateway": step.place.gateway or None,
        "name": step.name,
        "changes": {
            change.field: {"old": change.old, "new": change.new}
            if change.field != SECRET
            else {"old": None, "new": "(not shown)"}
            for change in step.changes
        },
    }
