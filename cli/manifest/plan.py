"""Files compared with a running installation: steps to make, or everything that stands against them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.manifest.actual import find_accounts, find_all
from cli.manifest.compile import compile_files
from cli.manifest.diff import Action, Prune, difference
from cli.manifest.installation_check import check_before, check_tokens
from cli.manifest.load import files_of, load
from cli.manifest.rights import check_rights, find_rights
from cli.manifest.thing import Kind, Place
from kit import moment
from kit.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cli.api import Api
    from cli.manifest.compile import Compiled
    from cli.manifest.diff import Step
    from cli.manifest.marks import Problem
    from kit.clock import Clock

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
    """What to do, or what is wrong; and what people are to be told besides."""

    steps: list[Step] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unchanged: int = 0
    notes: list[str] = field(default_factory=list)


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


def compare(api: Api, compiled: Compiled, options: Options, clock: Clock | None = None) -> Plan:
    """
    Compare files, which have no mistakes of their own, with an installation.

    Args:
        api: The management API.
        compiled: The files.
        options: What was asked for.
        clock: Says which new tokens would be over.

    Raises:
        ApiError: It cannot be read.
    """
    accounts = find_accounts(api)
    there = {each.name for each in accounts}
    places = {each.place for each in compiled.wanted} | compiled.listed
    places |= {each.place for each in compiled.references}
    places |= {Place(each.account, "", Kind.GATEWAY) for each in places if each.gateway}
    found = [*accounts, *find_all(api, [place for place in places if place.account in there])]
    now = moment.now(clock or SystemClock())
    problems = list(check_tokens(compiled, found, now, may_show=options.show_secrets))
    steps = difference(compiled.wanted, found)
    own_token, notes = "", []
    if steps or options.prune:
        # Asked where the token may do something: that need not be the account that is usual here.
        concerned = [each for each in compiled.accounts if each in there]
        rights = find_rights(api, concerned or [min(there, default=options.account)])
        own_token = rights.token_id
        prune = Prune(listed=compiled.listed, tokens=options.prune_tokens, own_token=own_token)
        if options.prune:
            steps = difference(compiled.wanted, found, prune)
            notes = [*prune.spared(compiled.wanted, found)]
        problems += check_before(api, compiled, found, steps, operator=rights.operator)
        problems += check_rights(api, rights, steps, compiled.accounts)
    touched = sum(step.action is not Action.DELETE for step in steps)
    return Plan(
        # Nothing that the token is still needed for comes after what may be its end.
        steps=sorted(steps, key=lambda step: step.found is not None and step.found.id == own_token),
        problems=sorted(set(problems)),
        unchanged=len(compiled.wanted) - touched,
        notes=notes,
    )
