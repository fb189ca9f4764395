"""
What an installation would refuse for what it has, found before it is asked to change anything.

Things that are named and are not there, more than there may be, references that it cannot follow, tokens that
would be over, ids that are not used again.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Final

from cli.manifest.actual import deleted_accounts, has_all_versions, operator_providers
from cli.manifest.body_check import check_token
from cli.manifest.diff import Action
from cli.manifest.marks import Problem
from cli.manifest.thing import Kind
from kit.errors import GatewayError
from kit.providers import CUSTOM_PREFIX
from services.auth.core.provider_config import MOST_IN_GATEWAY
from services.auth.core.secret_ref import References, RefKind, parse
from services.router.core.custom_provider import MOST_PROVIDERS
from services.router.core.gateway import DEFAULT_GATEWAY, MOST_GATEWAYS
from services.router.core.route import MOST_ROUTES, MOST_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from cli.api import Api
    from cli.manifest.compile import Compiled
    from cli.manifest.diff import Step
    from cli.manifest.thing import Found, Reference, Wanted

__all__ = ["check_before", "check_tokens"]

_MOST: Final = {
    Kind.PROVIDER: MOST_PROVIDERS,
    Kind.GATEWAY: MOST_GATEWAYS,
    Kind.KEY: MOST_IN_GATEWAY,
    Kind.ROUTE: MOST_ROUTES,
}


def check_tokens(
    compiled: Compiled, found: Sequence[Found], now: datetime, *, may_show: bool
) -> Iterator[Problem]:
    """
    Check the tokens of some files.

    Args:
        compiled: The files.
        found: What there is.
        now: The time.
        may_show: Whether a new token may be printed.
    """
    for wanted in compiled.wanted:
        if wanted.place.kind is not Kind.TOKEN:
            continue
        count = sum((each.place, each.name) == (wanted.place, wanted.name) for each in found)
        if count > 1:
            text = f"there are {count} tokens {wanted.name} in the account {wanted.place.account}"
            yield Problem(wanted.mark, f"{text}: rename or revoke all but one")
        elif not count:
            yield from _new_token(wanted, now, may_show=may_show)


def _new_token(wanted: Wanted, now: datetime, *, may_show: bool) -> Iterator[Problem]:
    if wanted.write_to is None:
        if not may_show:
            text = f"the token {wanted.name} is new: say write_to, or --show-secrets to have it printed"
            yield Problem(wanted.mark, text)
    elif not os.access(wanted.write_to.parent, os.W_OK):
        yield Problem(wanted.mark, f"{wanted.write_to.parent} cannot be written to")
    try:
        check_token(wanted.body, wanted.place.account, now)
    except GatewayError as error:
        yield _problem(wanted, error.metadata.get("param", ""), f"the token {wanted.name}: {_text(error)}")


def check_before(
    api: Api, compiled: Compiled, found: Sequence[Found], steps: Sequence[Step], *, operator: bool
) -> Iterator[Problem]:
    """
    Check the steps of some files against what there is. The files have no mistakes of their own.

    Args:
        api: The management API.
        compiled: The files.
        found: What there is.
        steps: What is to be done.
        operator: Whether the token that asks is an operator's, which alone makes accounts.

    Raises:
        ApiError: Something cannot be had.
    """
    made = [step for step in steps if step.action is not Action.DELETE]
    gone = {id(step.found) for step in steps if step.action is Action.DELETE}
    kept = [each for each in found if id(each) not in gone]
    operators: frozenset[str] | None = None
    own = [each for each in compiled.references if each.place.kind is Kind.PROVIDER]
    if own or any(step.place.kind is Kind.PROVIDER for step in made):
        operators = operator_providers(api, _account_to_ask(compiled, found))
    yield from _references(compiled, kept, steps, operators)
    yield from _taken(made, operators or frozenset())
    yield from _too_many(found, made)
    yield from _other_stores(found, made)
    yield from _versions(api, made)
    if operator:
        yield from _used_before(api, made)


def _account_to_ask(compiled: Compiled, found: Iterable[Found]) -> str:
    """Choose an account that is there; what is asked is the same of all."""
    there = [each.name for each in found if each.place.kind is Kind.ACCOUNT]
    return next((each for each in compiled.accounts if each in there), there[0] if there else "")


def _references(
    compiled: Compiled, kept: Iterable[Found], steps: Iterable[Step], operators: frozenset[str] | None
) -> Iterator[Problem]:
    """
    Find what names something that there is not, or that will not be there.

    What stays as it is may name what is gone already: that is how it is, and no mistake of the file.
    """
    there = {(each.place, each.name) for each in compiled.wanted}
    there |= {(each.place, each.name) for each in kept}
    deleted = {(step.place, step.name) for step in steps if step.action is Action.DELETE}
    changed = {(step.place, step.name) for step in steps if step.action is not Action.DELETE}
    for each in compiled.references:
        key = (each.place, each.name)
        if key in there or _is_everywhere(each, operators):
            continue
        if key in deleted:
            yield Problem(each.mark, f"{_what(each)} would be deleted, and is named here")
        elif (each.by.place, each.by.name) in changed:
            yield Problem(each.mark, f"there is no {_what(each)} in the account {each.place.account}")


def _is_everywhere(each: Reference, operators: frozenset[str] | None) -> bool:
    if each.place.kind is Kind.GATEWAY:
        return each.name == DEFAULT_GATEWAY
    # An installation that does not tell is left to say so itself.
    return operators is None or f"{CUSTOM_PREFIX}{each.name}" in operators


def _what(each: Reference) -> str:
    prefix = CUSTOM_PREFIX if each.place.kind is Kind.PROVIDER else ""
    return f"{each.place.kind.word} {prefix}{each.name}"


def _taken(made: Iterable[Step], operators: frozenset[str]) -> Iterator[Problem]:
    for step in made:
        is_new = step.place.kind is Kind.PROVIDER and step.action is Action.CREATE
        if step.wanted and is_new and f"{CUSTOM_PREFIX}{step.name}" in operators:
            text = f"the operator has a provider {CUSTOM_PREFIX}{step.name} already"
            yield Problem(step.wanted.mark, text)


def _too_many(found: Iterable[Found], made: Iterable[Step]) -> Iterator[Problem]:
    """Find more than there may be in a place; what is to be deleted still counts, as it goes last."""
    counts = Counter(each.place for each in found)
    for step in made:
        if step.action is not Action.CREATE or step.place.kind not in _MOST:
            continue
        counts[step.place] += 1
        most = _MOST[step.place.kind]
        if step.wanted and counts[step.place] == most + 1:
            text = f"this is one more than the {most} {step.place.kind.word}s that there may be here"
            yield Problem(step.wanted.mark, f"{text}, those to be deleted included")


def _other_stores(found: Iterable[Found], made: Iterable[Step]) -> Iterator[Problem]:
    """Find references to keys that the account may not use, or that the installation cannot follow."""
    kinds = {
        each.name: frozenset(each.shown["reference_kinds"])
        for each in found
        if each.place.kind is Kind.ACCOUNT and "reference_kinds" in each.shown
    }
    # What every account has, a new one will have; the environment is for the installation's own.
    of_new = frozenset().union(*kinds.values()) - {RefKind.ENV}
    there = {each.name for each in found if each.place.kind is Kind.ACCOUNT}
    for step in made:
        wanted, account = step.wanted, step.place.account
        if wanted is None or "secret_id" not in wanted.body or not kinds:
            continue
        allowed = kinds.get(account, None if account in there else of_new)
        is_sent = step.found is None or step.found.fields["ref"] != wanted.fields["ref"]
        if allowed is None or not is_sent:
            continue
        references = References(
            operator_account=account if RefKind.ENV in allowed else "",
            kinds={kind for kind in RefKind if kind in allowed},
        )
        try:
            references.check(parse(wanted.body["secret_id"]), account)
        except GatewayError as error:
            yield _problem(wanted, "ref", _text(error))


def _versions(api: Api, made: Iterable[Step]) -> Iterator[Problem]:
    for step in made:
        if step.place.kind is not Kind.ROUTE or step.found is None or step.wanted is None:
            continue
        if has_all_versions(api, step.place, step.found.id, most=MOST_VERSIONS):
            text = f"the route {step.name} has {MOST_VERSIONS} versions, the most there may be"
            yield Problem(step.wanted.mark, f"{text}: make another route")


def _used_before(api: Api, made: Iterable[Step]) -> Iterator[Problem]:
    """Find accounts that are to be made with the id of one that was deleted."""
    new = [step for step in made if step.place.kind is Kind.ACCOUNT and step.action is Action.CREATE]
    deleted = deleted_accounts(api) if new else frozenset()
    for step in new:
        if step.wanted and step.name in deleted:
            text = f"the id {step.name} was that of an account that is deleted, and is not used again"
            yield Problem(step.wanted.mark, text)


def _problem(wanted: Wanted, param: str, text: str) -> Problem:
    return Problem(wanted.mark_of(param.partition(".")[0]), text)


def _text(error: GatewayError) -> str:
    return error.message[:1].lower() + error.message[1:].rstrip(".")
