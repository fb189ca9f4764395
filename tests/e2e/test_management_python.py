"""The public product's own Python SDK on the management API, with nothing but base URL and token changed."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from typing import TYPE_CHECKING, Any

import cloudflare
import pytest
from cloudflare import Cloudflare

from tests.e2e.calls import call, chat_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from tests.e2e.log_view import LogView
    from tests.fakes.stack import Stack

ACCOUNT = "local"
SETTINGS: dict[str, Any] = {
    "cache_invalidate_on_update": True,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}
ELEMENTS: list[dict[str, Any]] = [
    {"id": "s", "type": "start", "outputs": {"next": {"elementId": "c"}}},
    {
        "id": "c",
        "type": "conditional",
        "properties": {"conditions": {"metadata.plan": {"$eq": "pro"}}},
        "outputs": {"true": {"elementId": "p"}, "false": {"elementId": "r"}},
    },
    {
        "id": "p",
        "type": "percentage",
        "outputs": {"90%": {"elementId": "m1"}, "10%": {"elementId": "m2"}},
    },
    {
        "id": "r",
        "type": "rate",
        "properties": {"limitType": "cost", "key": "metadata.user_id", "limit": 1, "window": 3600},
        "outputs": {"success": {"elementId": "m1"}, "fallback": {"elementId": "m2"}},
    },
    {
        "id": "m1",
        "type": "model",
        "properties": {"provider": "openai", "model": "gpt-4o-mini", "timeout": 10000, "retries": 2},
        "outputs": {"success": {"elementId": "e"}, "fallback": {"elementId": "m2"}},
    },
    {
        "id": "m2",
        "type": "model",
        "properties": {"provider": "openai", "model": "gpt-4o", "timeout": 10000, "retries": 0},
        "outputs": {"success": {"elementId": "e"}, "fallback": {"elementId": "e"}},
    },
    {"id": "e", "type": "end", "outputs": {}},
]
# What the SDK has under `ai_gateway` that Headrace has not yet.
OUT_OF_SCOPE = {"datasets", "evaluations", "evaluation_types", "billing"}


@pytest.fixture
def client(stack: Stack) -> Iterator[Cloudflare]:
    """Give the SDK; an answer that does not fit its own types is an error."""
    with Cloudflare(
        base_url=f"{stack.base_url}/client/v4",
        api_token=stack.token,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
def gateway(client: Cloudflare) -> Iterator[str]:
    """Give a gateway of the test's own."""
    gateway_id = f"sdk-{uuid.uuid4().hex[:12]}"
    client.ai_gateway.create(account_id=ACCOUNT, id=gateway_id, **SETTINGS)
    yield gateway_id
    client.ai_gateway.delete(gateway_id, account_id=ACCOUNT)


def test_gateways(client: Cloudflare) -> None:
    """A gateway is made, shown, replaced, listed and deleted."""
    name = f"sdk-{uuid.uuid4().hex[:12]}"
    made = client.ai_gateway.create(account_id=ACCOUNT, id=name, authentication=True, **SETTINGS)
    assert (name, True, "DELETE_OLDEST") == (made.id, made.authentication, made.log_management_strategy)
    replaced = client.ai_gateway.update(
        name,
        account_id=ACCOUNT,
        **{**SETTINGS, "cache_ttl": 120},
        spend_limits={"enabled": True, "rules": [{"limit": 5, "limit_type": "cost", "window": 60}]},
        dlp={"enabled": True, "action": "FLAG", "profiles": ["a"]},
        guardrails={"prompt": {"p1": "BLOCK"}, "response": {"s1": "FLAG"}},
        retry_max_attempts=3,
        retry_delay=60_000,
        retry_backoff="exponential",
    )
    assert (120, False, 3) == (replaced.cache_ttl, replaced.authentication, replaced.retry_max_attempts)
    assert replaced.to_dict() == client.ai_gateway.get(name, account_id=ACCOUNT).to_dict()
    assert name in [each.id for each in client.ai_gateway.list(account_id=ACCOUNT, search=name)]
    assert name == client.ai_gateway.delete(name, account_id=ACCOUNT).id
    with pytest.raises(cloudflare.NotFoundError):
        client.ai_gateway.get(name, account_id=ACCOUNT)


def test_pages_follow_each_other(client: Cloudflare) -> None:
    """The SDK goes through all pages by itself, and ends at the empty one."""
    prefix = f"p{uuid.uuid4().hex[:8]}"
    names = [f"{prefix}-{number}" for number in range(5)]
    for name in names:
        client.ai_gateway.create(account_id=ACCOUNT, id=name, **SETTINGS)
    try:
        found = [each.id for each in client.ai_gateway.list(account_id=ACCOUNT, search=prefix, per_page=2)]
        assert names == found
        past = client.ai_gateway.list(account_id=ACCOUNT, search=prefix, page=40)
        assert [] == past.result
    finally:
        for name in names:
            client.ai_gateway.delete(name, account_id=ACCOUNT)


