"""`headrace audit`: shows who changed what."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import Account, AsJson, Url
from cli.output import print_json, print_table
from cli.session import connect

app = typer.Typer(no_args_is_help=True, help="See who changed what, when, and from where.")


@app.callback()
def _group() -> None:
    # Without a callback, typer would make the only command the group itself.
    pass


@app.command("list")
def list_changes(
    *,
    count: Annotated[int, typer.Option("-n", "--lines", min=1, max=100_000, help="How many at most.")] = 50,
    since: Annotated[str, typer.Option("--since", help="Only from then on, as RFC 3339 has it.")] = "",
    before: Annotated[str, typer.Option("--before", help="Only before then.")] = "",
    action: Annotated[str, typer.Option("--action", help="Only this action, such as `update`.")] = "",
    resource: Annotated[str, typer.Option("--type", help="Only this kind of thing, such as `gateway`.")] = "",
    resource_id: Annotated[str, typer.Option("--id", help="Only the thing of this id.")] = "",
    by: Annotated[str, typer.Option("--by", help="Only by this token or user.")] = "",
    account: Account = "",
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """List changes of an account's configuration, newest first."""
    session = connect(url, account)
    query = {
        "since": since,
        "before": before,
        "action.type": action,
        "resource.type": resource,
        "resource.id": resource_id,
        "actor.id": by,
    }
    found = session.api.pages(session.path("audit_logs"), query, most=count)
    if as_json:
        print_json(found)
    else:
        print_table(("when", "who", "from", "did", "what", "changed"), [_row(each) for each in found])


def _row(entry: dict[str, Any]) -> list[Any]:
    actor, further, resource = entry["actor"], entry["metadata"], entry["resource"]
    who = actor["email"] or further.get("token_name") or actor["id"] or actor["type"]
    what = " ".join(filter(None, (resource["type"], further.get("gateway_id"), resource["id"])))
    return [
        entry["when"],
        who,
        actor["ip"] or entry["interface"].lower(),
        entry["action"]["type"],
        what,
        _changed(entry),
    ]


def _changed(entry: dict[str, Any]) -> list[str]:
    old, new = entry["oldValueJson"], entry["newValueJson"]
    if not old or not new:
        return []
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
