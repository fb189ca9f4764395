"""Dynamic routes on the running system: the engine's tables once more, limits, the log, explanations."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.calls import call
from tests.e2e.log_view import LogView
from tests.fakes.route_tables import RouteCase, condition_cases, route_cases

if TYPE_CHECKING:
    import aiohttp

    from tests.fakes.stack import Stack

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
MESSAGES = [{"role": "user", "content": "hello"}]


def _runs(case: RouteCase) -> bool:
    """Tell whether a case can be run where chance, health and earlier use are not ours to choose."""
    by_chance = '"percentage"' in case.elements
    body = case.body if isinstance(case.body, dict | None) else {"stream": 1}
    return not (
        by_chance
        or case.health
        or case.used
        or (body and {"stream", "messages", "tools", "stop", "n"} & set(body))
    )


ROUTES = [case for case in route_cases() if _runs(case)]
CONDITIONS = [case for case in condition_cases() if _runs(case)]


class Routes:
    """
    Makes routes in a gateway of their own, and asks through them.

    Args:
        session: An HTTP client.
        stack: The running system.
    """

    def __init__(self, session: aiohttp.ClientSession, stack: Stack) -> None:
        self._session = session
        self._stack = stack
        self.gateway = f"routes-{uuid.uuid4().hex[:8]}"
        self._base = f"{stack.base_url}/client/v4/accounts/{stack.account}/ai-gateway/gateways"

    async def post(self, path: str, body: Any) -> Any:
        """Ask the management API for something, which must succeed."""
        headers = {"authorization": f"Bearer {self._stack.token}"}
        async with self._session.post(f"{self._base}{path}", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["result"]

    async def open(self) -> Routes:
        """Make the gateway."""
        await self.post(
            "",
            {
                "id": self.gateway,
                "authentication": True,
                "cache_invalidate_on_update": False,
                "cache_ttl": 0,
                "collect_logs": True,
                "rate_limiting_interval": 0,
                "rate_limiting_limit": 0,
            },
        )
        return self

    async def make(self, name: str, elements: Any) -> None:
        """Make a route."""
        await self.post(f"/{self.gateway}/routes", {"name": name, "elements": elements})

    async def ask(
        self, name: str, *, path: str = "chat/completions", body: Any = None, **headers: str
    ) -> Any:
        """Ask through a route; give the answer."""
        return await call(
            self._session,
            f"{self._stack.base_url}/v1/{self._stack.account}/{self.gateway}/compat/{path}",
            {"model": f"dynamic/{name}", "messages": MESSAGES, **(body or {})},
            headers={"cf-aig-authorization": f"Bearer {self._stack.token}", **headers},
        )


@pytest.fixture
async def routes(session: aiohttp.ClientSession, stack: Stack) -> Routes:
    """Give a gateway for routes."""
    return await Routes(session, stack).open()


def _elements(case: RouteCase, marker: str) -> Any:
    """Give a case's elements with models that answer or fail as the case has it."""
    elements = json.loads(case.elements)
    for element in elements:
        if element["type"] == "model":
            properties = element["properties"]
            # Each by a name of its own, so that what fails in one case is not known to fail in another.
            model = f"{MODELS[properties['provider']]}+served={element['id']}-{marker}"
            # A pause before the next try would take longer than everything else here.
            properties.pop("retries", None)
            properties["model"] = model + ("+status=500" if element["id"] in case.failing else "")
    return elements


async def _came(case: RouteCase, number: int, routes: Routes, log: LogView) -> tuple[Any, Any]:
    """Run a case; give what came and what was to come."""
    marker = f"{routes.gateway}-{number}"
    await routes.make(f"r{number}", _elements(case, marker))
    answer = await routes.ask(
        f"r{number}", body=case.body, **{"cf-aig-metadata": json.dumps(case.metadata)}, **case.headers
    )
    if case.outcome == "answered":
        came: Any = (answer.status, answer.json.get("model"))
        expected: Any = (200, f"{case.tries[-1]}-{marker}")
    else:
        came = answer.status
        expected = 500 if case.tries else 400
    if case.way is None or not case.tries:
        return came, expected
    entry = await log.entry(answer.log_id)
    way = tuple(f"{each['element_id']} {each['output']}" for each in entry["decision"]["steps"])
    return (came, way), (expected, case.way)


