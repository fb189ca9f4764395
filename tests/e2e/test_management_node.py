"""The public product's own Node SDK on the management API, with nothing but base URL and token changed."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from scripts.node_setup import NODE, NODE_DIR, ensure_installed
from tests.e2e.calls import call, chat_body
from tests.e2e.test_management_python import ELEMENTS
from tests.e2e.topologies import one_topology

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.log_view import LogView
    from tests.fakes.stack import Stack

topology = one_topology

ERROR = {"code", "message"}


@pytest.fixture
async def found(stack: Stack, session: aiohttp.ClientSession, logs: LogView) -> tuple[str, dict[str, Any]]:
    """Give the name of the gateway that the program made, and what it found."""
    made = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body("openai/gpt-4o-mini", "hello"),
        token=stack.token,
    )
    await logs.entry(made.log_id)
    ensure_installed()
    gateway = f"node-{uuid.uuid4().hex[:12]}"
    done = subprocess.run(  # noqa: ASYNC221  # nothing else runs in this test
        [
            str(NODE), "sdk_cloudflare.mjs", f"{stack.base_url}/client/v4", stack.token, gateway,
            json.dumps(ELEMENTS),
        ],
        cwd=NODE_DIR, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return gateway, json.loads(done.stdout)


async def test_every_call(found: tuple[str, dict[str, Any]]) -> None:
    """Every resource that is in scope is made, changed, listed page by page, and deleted."""
    gateway, told = found
    failures = told.pop("failures")
    key, own = told.pop("provider_configs"), told.pop("custom_providers")
    url = told.pop("urls")["url"]
    assert {
        "gateways": {"id": gateway, "authentication": True, "cache_ttl": 90, "same": True},
        "pages": {"ids": [f"{gateway}-{number}" for number in (1, 2, 3)], "past": []},
        "routes": {
            "versions": 2,
            "elements": len(ELEMENTS),
            "deployments": 2,
            "renamed": "renamed",
            "listed": ["renamed"],
            "active": True,
        },
        "logs": {
            "succeeded": True,
            "same": True,
            "metadata": {"from": "node"},
            "asked": True,
            "answered": True,
            "deleted": True,
            "after": 404,
        },
        "raw": {
            "status": 200,
            "members": ["errors", "messages", "result", "success"],
            "id": gateway,
            "ok": True,
        },
        "deletion": {"id": gateway},
    } == told
    assert url.endswith(f"/v1/local/{gateway}/openai")
    assert [key["id"]] == key["ids"]
    assert "sk-node" not in json.dumps(key)
    assert (own["id"], [own["id"]], True) == (own["deleted"], own["listed"], own["got"])
    assert {
        "conflict": ("ConflictError", 409, 7001),
        "bad": ("BadRequestError", 400, 7001),
        "unknown": ("AuthenticationError", 401, 10000),
        "gone": ("NotFoundError", 404, 7002),
    } == {name: (each["name"], each["status"], each["errors"][0]["code"]) for name, each in failures.items()}
