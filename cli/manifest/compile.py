"""Checked files into the things that they want, after all that can be checked without asking anyone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cli.manifest import fields
from cli.manifest.local_secret import read_secret
from cli.manifest.marks import Problem
from cli.manifest.provider_check import check_provider
from cli.manifest.thing import Kind, Place, Wanted
from kit.errors import GatewayError
from kit.providers import SLUGS, canonical, is_custom
from services.auth.core.secret_ref import parse
from services.router.core.route_graph import check_elements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path as FilePath

    from cli.manifest.load import Loaded
    from cli.manifest.marks import Mark, Path
    from cli.manifest.models import Account, Gateway, Key, Provider, Route, Token
    from cli.manifest.models import Secret as SecretSource
    from kit.secret import Secret

__all__ = ["Compiled", "compile_files"]


@dataclass(slots=True)
class Compiled:
    """
    What some files want.

    Attributes:
        wanted: The things.
        listed: Where the files list things, which is where what they do not list is too much.
        references: Gateways that tokens are narrowed to, by account and id, with the place.
        accounts: The accounts that the files name.
        problems: What is wrong.
        named: Everything that may stand only once, whether it holds or not.
    """

    wanted: list[Wanted] = field(default_factory=list)
    listed: set[Place] = field(default_factory=set)
    references: list[tuple[str, str, Mark]] = field(default_factory=list)
    accounts: dict[str, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    named: list[tuple[Place, str, Mark]] = field(default_factory=list)


def compile_files(
    loaded: Iterable[Loaded], account: str, *, only_account: str = "", env: Mapping[str, str] = os.environ
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


class _File:
    """One file on its way."""

    def __init__(self, loaded: Loaded, compiled: Compiled, env: Mapping[str, str]) -> None:
        self._loaded = loaded
        self._document = loaded.document
        self._compiled = compiled
        self._env = env
        self._written: set[FilePath] = set()

    def read(self, usual: str, *, is_forced: bool) -> None:
        for index, account in enumerate(self._loaded.manifest.accounts):
            self._account(account, usual if is_forced else account.id or usual, ("accounts", index))

    def _account(self, account: Account, account_id: str, at: Path) -> None:
        mark = self._document.mark((*at, "id"))
        self._compiled.accounts.setdefault(account_id, mark)
        chosen = account.model_dump(include={"name", "unified"}, exclude_none=True)
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
        self._holds(at, lambda: check_provider(account_id, provider.slug, values))
        self._once(
            Wanted(
                place=Place(account_id, "", Kind.PROVIDER),
                name=provider.slug,
                fields=values,
                body=fields.provider_body(values),
                said=frozenset(provider.model_fields_set),
                mark=self._document.mark((*at, "slug")),
            )
        )

    def _gateway(self, gateway: Gateway, account_id: str, at: Path) -> None:
        values: dict[str, Any] = {}
        self._holds(at, lambda: values.update(fields.gateway_fields(gateway)))
        self._once(
            Wanted(
                place=Place(account_id, "", Kind.GATEWAY),
                name=gateway.id,
                fields=values,
                body=fields.gateway_body(gateway),
                said=frozenset(gateway.model_fields_set),
                mark=self._document.mark((*at, "id")),
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
        text = json.dumps(route.elements)
        self._holds(at, lambda: check_elements(text, self._knows))
        values = {"elements": route.elements}
        mark = self._document.mark((*at, "name"))
        self._once(
            Wanted(
                place=place, name=route.name, fields=values, body=values, mark=mark, said=frozenset(values)
            )
        )

    def _key(self, key: Key, place: Place, at: Path) -> None:
        provider = canonical(key.provider)
        if not self._knows(provider):
            self._wrong((*at, "provider"), f"there is no provider {key.provider}")
        secret = None if key.secret is None else self._secret(key.secret, (*at, "secret"))
        ref = key.ref
        if ref is not None:
            self._holds(at, lambda: parse(ref), "ref")
        if key.ref is not None or secret is not None:
            self._add(
                Wanted(
                    place=place,
                    name=f"{provider}/{key.alias}",
                    fields=fields.key_fields(key),
                    body=fields.key_body(key),
                    said=frozenset(key.model_fields_set),
                    mark=self._document.mark((*at, "provider")),
                    secret=secret,
                )
            )

    def _token(self, token: Token, account_id: str, at: Path) -> None:
        for index, gateway_id in enumerate(token.gateways):
            mark = self._document.mark((*at, "gateways", index))
            self._compiled.references.append((account_id, gateway_id, mark))
        write_to = None if token.write_to is None else self._loaded.directory / token.write_to
        is_good = self._check_token(token, write_to, at)
        values = fields.token_fields(token) if is_good else {}
        self._once(
            Wanted(
                place=Place(account_id, "", Kind.TOKEN),
                name=token.name,
                fields=values,
                body=fields.token_body(token.name, values, account_id) if is_good else {},
                mark=self._document.mark((*at, "name")),
                write_to=write_to,
                said=frozenset({"permissions", *token.model_fields_set}),
            )
        )

    def _check_token(self, token: Token, write_to: FilePath | None, at: Path) -> bool:
        before = len(self._compiled.problems)
        for name in ("addresses", "forbidden_addresses"):
            for index, text in enumerate(getattr(token, name)):
                if not fields.is_network(text):
                    self._wrong((*at, name, index), f"{text} is neither an address nor a network")
        for index, provider in enumerate(token.providers):
            if not self._knows(provider):
                self._wrong((*at, "providers", index), f"there is no provider {provider}")
        if token.not_before and token.expires_on and token.not_before >= token.expires_on:
            self._wrong((*at, "expires_on"), "a token cannot end before it begins")
        if write_to is not None:
            self._check_file(write_to, (*at, "write_to"))
        return len(self._compiled.problems) == before

    def _check_file(self, write_to: FilePath, at: Path) -> None:
        if not write_to.parent.is_dir():
            self._wrong(at, f"there is no directory {write_to.parent}")
        elif write_to.is_dir():
            self._wrong(at, f"{write_to} is a directory")
        elif write_to in self._written:
            # The second secret would take the place of the first.
            self._wrong(at, f"another token is written to {write_to} already")
        self._written.add(write_to)

    def _secret(self, source: SecretSource, at: Path) -> Secret | None:
        try:
            return read_secret(source, self._loaded.directory, self._env)
        except ValueError as error:
            self._wrong((*at, "file" if source.env is None else "env"), str(error))
            return None

    def _knows(self, provider: str) -> bool:
        # Whether an account or the operator has one of that name, the installation knows.
        return canonical(provider) in SLUGS or is_custom(provider)

    def _holds(self, at: Path, check: Callable[[], Any], param: str = "") -> None:
        """Run a check of the services; tell what it finds at its place, or at that of `param`."""
        try:
            check()
        except GatewayError as error:
            path: list[str | int] = list(at)
            parts = (param or error.metadata.get("param", "")).split(".")
            path += [int(part) if part.isdigit() else part for part in parts]
            text = error.message
            self._wrong(tuple(path), text[:1].lower() + text[1:].rstrip("."))

    def _once(self, wanted: Wanted) -> None:
        self._compiled.named.append((wanted.place, wanted.name, wanted.mark))
        self._add(wanted)

    def _add(self, wanted: Wanted) -> None:
        self._compiled.wanted.append(wanted)

    def _wrong(self, at: Path, text: str) -> None:
        name = ".".join(str(part) for part in at if part != "")
        self._compiled.problems.append(Problem(self._document.mark(at), f"{name}: {text}"))
