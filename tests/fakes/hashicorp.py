"""
A stand-in for HashiCorp Vault: reading of its KV engine, version 2, and its Kubernetes login.

As strict as the real one where a client can err: the path below the mount begins with `data/`, the token
stands in `X-Vault-Token`, namespaces are in a header, a deleted version is a 404 with metadata, and what a
token may not see is a 403. Nothing else is answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

__all__ = ["FakeHashicorp"]


@dataclass(slots=True)
class FakeHashicorp:
    """
    A Vault with one KV engine.

    Attributes:
        secrets: Fields by path below `data/`; None for a secret whose newest version is deleted.
        tokens: Those that are good.
        policy: What paths a token may read begin with.
        namespace: The only one there is; empty for none.
        roles: The service account's token that each role takes.
        lease_s: How long a login holds.
        fail: Status to answer everything with.
        slow_s: How long each answer takes.
        calls: What was asked: method, path and token.
    """

    secrets: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {"hvs.good"})
    policy: str = "headrace/"
    mount: str = "secret"
    namespace: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    lease_s: int = 3600
    fail: int | None = None
    hang: bool = False
    slow_s: float = 0.0
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Begin to listen on a free port of loopback."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("X-Vault-Token", "")
        self.calls.append((request.method, request.path, token))
        if self.fail is not None:
            return _errors(self.fail, "as the test wants it")
        if self.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(self.slow_s)
        if request.headers.get("X-Vault-Namespace", "") != self.namespace:
            return _errors(404)
        if request.path == "/v1/auth/kubernetes/login" and request.method in {"POST", "PUT"}:
            return await self._login(request)
        prefix = f"/v1/{self.mount}/data/"
        if token not in self.tokens:
            return _errors(403, "permission denied")
        if not request.path.startswith(prefix) or request.method != "GET":
            return _errors(404, "no handler for route")
        return self._read(request.path.removeprefix(prefix))

    async def _login(self, request: web.Request) -> web.StreamResponse:
        given = await request.json()
        if given["jwt"] != self.roles.get(given["role"]):
            return _errors(403, "permission denied")
        token = f"hvs.login{len(self.calls)}"
        self.tokens.add(token)
        auth = {
            "client_token": token,
            "accessor": "a",
            "policies": ["headrace"],
            "lease_duration": self.lease_s,
            "renewable": True,
        }
        return web.json_response({"auth": auth, "data": None, "lease_id": "", "lease_duration": 0})

    def _read(self, path: str) -> web.StreamResponse:
        if not path.startswith(self.policy):
            return _errors(403, "1 error occurred:\n\t* permission denied\n\n")
        if path not in self.secrets:
            return _errors(404)
        fields = self.secrets[path]
        metadata = {
            "created_time": "2026-01-02T03:04:05.678901Z",
            "custom_metadata": None,
            "deletion_time": "" if fields is not None else "2026-01-03T03:04:05.678901Z",
            "destroyed": False,
            "version": 2,
        }
        body = {
            "request_id": "r",
            "lease_id": "",
            "renewable": False,
            "lease_duration": 0,
            "data": {"data": fields, "metadata": metadata},
            "wrap_info": None,
            "warnings": None,
            "auth": None,
        }
        return web.json_response(body, status=200 if fields is not None else 404)


def _errors(status: int, *texts: str) -> web.Response:
    return web.json_response({"errors": list(texts)}, status=status)