async def test_the_running_system_takes_the_ways_of_the_table(
    routes: Routes, stack: Stack, session: aiohttp.ClientSession
) -> None:
    """Each row whose way is not up to chance, health or earlier use; the log has the way that was taken."""
    log = LogView(session, stack, gateway=routes.gateway)
    runs = [await _came(case, number, routes, log) for number, case in enumerate(ROUTES)]

    assert [expected for _, expected in runs] == [came for came, _ in runs]


async def test_conditions_hold_on_the_running_system(
    routes: Routes, stack: Stack, session: aiohttp.ClientSession
) -> None:
    """Each row of their table whose body a chat may have."""
    log = LogView(session, stack, gateway=routes.gateway)
    runs = [(case.name, *await _came(case, number, routes, log)) for number, case in enumerate(CONDITIONS)]

    assert [] == [run for run in runs if run[1] != run[2]]


LIMITED: list[dict[str, Any]] = [
    {"id": "s", "type": "start", "outputs": {"next": {"elementId": "r"}}},
    {
        "id": "r",
        "type": "rate",
        "properties": {"limitType": "count", "key": "metadata.user_id", "limit": 2, "window": 86_400},
        "outputs": {"success": {"elementId": "big"}, "fallback": {"elementId": "small"}},
    },
    {
        "id": "big",
        "type": "model",
        "properties": {"provider": "openai", "model": "gpt-4o-mini+served=big"},
        "outputs": {"success": {"elementId": "e"}},
    },
    {
        "id": "small",
        "type": "model",
        "properties": {"provider": "openai", "model": "gpt-4o-mini+served=small"},
        "outputs": {"success": {"elementId": "e"}},
    },
    {"id": "e", "type": "end", "outputs": {}},
]


async def test_a_limit_in_a_route_counts_each_user(routes: Routes) -> None:
    """Two for each; the third goes another way. To ask what would happen counts nothing."""
    await routes.make("limited", LIMITED)
    came = []
    for user in ("ann", "ann", "bob", "ann", "bob", "bob"):
        explained = await routes.post(
            f"/{routes.gateway}/routes/limited/simulate", {"metadata": {"user_id": user}}
        )
        answer = await routes.ask("limited", **{"cf-aig-metadata": json.dumps({"user_id": user})})
        came.append((answer.json["model"], explained["attempts"][-1]["element_id"]))

    assert [(name, name) for name in ("big", "big", "big", "small", "big", "small")] == came


async def test_a_limit_of_money_in_a_route_counts_what_was_spent(routes: Routes) -> None:
    """The price of a call is known when it has ended; the next one goes another way."""
    elements = json.loads(json.dumps(LIMITED))
    elements[1]["properties"] |= {"limitType": "cost", "limit": 0.000001}
    # A model with a price.
    elements[2]["properties"]["model"] = "gpt-4o-mini"
    await routes.make("spending", elements)
    metadata = {"cf-aig-metadata": json.dumps({"user_id": "ann"})}
    first = await routes.ask("spending", **metadata)
    later = first
    for _ in range(100):
        later = await routes.ask("spending", **metadata)
        if later.json["model"] == "small":
            break

    assert first.json["model"].startswith("gpt-4o-mini")
    assert "small" == later.json["model"]


@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages"])
async def test_a_route_answers_in_every_dialect(routes: Routes, path: str) -> None:
    """Whichever provider it leads to, after a failure too."""
    name = path.replace("/", "-")
    case = next(each for each in ROUTES if each.name.endswith("the second answers"))
    await routes.make(name, _elements(case, name))
    body = {"input": "hello", "max_tokens": 50} if path == "responses" else {"max_tokens": 50}
    answer = await routes.ask(name, path=path, body=body)

    assert (200, "1") == (answer.status, answer.headers["cf-aig-step"])
    assert "anthropic" == answer.headers["cf-aig-provider"]


async def test_a_route_that_there_is_not(routes: Routes) -> None:
    """The error names it, with the public product's code."""
    answer = await routes.ask("nowhere")

    assert (400, 2005) == (answer.status, answer.json["internalCode"])
    assert "nowhere" in answer.json["message"]
