"""The difference between what files want and what an installation has, as steps in the order to make them."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from cli.manifest.thing import Kind, Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from cli.manifest.thing import Found, Wanted
    from kit.secret import Secret

__all__ = ["Action", "Change", "Prune", "Step", "difference", "fingerprint", "same_secret"]

SECRET: Final = "secret"  # noqa: S105  # name of a field
_PREVIEW: Final = 4
_FINGERPRINT_CHARACTERS: Final = 8


class Action(StrEnum):
    """What is done to a thing."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A field that is to be another. Of a secret neither is told."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    One thing to make, change or delete.

    Attributes:
        action: What is done.
        place: Where.
        name: What the thing is known by there.
        changes: Fields that are to be others; of a new thing, all that the file says.
        wanted: What it is to be; None for one that is deleted.
        found: What it is; None for a new one.
        with_secret: Whether a key's text is sent.
    """

    action: Action
    place: Place
    name: str
    changes: tuple[Change, ...] = ()
    wanted: Wanted | None = None
    found: Found | None = None
    with_secret: bool = False

    @property
    def title(self) -> str:
        """Name for people, without the account."""
        where = f"{self.place.gateway} " if self.place.gateway else ""
        return f"{self.place.kind.word} {where}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """
    What may be deleted.

    Attributes:
        listed: Places whose things the files list in full.
        tokens: Whether tokens may be, too.
        own_token: Id of the token that asks, which never is.
    """

    listed: Collection[Place] = ()
    tokens: bool = False
    own_token: str = ""

    def allows(self, found: Found) -> bool:
        """Tell whether something that no file wants may be deleted."""
        if found.place not in self.listed or found.place.kind is Kind.ACCOUNT:
            return False
        if found.place.kind is Kind.GATEWAY:
            return not found.shown["is_default"]  # it makes itself again
        if found.place.kind is Kind.TOKEN:
            return self.tokens and not self._is_kept(found)
        return True

    def _is_kept(self, token: Found) -> bool:
        return token.id == self.own_token or "operator" in token.fields["permissions"]

    def spared(self, wanted: Iterable[Wanted], found: Iterable[Found]) -> Iterator[str]:
        """Say which tokens are left that would be deleted if there were not others of the same name."""
        named = {(each.place, each.name) for each in wanted}
        counts = Counter((each.place, each.name) for each in found if self.allows(each))
        everything = Counter((each.place, each.name) for each in found)
        for (place, name), count in counts.items():
            if place.kind is Kind.TOKEN and (place, name) not in named and everything[place, name] > 1:
                text = f"{count} tokens {name} of the account {place.account} are left"
                yield f"{text}: their name does not tell which; `headrace token revoke` does by id."


def difference(wanted: Iterable[Wanted], found: Iterable[Found], prune: Prune | None = None) -> list[Step]:
    """
    Say what must be done.

    Args:
        wanted: Everything that files want.
        found: Everything that there is in the same places.
        prune: What may be deleted; None for nothing.
    """
    by_name: dict[tuple[Place, str], list[Found]] = defaultdict(list)
    for thing in found:
        by_name[(thing.place, thing.name)].append(thing)
    wants: dict[tuple[Place, str], list[Wanted]] = defaultdict(list)
    for want in wanted:
        wants[(want.place, want.name)].append(want)
    steps: list[Step] = []
    for key, named in wants.items():
        steps += _pairs(named, by_name.get(key, []))
    if prune is not None:
        steps += _deletions(wants, by_name, prune)
    # What is within a gateway that is deleted goes with it.
    gone = {
        (s.place.account, s.name) for s in steps if s.action is Action.DELETE and s.place.kind is Kind.GATEWAY
    }
    kept = [step for step in steps if (step.place.account, step.place.gateway) not in gone]
    return sorted(kept, key=_order)


def _order(step: Step) -> tuple[bool, bool, int, str, str, str]:
    is_last = step.action is Action.DELETE
    # Somebody else may take an id meanwhile: then nothing is made yet.
    is_first = step.place.kind is Kind.ACCOUNT and step.action is Action.CREATE
    rank = -step.place.kind if is_last else step.place.kind
    return is_last, not is_first, rank, step.place.account, step.place.gateway, step.name


def _deletions(
    wants: Mapping[tuple[Place, str], list[Wanted]],
    by_name: Mapping[tuple[Place, str], list[Found]],
    prune: Prune,
) -> list[Step]:
    return [
        Step(action=Action.DELETE, place=thing.place, name=thing.name, found=thing)
        for key, things in by_name.items()
        # Of a pool, those beyond what is wanted.
        for thing in _left_over(wants.get(key, []), things)
        if prune.allows(thing) and not _is_ambiguous(key[0], things)
    ]


def _is_ambiguous(place: Place, things: list[Found]) -> bool:
    """Tell whether these are tokens of one name: no file can list them, so that its silence says nothing."""
    return place.kind is Kind.TOKEN and len(things) > 1


def _left_over(wants: list[Wanted], things: list[Found]) -> list[Found]:
    matched = {id(thing) for _, thing in _matched(wants, things)}
    return [thing for thing in things if id(thing) not in matched]


def _pairs(wants: list[Wanted], things: list[Found]) -> list[Step]:
    matched = _matched(wants, things)
    done = {id(want) for want, _ in matched}
    steps = [step for want, thing in matched if (step := _update(want, thing))]
    return steps + [_create(want) for want in wants if id(want) not in done]


def _matched(wants: list[Wanted], things: list[Found]) -> list[tuple[Wanted, Found]]:
    """Say which is which: those that hold the same key first, then in the order that they have."""
    pairs: list[tuple[Wanted, Found]] = []
    left = list(things)
    open_wants: list[Wanted] = []
    for want in wants:
        same = next((thing for thing in left if _is_same_key(want, thing)), None)
        if same is None:
            open_wants.append(want)
        else:
            left.remove(same)
            pairs.append((want, same))
    return pairs + list(zip(open_wants, left, strict=False))


def _is_same_key(want: Wanted, thing: Found) -> bool:
    if want.place.kind is not Kind.KEY:
        return True
    if want.secret is None:
        return bool(want.fields["ref"] == thing.fields["ref"])
    return same_secret(thing.shown, want.secret)


def _create(want: Wanted) -> Step:
    changes = [
        Change(field=name, old=None, new=value) for name, value in want.fields.items() if name in want.said
    ]
    if want.secret is not None:
        changes.append(Change(field=SECRET, old=None, new=None))
    return Step(
        action=Action.CREATE,
        place=want.place,
        name=want.name,
        changes=tuple(changes),
        wanted=want,
        with_secret=want.secret is not None,
    )


def _update(want: Wanted, thing: Found) -> Step | None:
    changes = [
        Change(field=name, old=thing.fields.get(name), new=value)
        for name, value in want.fields.items()
        if thing.fields.get(name) != value
    ]
    is_other = want.secret is not None and not same_secret(thing.shown, want.secret)
    if is_other:
        changes.append(Change(field=SECRET, old=None, new=None))
    if not changes:
        return None
    return Step(
        action=Action.UPDATE,
        place=want.place,
        name=want.name,
        changes=tuple(changes),
        wanted=want,
        found=thing,
        with_secret=is_other,
    )


def same_secret(shown: Mapping[str, Any], secret: Secret) -> bool:
    """Tell whether a key, as the API shows it, is this one."""
    if shown["secret_id"] != shown["id"]:
        return False
    kept = shown.get("secret_fingerprint")
    if kept:
        return hmac.compare_digest(str(kept), fingerprint(shown["id"], secret))
    # Older services tell no more than the end of a key.
    text = secret.reveal()
    return bool(shown["secret_preview"] == (text[-_PREVIEW:] if len(text) >= 3 * _PREVIEW else ""))


def fingerprint(config_id: str, secret: Secret) -> str:
    """
    Give what tells one key from another without telling either.

    As auth computes it: HMAC-SHA-256 of the key under its own id, cut short.
    """
    digest = hmac.new(config_id.encode(), secret.reveal().encode(), hashlib.sha256)
    return digest.hexdigest()[:_FINGERPRINT_CHARACTERS]
