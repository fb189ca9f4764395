"""
Two accounts with the same gateway names in a running stack, each with one of everything, and their tokens.

Made once for a stack, through the management API alone.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.e2e.calls import call, chat_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

    from tests.e2e.calls import Answer
    from tests.fakes.stack import Stack

__all__ = [
    "ELEMENTS",
    "MODEL",
    "USER",
    "A",
    "B",
    "Rest",
    "Tenancy",
    "policy",
    "settings_up",
    "unique",
    "until",
]

A, B = "tenant-a", "tenant-b"
USER = "ann@example.com"
MODEL = "openai/gpt-4o-mini"
RUN, READ, EDIT, WORKERS = "AI Gateway Run", "AI Gateway Read", "AI Gateway Write", "Workers AI Read"
ALL = (RUN, READ, EDIT, WORKERS)
GATEWAY = {
    "cache_invalidate_on_update": False,
    "cache_ttl": None,
    "collect_logs": True,
    "rate_limiting_interval": None,
    "rate_limiting_limit": None,
    "authentication": True,
}
ELEMENTS = [
    {"id": "start", "type": "start", "outputs": {"next": {"elementId": "model"}}},
    {
        "id": "model",
        "type": "model",
        "properties": {"provider": "openai", "model": "gpt-4o-mini", "timeout": 1000, "retries": 0},
        "outputs": {"success": {"elementId": "end"}, "fallback": {"elementId": "end"}},
    },
    {"id": "end", "type": "end", "outputs": {}},
]
KEY = "sk-" + "k" * 20
_EXPIRY = timedelta(seconds=1)
_numbers = itertools.count(1)


class Rest:
    """
    Calls the management API.

    Args:
        session: Client session.
        stack: The stack.
    """

    def __init__(self, session: aiohttp.ClientSession, stack: Stack) -> None:
        self._session = session
        self._stack = stack

    async def __call__(self, method: str, path: str, token: str | None, body: Any = None) -> Answer:
        """Make a call; the path begins after `/client/v4`."""
        url = f"{self._stack.base_url}/client/v4{path}"
        return await call(self._session, url, body, method=method, token=token)

    async def made(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        """Make a call that has to succeed, with the operator's token unless another is given."""
        answer = await self(method, path, token or self._stack.token, body)
        assert answer.status == 200, (method, path, answer.body)
        return answer.json["result"]

    async def chat(self, account: str, gateway: str, token: str | None, text: str) -> Answer:
        """Ask a question through a gateway."""
        url = f"{self._stack.gateway_url(gateway, account=account)}/compat/chat/completions"
        return await call(self._session, url, chat_body(MODEL, text), token=token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """
    What was made.

    Attributes:
        tokens: Texts of tokens by the names of the matrix; None for no token.
        ids: Ids of one thing of each kind, by account.
    """

    tokens: dict[str, str | None]
    ids: dict[str, dict[str, str]] = field(default_factory=dict)


def policy(*groups: str, account: str) -> dict[str, Any]:
    """Write a policy that allows something on an account."""
    return {
        "effect": "allow",
        "permission_groups": [{"name": name} for name in groups],
        "resources": {f"com.cloudflare.api.account.{account}": "*"},
    }


def unique(prefix: str) -> str:
    """Give a name that nothing else has."""
    return f"{prefix}-{next(_numbers)}"


async def settings_up(rest: Rest, stack: Stack) -> Tenancy:
    """Make both accounts with all that is in them, and the tokens."""
    for account in (A, B):
        await rest.made("POST", "/accounts", {"name": account, "id": account, "unified": True})
        for gateway in ("x", "y"):
            path = f"/accounts/{account}/ai-gateway/gateways"
            await rest.made("POST", path, {"id": gateway, **GATEWAY})
    tokens = await _tokens(rest, stack)
    made = {
        account: await things(rest, account, str(tokens[name])) for account, name in ((A, "all"), (B, "b"))
    }
    return Tenancy(tokens=tokens, ids=made)


async def token_of(rest: Rest, account: str, groups: Sequence[str], **members: Any) -> dict[str, Any]:
    """Make an account's token."""
    body = {"name": unique("token"), "policies": [policy(*groups, account=account)], **members}
    made: dict[str, Any] = await rest.made("POST", f"/accounts/{account}/tokens", body)
    return made


async def things(rest: Rest, account: str, token: str) -> dict[str, str]:
    """Make one thing of each kind, and give the ids."""
    base = f"/accounts/{account}/ai-gateway"
    key = {"provider_slug": "mistral", "alias": unique("a"), "default_config": False, "secret": KEY}
    provider = {"name": "Theirs", "slug": unique("theirs"), "base_url": "https://ai.example/v1"}
    route = await rest.made(
        "POST", f"{base}/gateways/x/routes", {"name": unique("route"), "elements": ELEMENTS}
    )
    answer = await rest.chat(account, "x", token, unique("question"))
    assert answer.status == 200, answer.body
    # It is recorded off the caller's way, and a little later.
    await until(rest, f"{base}/gateways/x/logs/{answer.log_id}", token, 200)
    user = {"name": unique("user"), "policies": [policy(READ, account=account)]}
    return {
        "key": (await rest.made("POST", f"{base}/gateways/x/provider_configs", key))["id"],
        "provider": (await rest.made("POST", f"{base}/custom-providers", provider))["id"],
        "route": route["id"],
        "version": route["version"]["version_id"],
        "log": answer.log_id,
        "token": (await token_of(rest, account, [EDIT], restrictions={"gateways": ["x"]}))["id"],
        "user_token": (await rest.made("POST", f"/user/tokens?user_id={USER}", user))["id"],
    }


async def _tokens(rest: Rest, stack: Stack) -> dict[str, str | None]:
    now = datetime.now(UTC)
    both = {"name": "both", "policies": [policy(*ALL, account=each) for each in (A, B)]}
    reads = {"name": "reads", "policies": [policy(READ, account=B)]}
    made = {
        "run": await token_of(rest, A, [RUN]),
        "get": await token_of(rest, A, [READ]),
        "put": await token_of(rest, A, [EDIT]),
        "all": await token_of(rest, A, ALL),
        "x": await token_of(rest, A, ALL, restrictions={"gateways": ["x"]}),
        "b": await token_of(rest, B, ALL),
        "ab": await rest.made("POST", f"/user/tokens?user_id={USER}", both),
        "rb": await rest.made("POST", f"/user/tokens?user_id={USER}", reads),
        "off": await token_of(rest, A, ALL),
        "old": await token_of(rest, A, ALL, expires_on=(now + _EXPIRY).isoformat()),
        "rev": await token_of(rest, A, ALL),
        "new": await token_of(rest, A, ALL, not_before=(now + timedelta(days=1)).isoformat()),
        "far": await token_of(rest, A, ALL, condition={"request_ip": {"in": ["203.0.113.0/24"]}}),
    }
    off = {"name": "off", "policies": [policy(*ALL, account=A)], "status": "disabled"}
    await rest.made("PUT", f"/accounts/{A}/tokens/{made['off']['id']}", off)
    await rest.made("DELETE", f"/accounts/{A}/tokens/{made['rev']['id']}")
    found = {name: token["value"] for name, token in made.items()}
    for name in ("off", "old", "rev", "new"):
        await until(rest, "/user/tokens/verify", found[name], 401)
    return {"no": None, "bad": "hr_" + "a" * 12 + "_" + "b" * 43, "op": stack.token, **found}


async def until(rest: Rest, path: str, token: str, status: int) -> None:
    """Wait until a path has a status for a token."""
    deadline = time.monotonic() + 15
    while (answer := await rest("GET", path, token)).status != status:
        assert time.monotonic() < deadline, (path, answer.status, answer.body)
        await asyncio.sleep(0.05)
