"""Files compared with a running installation: steps to make, or everything that stands against them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.manifest.actual import find_accounts, find_all, own_token_id
from cli.manifest.compile import compile_files
from cli.manifest.diff import Action, Prune, difference
from cli.manifest.load import files_of, load
from cli.manifest.marks import Problem
from cli.manifest.thing import Kind, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cli.api import Api
    from cli.manifest.compile import Compiled
    from cli.manifest.diff import Step
    from cli.manifest.thing import Found, Wanted

__all__ = ["Options", "Plan", "compare", "read_files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    What was asked for.

    Attributes:
        account: The account where a file names none.
        only_account: Put everything into this account; empty for those that the files name.
        prune: Delete what the files do not have.
        prune_tokens: Tokens too.
        show_secrets: New tokens may be shown.
    """

    account: str
    only_account: str = ""
    prune: bool = False
    prune_tokens: bool = False
    show_secrets: bool = False


@dataclass(slots=True)
class Plan:
    """What to do, or what is wrong."""

    steps: list[Step] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unchanged: int = 0


def read_files(
    paths: Iterable[Path],
    options: Options,
    *,
    texts: Mapping[Path, str] | None = None,
    env: Mapping[str, str] = os.environ,
) -> Compiled:
    """
    Read files and check them without asking anyone.

    Args:
        paths: Files, and directories of files.
        options: What was asked for.
        texts: What stands in files that were read already.
        env: Where `env:` secrets of this machine are.
    """
    files, problems = files_of(paths)
    loaded = []
    for file in files:
        found, wrong = load(file, (texts or {}).get(file))
        problems += wrong
        if found is not None:
            loaded.append(found)
    compiled = compile_files(loaded, options.account, only_account=options.only_account, env=env)
    compiled.problems = sorted({*problems, *compiled.problems})
    return compiled


def compare(api: Api, compiled: Compiled, options: Options) -> Plan:
    """
    Compare files, which have no mistakes of their own, with an installation.

    Raises:
        ApiError: It cannot be read.
    """
    accounts = find_accounts(api)
    there = {each.name for each in accounts}
    places = {each.place for each in compiled.wanted} | compiled.listed
    places |= {Place(account, "", Kind.GATEWAY) for account, _, _ in compiled.references}
    found = [
        *accounts,
        *find_all(api, [place for place in places if place.account in there]),
    ]
    problems = [*_references(compiled, found), *_tokens(compiled, found, options)]
    prune = None
    if options.prune:
        # Asked where the token may do something: that need not be the account that is usual here.
        own = own_token_id(api, next((each for each in compiled.accounts if each in there), options.account))
        prune = Prune(listed=compiled.listed, tokens=options.prune_tokens, own_token=own)
    steps = difference(compiled.wanted, found, prune)
    touched = sum(step.action is not Action.DELETE for step in steps)
    return Plan(steps=steps, problems=sorted(set(problems)), unchanged=len(compiled.wanted) - touched)


def _references(compiled: Compiled, found: list[Found]) -> list[Problem]:
    """Find what is narrowed to gateways that there are not, and will not be."""
    things: list[Wanted | Found] = [*compiled.wanted, *found]
    gateways = {(each.place.account, each.name) for each in things if each.place.kind is Kind.GATEWAY}
    return [
        Problem(mark, f"there is no gateway {gateway} in the account {account}")
        for account, gateway, mark in compiled.references
        if (account, gateway) not in gateways and gateway != "default"
    ]


def _tokens(compiled: Compiled, found: list[Found], options: Options) -> list[Problem]:
    problems = []
    for wanted in compiled.wanted:
        if wanted.place.kind is not Kind.TOKEN:
            continue
        same = [each for each in found if (each.place, each.name) == (wanted.place, wanted.name)]
        if len(same) > 1:
            text = f"there are {len(same)} tokens {wanted.name} in the account {wanted.place.account}"
            problems.append(Problem(wanted.mark, f"{text}: rename or revoke all but one"))
        if same:
            continue
        if wanted.write_to is None and not options.show_secrets:
            text = f"the token {wanted.name} is new: say write_to, or --show-secrets to have it printed"
            problems.append(Problem(wanted.mark, text))
        elif wanted.write_to is not None and not os.access(wanted.write_to.parent, os.W_OK):
            problems.append(Problem(wanted.mark, f"{wanted.write_to.parent} cannot be written to"))
    return problems
