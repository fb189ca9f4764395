"""`headrace provider`: lists and changes the providers that an account named itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.document import apply_sets
from cli.options import Account, AsJson, Sets, Url, Yes
from cli.output import confirm, note, print_json, print_object, print_table
from cli.rpc import fail
from cli.session import Session, connect

app = typer.Typer(no_args_is_help=True, help="See and change an account's own providers.")

_COLUMNS = ("slug", "name", "base_url", "enable", "beta", "id")
_HEALTH = (
    "provider", "model", "key", "whose", "circuit", "success", "first byte", "share",
    "ok", "failed", "refused",
)  # fmt: skip

Slug = Annotated[str, typer.Argument(help="Its slug, without `custom-`, or its id.", metavar="PROVIDER")]
Name = Annotated[str | None, typer.Option("--name", "-n", help="Name for people.")]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="Where its API is; begins with https://.")]
Enable = Annotated[bool | None, typer.Option("--enable/--disable", help="Whether it may be called.")]
Description = Annotated[str | None, typer.Option("--description", help="What it is.")]
Headers = Annotated[
    list[str],
    typer.Option("--header", "-H", help="Header of every call to it, as `name: value`; repeatable."),
]


@app.command("list")
def list_providers(*, account: Account = "", url: Url = "", as_json: AsJson = False) -> None:
    """List the providers of an account."""
    session = connect(url, account)
    found = session.api.pages(_base(session))
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [[each[name] for name in _COLUMNS] for each in found])


@app.command()
def get(provider: Slug, *, account: Account = "", url: Url = "", as_json: AsJson = False) -> None:
    """Show a provider."""
    session = connect(url, account)
    found = _find(session, provider)
    if as_json:
        print_json(found)
    else:
        print_object({name: value for name, value in found.items() if name != "logo"})


@app.command()
def create(
    slug: Annotated[str, typer.Argument(help="Its slug: requests go to `custom-{slug}`.")],
    *,
    base_url: Annotated[str, typer.Option("--base-url", help="Where its API is; begins with https://.")],
    name: Name = None,
    enable: Enable = True,
    description: Description = None,
    header: Headers = [],  # noqa: B006  # typer reads it, nobody writes it
    sets: Sets = [],  # noqa: B006  # as above
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Make a provider. It may be called at once, unless --disable is said."""
    body = {"slug": slug, **_given(name or slug, base_url, description, header, enable=enable)}
    apply_sets(body, sets)
    session = connect(url, account)
    made = session.api.post(_base(session), body)
    note(f"The provider custom-{slug} is there.")
    if as_json:
        print_json(made)


@app.command()
def update(
    provider: Slug,
    *,
    name: Name = None,
    base_url: BaseUrl = None,
    enable: Enable = None,
    description: Description = None,
    header: Headers = [],  # noqa: B006  # typer reads it, nobody writes it
    sets: Sets = [],  # noqa: B006  # as above
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Change what is named of a provider; everything else stays as it is."""
    body = _given(name, base_url, description, header, enable=enable)
    apply_sets(body, sets)
    if not body:
        fail("There is nothing to change: name a field, or use --set.", status=2)
    session = connect(url, account)
    changed = session.api.patch(f"{_base(session)}/{_find(session, provider)['id']}", body)
    note(f"The provider custom-{changed['slug']} is changed.")
    if as_json:
        print_json(changed)


@app.command()
def delete(
    provider: Slug, *, account: Account = "", url: Url = "", yes: Yes = False, as_json: AsJson = False
) -> None:
    """Delete a provider; nothing goes to it from then on."""
    session = connect(url, account)
    found = _find(session, provider)
    confirm(f"Delete the provider custom-{found['slug']} of {session.account}?", yes=yes)
    deleted = session.api.delete(f"{_base(session)}/{found['id']}")
    note(f"The provider custom-{found['slug']} is deleted.")
    if as_json:
        print_json(deleted)


@app.command()
def health(
    *,
    provider: Annotated[
        str, typer.Option("--provider", help="Only this one, such as `openai` or `custom-acme`.")
    ] = "",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """
    Show how providers did in the last minute or so, by model and by key.

    A token with the permission `operator` sees what was done with the operator's keys, too.
    """
    session = connect(url, account)
    path = session.path("ai-gateway", "providers", "health")
    found = session.api.pages(path, {"provider": provider} if provider else None)
    if as_json:
        print_json(found)
    else:
        print_table(_HEALTH, [_health_row(each) for each in found])


def _health_row(health: dict[str, Any]) -> list[Any]:
    rate, retry_after_ms = health["success_rate"], health["retry_after_ms"]
    circuit = health["circuit"].replace("_", " ")
    return [
        health["provider"],
        health["model"] or (None if health["key"] else "(native)"),
        health["key"] or None,
        "operator" if health["shared"] else "account",
        circuit if retry_after_ms is None else f"{circuit} for {retry_after_ms / 1000:.0f} s",
        None if rate is None else f"{rate:.0%}",
        None if health["first_byte_ms"] is None else f"{health['first_byte_ms']} ms",
        f"{health['weight']:.0%}",
        *(health[name] for name in ("successes", "failures", "refusals")),
    ]


def _base(session: Session) -> str:
    return session.path("ai-gateway", "custom-providers")


def _find(session: Session, provider: str) -> dict[str, Any]:
    wanted = provider.removeprefix("custom-")
    found = [each for each in session.api.pages(_base(session)) if wanted in (each["slug"], each["id"])]
    if not found:
        fail(f"The account {session.account} has no provider {provider!r}.")
    return dict(found[0])


def _given(
    name: str | None,
    base_url: str | None,
    description: str | None,
    header: list[str],
    *,
    enable: bool | None,
) -> dict[str, Any]:
    import json

    values: dict[str, Any] = {
        "name": name,
        "base_url": base_url,
        "enable": enable,
        "description": description,
        "headers": json.dumps(_headers(header)) if header else None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _headers(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            fail(f"--header {text}: write `name: value`.", status=2)
        found[name.strip()] = value.strip()
    return found
