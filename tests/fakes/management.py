"""
A stand-in for the management API, over HTTP, for the command line.

It keeps what it is sent and shows it as the real one does, checks nothing, and remembers every request. That
the command line and the real one go together is for the end-to-end tests to show.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from cli.manifest import fields
from cli.manifest.diff import fingerprint
from cli.manifest.models import Gateway
from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["OWN_TOKEN", "FakeManagement", "running_management"]

OWN_TOKEN = "ownownownown"
_TIME = "2026-01-01T00:00:00.000Z"
_GROUPS: Final = {
    "run": "AI Gateway Run", "read": "AI Gateway Read", "edit": "AI Gateway Write",
    "workers-ai-read": "Workers AI Read", "operator": "Headrace Operator",
}  # fmt: skip


@dataclass
class FakeManagement:
    """
    What is kept, and what was asked for.

    Attributes:
        things: Objects as they are shown, by path of their list.
        requests: Method, path and body of every request.
        refuse: Part of a path, with method, that is refused with a status and a message.
        unavailable: How many requests are first answered with 503.
        permissions: What the token that asks may give, in the words of the command line.
        operator_providers: Slugs of the operator's own providers.
        versions: How many versions every route has.
        deleted_accounts: Ids of accounts that were deleted.
    """

    things: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refuse: dict[str, tuple[int, str, list[str]]] = field(default_factory=dict)
    unavailable: int = 0
    permissions: frozenset[str] = frozenset(_GROUPS)
    operator_providers: list[str] = field(default_factory=list)
    versions: int = 1
    deleted_accounts: list[str] = field(default_factory=list)
    url: str = ""
    simulation: Any = None
    _count: int = 0

    def __post_init__(self) -> None:
        """Begin as an installation does: one account, and the operator's token."""
        account = self._account("", {"id": "local", "name": "local", "unified": True})
        account["reference_kinds"] = ["env", "file", "vault"]
        self.things["accounts"] = [account]
        own = self._token(
            "accounts/local/tokens", {"name": "first", "policies": [_policy("operator", "local")]}
        )
        self.things["accounts/local/tokens"] = [{**own, "id": OWN_TOKEN}]

    @property
    def changes(self) -> list[tuple[str, str, Any]]:
        """Give the requests that change something."""
        return [each for each in self.requests if each[0] != "GET"]

    def kept(self, path: str) -> list[dict[str, Any]]:
        """Give what is kept under a path, such as `local/ai-gateway/gateways`."""
        return self.things.get(f"accounts/{path}", [])

    def respond(self, method: str, target: str, raw: bytes) -> tuple[int, bytes]:
        """Answer a request as it comes over HTTP."""
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        path = unquote(url.path).removeprefix("/client/v4").strip("/")
        self.requests.append((method, path, json.loads(raw) if raw else None))
        self.queries.append(parse_qs(url.query))
        is_log = method == "GET" and path.endswith("/logs")
        result: Any
        if self.unavailable > 0:
            self.unavailable -= 1
            status, result = 503, [{"code": 2008, "message": "away"}]
        elif is_log:
            status, result = self.listed_log(path.split("/"), query)
        else:
            status, result = self.answer(method, path, json.loads(raw) if raw else None, query)
        if isinstance(result, list | dict) and status == 200 and not is_log:
            result = _page(result, int(query.get("page", "1")))
        is_good = status == 200
        envelope = {
            "success": is_good, "messages": [],
            "errors": [] if is_good else result, "result": result if is_good else None,
            "result_info": {"operator_providers": self.operator_providers},
        }  # fmt: skip
        return status, json.dumps(envelope).encode()

    def answer(self, method: str, path: str, body: Any, query: Mapping[str, str]) -> tuple[int, Any]:
        """Answer a request: status, and result or errors."""
        parts = path.strip("/").split("/")
        for what, (status, message, where) in self.refuse.items():
            if what in f"{method} {path}":
                return status, [{"code": 7001, "message": message, "path": where}]
        if parts[-1] in {"verify", "permission_groups"}:
            return 200, self._asker(parts[-1])
        if "url" in parts:
            return 200, f"{self.url}/v1/{parts[1]}/{parts[4]}/{parts[6]}"
        if parts[-1] in {"versions", "deployments", "simulate"} and method == "POST":
            return self._route_part(parts, body)
        if parts[-1] == "versions":
            first = (int(query.get("page", "1")) - 1) * int(query.get("per_page", "20"))
            return 200, {"versions": [{}] * max(0, self.versions - first)}
        status, result = self._collection(method, parts, body)
        return status, result + self._deleted() if query.get("include_deleted") == "true" else result

    def listed_log(self, parts: list[str], query: Mapping[str, str]) -> tuple[int, Any]:
        """List a log, that is kept in the order of recording."""
        if parts[-2] not in {each["id"] for each in self.kept("/".join(parts[1:4]))}:
            return 404, [{"code": 7002, "message": "Not Found"}]
        kept = self.things.get("/".join(parts), [])
        if after_id := query.get("after_id"):
            # As the ledger has it: after an entry that is not there comes everything.
            places = [number for number, each in enumerate(kept) if each["id"] == after_id]
            found = kept[places[0] + 1 if places else 0 :]
        else:
            found = sorted(kept, key=lambda each: str(each["created_at"]))
        if query.get("order_by_direction") != "asc":
            found = found[::-1]
        size = int(query.get("per_page", "20"))
        first = (int(query.get("page", "1")) - 1) * size
        return 200, found[first : first + size]

    def _deleted(self) -> list[dict[str, Any]]:
        """Show accounts that were deleted."""
        return [self._account("", {"id": e, "name": e, "deleted_at": _TIME}) for e in self.deleted_accounts]

    def _asker(self, what: str) -> Any:
        """Tell the token that asks about itself."""
        if what == "verify":
            return {"id": OWN_TOKEN, "status": "active", "not_before": None, "expires_on": None}
        return [{"id": n, "name": g, "is_selectable": n in self.permissions} for n, g in _GROUPS.items()]

    def _collection(self, method: str, parts: list[str], body: Any) -> tuple[int, Any]:
        is_list = parts[-1] in _MAKERS
        base = "/".join(parts if is_list else parts[:-1])
        if parts[-1] == "value":
            return 200, "hr_rolledrolled_" + "s" * 43
        kept = self.things.setdefault(base, [])
        if method == "GET" and is_list:
            return 200, ({"routes": kept} if base.endswith("/routes") else kept)
        if method == "POST":
            made = getattr(self, _MAKERS[parts[-1]])(base, body)
            kept.append({name: value for name, value in made.items() if name != "value"})
            return 200, made
        found = next((each for each in kept if each["id"] == parts[-1]), None)
        if found is None and method == "PUT" and parts[-2:] == ["gateways", "default"]:
            kept.append(self._gateway(base, {**body, "id": "default"}))  # it makes itself
            return 200, kept[-1]
        if found is None:
            return 404, [{"code": 7002, "message": "Not Found"}]
        if method == "DELETE":
            kept.remove(found)
        elif method in {"PUT", "PATCH"}:
            self._change(base, found, body)
        return 200, found

    def _change(self, base: str, found: dict[str, Any], body: dict[str, Any]) -> None:
        kind = base.rsplit("/", 1)[-1]
        if kind == "gateways":
            found.update(self._gateway(base, {**body, "id": found["id"]}))
        elif kind == "tokens":
            found.update({**self._token(base, body), "id": found["id"]})
        elif kind == "provider_configs":
            if body.get("secret"):
                found |= _sealed(found["id"], body.pop("secret"))
            found.update(body)
        else:
            found.update(body)

    def _route_part(self, parts: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        if parts[-1] == "simulate":
            return 200, self.simulation
        route = next(each for each in self.things["/".join(parts[:-2])] if each["id"] == parts[-2])
        if parts[-1] == "versions":
            version = {"version_id": self._id(), "active": "false", "elements": body["elements"]}
            route.setdefault("versions_", []).append(version)
            return 200, {**route, **version}
        chosen = next(v for v in route["versions_"] if v["version_id"] == body["version_id"])
        route |= {"elements": chosen["elements"], "version": chosen}
        return 200, route

    def _id(self) -> str:
        self._count += 1
        return f"id-{self._count}"

    def _gateway(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        names = {*Gateway.model_fields} & {*body}
        model = Gateway.model_validate({name: body[name] for name in names})
        return {
            **fields.gateway_fields(model),
            "id": body["id"],
            "is_default": body["id"] == "default",
            "modified_at": _TIME,
        }

    def _key(self, base: str, body: dict[str, Any]) -> dict[str, Any]:
        identifier = self._id()
        made: dict[str, Any] = {
            "id": identifier,
            "gateway_id": base.split("/")[3],
            "status": "unused",
            "last_used_at": None,
            "weight": 1,
            "rate_limit": None,
            "rate_limit_period": 60.0,
            "secret_preview": "",
            **body,
        }
        secret = made.pop("secret", None)
        return made if secret is None else made | _sealed(identifier, secret)

    def _provider(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        usual: dict[str, Any] = dict.fromkeys(
            ("description", "link", "curl_example", "js_example", "logo"), ""
        )
        usual |= {"headers": "{}", "enable": False, "beta": False, "position": 0}
        return {**usual, **body, "id": self._id()}

    def _route(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "id": self._id(), "version": {"version_id": self._id()}, "modified_at": _TIME}

    def _token(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {
            "not_before": None,
            "expires_on": None,
            "condition": {},
            "last_used_on": None,
            "issued_on": _TIME,
            "restrictions": {"gateways": [], "providers": [], "models": []},
            **body,
        }
        for policy in made["policies"]:
            # A group is told by its id or its name, and shown with both.
            for group in policy["permission_groups"]:
                group |= {"id": group.get("id") or group["name"], "name": group.get("name") or group["id"]}
        self._count += 1
        identifier = f"token{self._count:07d}"
        return {
            **made,
            "status": body.get("status") or "active",
            "id": identifier,
            "value": f"hr_{identifier}_{'s' * 43}",
        }

    def _account(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        kinds = ["file", "vault"]
        return {
            "unified": False, "type": "standard", "created_on": _TIME, "reference_kinds": kinds, **body
        }  # fmt: skip

    def _entry(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        return body


def _page(result: Any, number: int) -> Any:
    """Give a page of a list; that of routes has an object around it."""
    if isinstance(result, dict):
        return {**result, "routes": _page(result["routes"], number)} if "routes" in result else result
    return result[(number - 1) * 100 : number * 100]


def _policy(permission: str, account: str) -> dict[str, Any]:
    return {
        "effect": "allow",
        "permission_groups": [{"name": _GROUPS[permission]}],
        "resources": {f"com.cloudflare.api.account.{account}": "*"},
    }


def _sealed(identifier: str, secret: str) -> dict[str, Any]:
    return {
        "secret_id": identifier,
        "secret_preview": secret[-4:] if len(secret) >= 12 else "",
        "secret_fingerprint": fingerprint(identifier, Secret(secret)),
    }


_MAKERS = {
    "accounts": "_account", "gateways": "_gateway", "provider_configs": "_key", "routes": "_route",
    "custom-providers": "_provider", "tokens": "_token", "audit_logs": "_entry", "versions": "_entry",
    "deployments": "_entry", "health": "_entry",
}  # fmt: skip


@contextmanager
def running_management() -> Iterator[FakeManagement]:
    """Serve one on a port of its own."""
    management = FakeManagement()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            management.headers.append({name.lower(): value for name, value in self.headers.items()})
            status, raw = management.respond(self.command, self.path, self.rfile.read(length))
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    management.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield management
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
