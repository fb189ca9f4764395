"""`headrace route`: lists and changes dynamic routes, their versions and deployments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.document import read_document
from cli.options import Account, AsJson, Gateway, Url, Yes
from cli.output import confirm, note, print_json, print_table
from cli.rpc import fail
from cli.session import Session, connect

app = typer.Typer(no_args_is_help=True, help="See and change dynamic routes.")

Route = Annotated[str, typer.Argument(help="Its name, or its id.", metavar="ROUTE")]
Elements = Annotated[
    Path,
    typer.Option("--elements", "-f", help="YAML or JSON file with its elements; `-` is standard input."),
]


@app.command("list")
def list_routes(
    *, gateway: Gateway = "default", account: Account = "", url: Url = "", as_json: AsJson = False
) -> None:
    """List the routes of a gateway."""
    session = connect(url, account)
    found = session.api.pages(session.gateway(gateway, "routes"))
    if as_json:
        print_json(found)
        return
    rows = [
        (each["name"], len(each["elements"]), each["modified_at"], each["version"]["version_id"], each["id"])
        for each in found
    ]
    print_table(("name", "elements", "modified_at", "version", "id"), rows)


@app.command()
def get(
    route: Route,
    *,
    version: Annotated[
        str, typer.Option("--version", help="Id of a version; default: the deployed one.")
    ] = "",
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Print the elements of a route as YAML, or the whole route as JSON."""
    session = connect(url, account)
    found = _find(session, gateway, route)
    if version:
        found = session.api.get(session.gateway(gateway, "routes", found["id"], "versions", version))
    if as_json:
        print_json(found)
        return
    from cli.manifest.marks import write_yaml

    typer.echo(write_yaml({"name": found["name"], "elements": found["elements"]}), nl=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name: requests ask for `dynamic/{name}`.")],
    *,
    elements: Elements,
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Make a route; its first version answers at once."""
    body = {"name": name, "elements": _elements(elements)}
    session = connect(url, account)
    made = session.api.post(session.gateway(gateway, "routes"), body)
    note(f"The route {name} is there.")
    if as_json:
        print_json(made)


@app.command()
def rename(
    route: Route,
    name: Annotated[str, typer.Argument(help="Its new name.")],
    *,
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Give a route another name."""
    session = connect(url, account)
    found = _find(session, gateway, route)
    changed = session.api.patch(session.gateway(gateway, "routes", found["id"]), {"name": name})
    note(f"The route {found['name']} is now {name}.")
    if as_json:
        print_json(changed)


@app.command()
def delete(
    route: Route,
    *,
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a route with its versions."""
    session = connect(url, account)
    found = _find(session, gateway, route)
    confirm(f"Delete the route {found['name']} of the gateway {gateway}, with its versions?", yes=yes)
    deleted = session.api.delete(session.gateway(gateway, "routes", found["id"]))
    note(f"The route {found['name']} is deleted.")
    if as_json:
        print_json(deleted)


@app.command()
def versions(
    route: Route,
    *,
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """List the versions of a route, newest first."""
    session = connect(url, account)
    found = session.api.pages(_below(session, gateway, route, "versions"))
    if as_json:
        print_json(found)
        return
    columns = ("version_id", "active", "created_at", "comment")
    print_table(columns, [[each.get(name) for name in columns] for each in found])


@app.command()
def deploy(
    route: Route,
    *,
    elements: Annotated[
        Path | None, typer.Option("--elements", "-f", help="File with the elements of a new version.")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="Id of a version that is there.")] = "",
    comment: Annotated[str, typer.Option("--comment", help="What the new version is for.")] = "",
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Let another version answer: one that is there, or a new one from a file."""
    if (elements is None) == (not version):
        fail("Say either --version or --elements.", status=2)
    body = None if elements is None else {"elements": _elements(elements), "comment": comment}
    session = connect(url, account)
    found = _find(session, gateway, route)
    base = session.gateway(gateway, "routes", found["id"])
    if body is not None:
        version = session.api.post(f"{base}/versions", body)["version_id"]
    changed = session.api.post(f"{base}/deployments", {"version_id": version})
    note(f"The version {version} of the route {found['name']} answers.")
    if as_json:
        print_json(changed)


@app.command()
def deployments(
    route: Route,
    *,
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """List which version answered since when, newest first."""
    session = connect(url, account)
    found = session.api.pages(_below(session, gateway, route, "deployments"))
    if as_json:
        print_json(found)
        return
    columns = ("deployment_id", "version_id", "created_at")
    print_table(columns, [[each.get(name) for name in columns] for each in found])


def _below(session: Session, gateway: str, route: str, what: str) -> str:
    return session.gateway(gateway, "routes", _find(session, gateway, route)["id"], what)


def _find(session: Session, gateway: str, route: str) -> dict[str, Any]:
    wanted = route.removeprefix("dynamic/")
    routes = session.api.pages(session.gateway(gateway, "routes"))
    found = [each for each in routes if wanted in (each["name"], each["id"])]
    if not found:
        fail(f"The gateway {gateway} has no route {route!r}.")
    return dict(found[0])


def _elements(path: Path) -> list[Any]:
    """Take the elements: a list, or an object that holds them, as `route get` prints it."""
    found = read_document(path)
    if isinstance(found, dict):
        found = found.get("elements")
    if not isinstance(found, list):
        fail(f"{path} holds no list of elements.", status=2)
    return found
