"""Checked files into the things that they want, after all that can be checked without asking anyone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from cli.manifest import body_check, fields
from cli.manifest.local_secret import read_secret
from cli.manifest.marks import Problem
from cli.manifest.thing import Kind, Place, Reference, Wanted
from kit.errors import GatewayError
from kit.providers import CUSTOM_PREFIX, SLUGS, canonical, is_custom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cli.manifest.load import Loaded
    from cli.manifest.marks import Mark, Path
    from cli.manifest.models import Account, Gateway, Key, Provider, Route, Token
    from cli.manifest.models import Secret as SecretSource
    from kit.secret import Secret
    from services.edge.management.models.forms import Body

__all__ = ["Compiled", "compile_files"]


@dataclass(slots=True)
class Compiled:
    """
    What some files want.

    Attributes:
        wanted: The things.
        listed: Where the files list things, which is where what they do not list is too much.
        references: Gateways and accounts' own providers that something names.
        accounts: The accounts that the files name.
        problems: What is wrong.
        named: Everything that may stand only once, whether it holds or not.
        read: Files that secrets are read from, whether they are there or not.
        written: Files for new tokens, with what the file calls them and where.
    """

    wanted: list[Wanted] = field(default_factory=list)
    listed: set[Place] = field(default_factory=set)
    references: list[Reference] = field(default_factory=list)
    accounts: dict[str, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    named: list[tuple[Place, str, Mark]] = field(default_factory=list)
    read: set[FilePath] = field(default_factory=set)
    written: list[tuple[FilePath, str, Mark]] = field(default_factory=list)


def compile_files(
    loaded: Sequence[Loaded], account: str, *, only_account: str = "", env: Mapping[str, str] = os.environ
) -> Compiled:
    """
    Say what files want.

    Args:
        loaded: The files.
        account: The account where a file names none.
        only_account: Put everything there, whichever one account the files name.
        env: Where `env:` secrets of this machine are.
    """
    compiled = Compiled()
    for each in loaded:
        _File(each, compiled, env).read(only_account or account, is_forced=bool(only_account))
    if only_account:
        _check_one_account(loaded, compiled)
    _check_twice(compiled)
    _check_written(compiled, {FilePath(each.document.file) for each in loaded})
    compiled.problems.sort()
    return compiled


def _check_one_account(loaded: Iterable[Loaded], compiled: Compiled) -> None:
    """Several accounts of a file cannot all become the one that the command names."""
    ids: dict[str, Mark] = {}
    for each in loaded:
        for index, account in enumerate(each.manifest.accounts):
            ids.setdefault(account.id or "", each.document.mark(("accounts", index)))
    if len(ids) > 1:
        text = "--account goes with files of one account, and this is another one"
        compiled.problems.append(Problem(list(ids.values())[1], text))


def _check_twice(compiled: Compiled) -> None:
    first: dict[tuple[Place, str], Mark] = {}
    for place, name, mark in compiled.named:
        if (place, name) in first:
            text = f"the {place.kind.word} {name} stands already at {first[(place, name)]}"
            compiled.problems.append(Problem(mark, text))
        first.setdefault((place, name), mark)


def _check_written(compiled: Compiled, files: set[FilePath]) -> None:
    """A new token must not take the place of what is read, nor of another new token."""
    taken = {path.resolve(): f"{path} is one of these files" for path in files}
    taken |= {path.resolve(): f"a key is read from {path}" for path in compiled.read}
    for path, name, mark in compiled.written:
        if text := taken.get(path.resolve()):
            compiled.problems.append(Problem(mark, f"{name}: {text}"))
        else:
            taken[path.resolve()] = f"another token is written to {path} already"


class _File:
    """One file on its way."""

    def __init__(self, loaded: Loaded, compiled: Compiled, env: Mapping[str, str]) -> None:
        self._loaded = loaded
        self._document = loaded.document
        self._compiled = compiled
        self._env = env

    def read(self, usual: str, *, is_forced: bool) -> None:
        for index, account in enumerate(self._loaded.manifest.accounts):
            self._account(account, usual if is_forced else account.id or usual, ("accounts", index))

    def _account(self, account: Account, account_id: str, at: Path) -> None:
        mark = self._document.mark((*at, "id"))
        self._compiled.accounts.setdefault(account_id, mark)
        chosen = account.model_dump(include={"name", "unified"}, exclude_none=True)
        if not self._holds(at, lambda: body_check.check_account(account_id, chosen)):
            return
        self._own(account_id, chosen, mark)
        for name, kind in (
            ("providers", Kind.PROVIDER), ("gateways", Kind.GATEWAY), ("tokens", Kind.TOKEN),
        ):  # fmt: skip
            if getattr(account, name) is not None:
                self._compiled.listed.add(Place(account_id, "", kind))
        for index, provider in enumerate(account.providers or ()):
            self._provider(provider, account_id, (*at, "providers", index))
        for index, gateway in enumerate(account.gateways or ()):
            self._gateway(gateway, account_id, (*at, "gateways", index))
        for index, token in enumerate(account.tokens or ()):
            self._token(token, account_id, (*at, "tokens", index))

    def _own(self, account_id: str, chosen: dict[str, Any], mark: Mark) -> None:
        """Take what is said about an account itself; that may be nothing, and stand in several files."""
        place = Place("", "", Kind.ACCOUNT)
        wanted = self._compiled.wanted
        before = [each for each in wanted if each.place == place and each.name == account_id]
        if not chosen and before:
            return
        for each in before:
            if not each.fields:
                wanted.remove(each)
        if chosen:
            self._compiled.named.append((place, account_id, mark))
        self._add(
            Wanted(
                place=place, name=account_id, fields=chosen, body=chosen, mark=mark, said=frozenset(chosen)
            )
        )

    def _provider(self, provider: Provider, account_id: str, at: Path) -> None:
        values = fields.provider_fields(provider)
        body = fields.provider_body(values)
        self._holds(at, lambda: body_check.check_provider(account_id, provider.slug, body))
        self._once(
            Wanted(
                place=Place(account_id, "", Kind.PROVIDER),
                name=provider.slug,
                fields=values,
                body=body,
                **self._said(provider, at, "slug"),
            )
        )

    def _gateway(self, gateway: Gateway, account_id: str, at: Path) -> None:
        values: dict[str, Any] = {}
        body = fields.gateway_body(gateway)

        def check() -> None:
            body_check.check_gateway(body)
            values.update(fields.gateway_fields(gateway))

        self._holds(at, check)
        self._once(
            Wanted(
                place=Place(account_id, "", Kind.GATEWAY),
                name=gateway.id,
                fields=values,
                body=body,
                **self._said(gateway, at, "id"),
            )
        )
        for name, kind in (("keys", Kind.KEY), ("routes", Kind.ROUTE)):
            if getattr(gateway, name) is not None:
                self._compiled.listed.add(Place(account_id, gateway.id, kind))
        for index, key in enumerate(gateway.keys or ()):
            self._key(key, Place(account_id, gateway.id, Kind.KEY), (*at, "keys", index))
        for index, route in enumerate(gateway.routes or ()):
            self._route(route, Place(account_id, gateway.id, Kind.ROUTE), (*at, "routes", index))

    def _route(self, route: Route, place: Place, at: Path) -> None:
        values = {"elements": route.elements}
        wanted = Wanted(
            place=place, name=route.name, fields=values, body=values, **self._said(route, at, "name")
        )
        if self._holds(at, lambda: body_check.check_route(route.name, values, _may_be)):
            for index, element in enumerate(route.elements):
                name = (element.get("properties") or {}).get("provider")
                self._refer(wanted, name, (*at, "elements", index, "properties", "provider"))
        self._once(wanted)

    def _key(self, key: Key, place: Place, at: Path) -> None:
        provider = canonical(key.provider)
        if not _may_be(provider):
            self._wrong((*at, "provider"), f"there is no provider {key.provider}")
            return
        secret = None if key.secret is None else self._secret(key.secret, (*at, "secret"))
        if key.ref is None and secret is None:
            return
        body = fields.key_body(key)
        wanted = Wanted(
            place=place,
            name=f"{provider}/{key.alias}",
            fields=fields.key_fields(key),
            body=body,
            secret=secret,
            **self._said(key, at, "provider"),
        )
        self._holds(at, lambda: body_check.check_key(place.gateway, body, secret))
        self._refer(wanted, key.provider, (*at, "provider"))
        self._add(wanted)

    def _token(self, token: Token, account_id: str, at: Path) -> None:
        write_to = None if token.write_to is None else self._loaded.directory / token.write_to
        if write_to is not None:
            self._check_file(write_to, (*at, "write_to"))
        is_good = self._check_token(token, account_id, at)
        values = fields.token_fields(token) if is_good else {}
        said = self._said(token, at, "name")
        wanted = Wanted(
            place=Place(account_id, "", Kind.TOKEN),
            name=token.name,
            fields=values,
            body=fields.token_body(token.name, values, account_id) if is_good else {},
            write_to=write_to,
            **{**said, "said": said["said"] | {"permissions"}},
        )
        for index, gateway_id in enumerate(token.gateways):
            mark = self._document.mark((*at, "gateways", index))
            place = Place(account_id, "", Kind.GATEWAY)
            self._compiled.references.append(Reference(place, gateway_id, mark, wanted))
        for name in ("providers", "models"):
            for index, text in enumerate(getattr(token, name)):
                self._refer(wanted, text.partition("/")[0], (*at, name, index))
        self._once(wanted)

    def _check_token(self, token: Token, account_id: str, at: Path) -> bool:
        before = len(self._compiled.problems)
        for name in ("gateways", "providers", "models", "addresses", "forbidden_addresses"):
            for index, text in enumerate(getattr(token, name)):
                is_good = self._holds((*at, name, index), partial(body_check.check_entry, name, text))
                if is_good and name == "providers" and not _may_be(text):
                    self._wrong((*at, name, index), f"there is no provider {text}")
        if len(self._compiled.problems) > before:
            return False
        body = fields.token_body(token.name, fields.token_fields(token), account_id)
        return self._holds(at, lambda: body_check.check_token(body, account_id))

    def _said(self, model: Body, at: Path, name: str) -> dict[str, Any]:
        """Give what a thing's entry says, and where."""
        said = frozenset(model.model_fields_set)
        return {
            "mark": self._document.mark((*at, name)),
            "marks": {each: self._document.mark((*at, each)) for each in said},
            "said": said,
        }

    def _refer(self, wanted: Wanted, provider: Any, at: Path) -> None:
        """Note a provider that is the account's own or the operator's: there may be none of that name."""
        if isinstance(provider, str) and canonical(provider) not in SLUGS and is_custom(provider):
            place = Place(wanted.place.account, "", Kind.PROVIDER)
            slug = provider.removeprefix(CUSTOM_PREFIX)
            self._compiled.references.append(Reference(place, slug, self._document.mark(at), wanted))

    def _check_file(self, write_to: FilePath, at: Path) -> None:
        if not write_to.parent.is_dir():
            self._wrong(at, f"there is no directory {write_to.parent}")
        elif write_to.is_dir():
            self._wrong(at, f"{write_to} is a directory")
        else:
            self._compiled.written.append((write_to, _dotted(at), self._document.mark(at)))

    def _secret(self, source: SecretSource, at: Path) -> Secret | None:
        if source.file is not None:
            self._compiled.read.add(self._loaded.directory / source.file)
        try:
            return read_secret(source, self._loaded.directory, self._env)
        except ValueError as error:
            self._wrong((*at, "file" if source.env is None else "env"), str(error))
            return None

    def _holds(self, at: Path, check: Callable[[], Any]) -> bool:
        """Run a check of the services; tell what it finds at its place."""
        before = len(self._compiled.problems)
        try:
            check()
        except GatewayError as error:
            parts = error.metadata.get("param", "").split(".")
            path = (*at, *(int(part) if part.isdigit() else part for part in parts if part))
            text = error.message
            self._wrong(path, text[:1].lower() + text[1:].rstrip("."))
        return len(self._compiled.problems) == before

    def _once(self, wanted: Wanted) -> None:
        self._compiled.named.append((wanted.place, wanted.name, wanted.mark))
        self._add(wanted)

    def _add(self, wanted: Wanted) -> None:
        self._compiled.wanted.append(wanted)

    def _wrong(self, at: Path, text: str) -> None:
        self._compiled.problems.append(Problem(self._document.mark(at), f"{_dotted(at)}: {text}"))


def _dotted(at: Path) -> str:
    return ".".join(str(part) for part in at)


def _may_be(provider: str) -> bool:
    """Tell whether there may be a provider; of accounts' own and the operator's, the installation knows."""
    return canonical(provider) in SLUGS or is_custom(provider)