def test_urls(client: Cloudflare, stack: Stack, gateway: str) -> None:
    """The URL of a provider through a gateway is told as text."""
    told = client.ai_gateway.urls.get("openai", account_id=ACCOUNT, gateway_id=gateway)
    assert f"{stack.base_url}/v1/{ACCOUNT}/{gateway}/openai" == told


def test_provider_configs(client: Cloudflare, gateway: str) -> None:
    """A key is kept and listed, and never shown."""
    secret = f"sk-{uuid.uuid4().hex}"
    made = client.ai_gateway.provider_configs.create(
        gateway,
        account_id=ACCOUNT,
        alias="default",
        default_config=True,
        provider_slug="openai",
        secret=secret,
        rate_limit=100,
        rate_limit_period=60,
    )
    listed = list(client.ai_gateway.provider_configs.list(gateway, account_id=ACCOUNT))
    assert [made.id] == [each.id for each in listed]
    assert secret[-4:] in made.secret_preview
    assert secret not in made.to_json() + listed[0].to_json()
    raw = client.ai_gateway.provider_configs.with_raw_response.list(gateway, account_id=ACCOUNT)
    assert secret not in raw.text()


def test_custom_providers(client: Cloudflare) -> None:
    """An own provider is made, listed, shown and deleted; its slug is taken meanwhile."""
    slug = f"own-{uuid.uuid4().hex[:8]}"
    made = client.ai_gateway.custom_providers.create(
        account_id=ACCOUNT, base_url="https://ai.example/v1", name="Own", slug=slug, enable=True
    )
    with pytest.raises(cloudflare.ConflictError) as conflict:
        client.ai_gateway.custom_providers.create(
            account_id=ACCOUNT, base_url="https://ai.example/v1", name="Own", slug=slug
        )
    assert [(1003, ["body", "slug"])] == _errors(conflict.value)
    listed = client.ai_gateway.custom_providers.list(account_id=ACCOUNT, search=slug, enable=True)
    assert [made.id] == [each.id for each in listed]
    assert made.to_dict() == client.ai_gateway.custom_providers.get(made.id, account_id=ACCOUNT).to_dict()
    assert made.id == client.ai_gateway.custom_providers.delete(made.id, account_id=ACCOUNT).id
    with pytest.raises(cloudflare.NotFoundError) as gone:
        client.ai_gateway.custom_providers.get(made.id, account_id=ACCOUNT)
    assert [(1004, None)] == _errors(gone.value)


def test_routes(client: Cloudflare, gateway: str) -> None:
    """A route is made and deployed at once; a new version answers when it is deployed; an older one again."""
    routing = client.ai_gateway.dynamic_routing
    here: dict[str, Any] = {"account_id": ACCOUNT, "gateway_id": gateway}
    made = routing.create(gateway, account_id=ACCOUNT, name="support", elements=ELEMENTS)  # type: ignore[arg-type]  # as JSON has it
    assert made.version.version_id == made.deployment.version_id
    shorter: Any = [ELEMENTS[0] | {"outputs": {"next": {"elementId": "m1"}}}, *ELEMENTS[4:]]
    second = routing.create_version(made.id, **here, elements=shorter)
    versions = routing.list_versions(made.id, **here).data.versions
    assert ["false", "true"] == [each.active for each in versions]
    newer = versions[0].version_id
    assert len(shorter) == len(routing.get_version(newer, **here, id=made.id).elements)
    assert made.id == second.id
    assert made.id == routing.create_deployment(made.id, **here, version_id=newer).id
    assert newer == routing.get(made.id, **here).version.version_id
    routing.create_deployment(made.id, **here, version_id=made.version.version_id)
    assert made.version.version_id == routing.get(made.id, **here).version.version_id
    assert 3 == len(routing.list_deployments(made.id, **here).data.deployments)
    assert "renamed" == routing.update(made.id, **here, name="renamed").route.name
    assert ["renamed"] == [each.name for each in routing.list(gateway, account_id=ACCOUNT).data.routes]
    assert made.id == routing.delete(made.id, **here).id
    assert [] == routing.list(gateway, account_id=ACCOUNT).data.routes


def test_a_route_that_is_none_is_told_where(client: Cloudflare, gateway: str) -> None:
    """What is wrong about a route is told with the path to it."""
    broken = [*ELEMENTS[:4], ELEMENTS[4] | {"properties": {"provider": 5}}, *ELEMENTS[5:]]
    with pytest.raises(cloudflare.BadRequestError) as caught:
        client.ai_gateway.dynamic_routing.create(gateway, account_id=ACCOUNT, name="x", elements=broken)  # type: ignore[arg-type]  # broken on purpose
    [(code, path)] = _errors(caught.value)
    assert (7001, ["body", "elements", 4]) == (code, path[:3])


