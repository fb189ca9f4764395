"""`headrace route`: lists and changes dynamic routes, their versions and deployments."""

from __future__ import annotations

import json
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


@app.command()
def explain(
    route: Annotated[
        str, typer.Argument(help="Its name, or its id; left out with --elements.", metavar="ROUTE")
    ] = "",
    *,
    body: Annotated[
        str, typer.Option("--body", "-d", help="The request's body: JSON, or `@` and a file.")
    ] = "",
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", "-m", help="The request's metadata: `key=value`.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A header of the request: `name: value`.")
    ] = None,
    failing: Annotated[
        list[str] | None, typer.Option("--failing", help="Id of an element that is taken to fail.")
    ] = None,
    token: Annotated[str, typer.Option("--token", help="Id of the token that it would present.")] = "",
    draw: Annotated[
        float | None, typer.Option("--draw", help="What is drawn at random, from 0 up to 1.", min=0, max=1)
    ] = None,
    version: Annotated[
        str, typer.Option("--version", help="Id of a version; default: the deployed one.")
    ] = "",
    elements: Annotated[
        Path | None, typer.Option("--elements", "-f", help="File with elements that are not stored.")
    ] = None,
    gateway: Gateway = "default",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Tell which way a request would take through a route now, and why. Nothing is sent or counted."""
    if bool(route) == (elements is not None):
        fail("Say either a route or --elements.", status=2)
    asked: dict[str, Any] = {
        "body": _body(body),
        "metadata": dict(_pair(each, "=", "--metadata") for each in metadata or ()),
        "headers": dict(_pair(each, ":", "--header") for each in header or ()),
        "failing": failing or [],
        "token_id": token,
        "version_id": version,
        "draw": draw,
    }
    session = connect(url, account)
    if elements is not None:
        path = session.gateway(gateway, "routes", "simulate")
        asked["elements"] = _elements(elements)
    else:
        path = session.gateway(gateway, "routes", _find(session, gateway, route)["id"], "simulate")
    found = session.api.post(path, asked)
    if as_json:
        print_json(found)
        return
    from cli.route_way import print_way

    print_way(found)


def _body(text: str) -> Any:
    if not text:
        return None
    if text.startswith("@"):
        return read_document(Path(text[1:]))
    try:
        return json.loads(text)
    except ValueError:
        fail("--body is no JSON; of a file, write @ before its name.", status=2)


def _pair(text: str, between: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(between)
    if not (found and name.strip()):
        fail(f"{option} {text}: write name{between}value.", status=2)
    return name.strip(), value.strip()


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