async def test_logs(stack: Stack, session: aiohttp.ClientSession, logs: LogView) -> None:
    """Entries are listed, filtered, shown with their bodies, judged and deleted."""
    event_id = uuid.uuid4().hex
    made = await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body("openai/gpt-4o-mini", "hello"),
        token=stack.token,
        headers={"cf-aig-event-id": event_id, "cf-aig-metadata": '{"team": "sdk"}'},
    )
    await logs.entry(made.log_id)
    # The SDK says that metadata are text; they are an object, as the public product gives them by now.
    lenient = Cloudflare(base_url=f"{stack.base_url}/client/v4", api_token=stack.token, max_retries=0)
    await asyncio.to_thread(_use_logs, lenient, event_id)


def _use_logs(client: Cloudflare, event_id: str) -> None:
    logs = client.ai_gateway.logs
    filters: Any = [{"key": "event_id", "operator": "eq", "value": [event_id]}]
    [entry] = list(logs.list("default", account_id=ACCOUNT, filters=filters, per_page=5, meta_info=True))
    shown = logs.get(entry.id, account_id=ACCOUNT, gateway_id="default")
    assert (True, 200) == (shown.success, shown.status_code)
    asked = logs.request(entry.id, account_id=ACCOUNT, gateway_id="default")
    answered = logs.response(entry.id, account_id=ACCOUNT, gateway_id="default")
    assert "hello" in str(asked)
    assert "choices" in str(answered)
    logs.edit(entry.id, account_id=ACCOUNT, gateway_id="default", feedback=1, score=80, metadata={"a": "b"})
    assert "b" in str(logs.get(entry.id, account_id=ACCOUNT, gateway_id="default").metadata)
    assert logs.delete("default", account_id=ACCOUNT, filters=filters).success
    assert [] == list(logs.list("default", account_id=ACCOUNT, filters=filters))


def test_raw_and_streaming_answers(client: Cloudflare, gateway: str) -> None:
    """The raw and the streaming variants of a call see the whole envelope."""
    raw = client.ai_gateway.with_raw_response.get(gateway, account_id=ACCOUNT)
    assert {"success", "errors", "messages", "result"} <= set(raw.json())  # type: ignore[call-overload]  # a method of the response
    assert gateway == raw.parse().id
    with client.ai_gateway.with_streaming_response.get(gateway, account_id=ACCOUNT) as streamed:
        assert gateway == streamed.parse().id


def test_error_classes(client: Cloudflare, stack: Stack, gateway: str) -> None:
    """Each failure raises the class that the SDK has for it."""
    with pytest.raises(cloudflare.ConflictError):
        client.ai_gateway.create(account_id=ACCOUNT, id=gateway, **SETTINGS)
    with pytest.raises(cloudflare.BadRequestError) as bad:
        client.ai_gateway.create(account_id=ACCOUNT, id="Not Allowed", **SETTINGS)
    assert [(7001, ["body", "id"])] == _errors(bad.value)
    with pytest.raises(cloudflare.AuthenticationError) as unknown:
        client.with_options(api_token="hr_nobody").ai_gateway.get(gateway, account_id=ACCOUNT)
    assert [(10000, None)] == _errors(unknown.value)
    with pytest.raises(cloudflare.AuthenticationError):
        client.ai_gateway.get(gateway, account_id="somebody-else")
    with pytest.raises(cloudflare.NotFoundError) as gone:
        client.ai_gateway.get("not-there", account_id=ACCOUNT)
    assert [(7002, None)] == _errors(gone.value)


def test_every_call_in_scope_is_made() -> None:
    """No method of the SDK's resources that are in scope is left out of this module."""
    source = inspect.getsource(inspect.getmodule(test_every_call_in_scope_is_made))  # type: ignore[arg-type]  # it has one
    client = Cloudflare(api_token="x")
    resources: dict[str, Any] = {"": client.ai_gateway}
    for name, value in inspect.getmembers(type(client.ai_gateway)):
        if (
            not name.startswith("_")
            and not name.startswith("with_")
            and name not in OUT_OF_SCOPE
            and not callable(value)
        ):
            resources[name] = getattr(client.ai_gateway, name)
    missing = []
    for resource in resources.values():
        for method, _ in inspect.getmembers(type(resource), callable):
            if not method.startswith("_") and f".{method}(" not in source:
                missing.append(f"{type(resource).__name__}.{method}")
    assert [] == missing


def _errors(error: cloudflare.APIStatusError) -> list[tuple[int, Any]]:
    body: Any = error.body
    assert {"success", "errors", "messages", "result"} == set(body)
    return [(each["code"], each.get("path")) for each in body["errors"]]
