"""What forgets kept answers: a call of the management API, and changes that make them wrong."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import pytest
import structlog
from pydantic import ValidationError

from headrace.auth.v1 import token_pb2
from headrace.cache.v1 import cache_service_pb2
from headrace.common.v1 import actor_pb2
from headrace.router.v1 import custom_provider_pb2, gateway_pb2, gateway_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.management.cache import CachePurges
from services.edge.management.custom_providers import CustomProviders
from services.edge.management.gateways import Gateways
from services.edge.management.peers import Peers
from tests.fakes.management_peers import run

ME = token_pb2.Token(id="t")
SETTINGS = {
    "cache_ttl": 60,
    "collect_logs": True,
    "rate_limiting_interval": None,
    "rate_limiting_limit": None,
}


class FakeServices:
    """Cache and router as stubs; `purged` is what was forgotten, `recorded` what is in the audit log."""

    def __init__(self) -> None:
        self.purged: list[cache_service_pb2.PurgeRequest] = []
        self.recorded: list[gateway_service_pb2.RecordPurgeRequest] = []
        self.unable_to_record: GatewayError | None = None
        self.failure: GatewayError | None = None

    async def Purge(self, request: Any, **options: Any) -> cache_service_pb2.PurgeResponse:
        if self.failure is not None:
            raise self.failure
        self.purged.append(request)
        return cache_service_pb2.PurgeResponse()

    async def RecordPurge(self, request: Any, **options: Any) -> gateway_service_pb2.RecordPurgeResponse:
        if self.unable_to_record is not None:
            raise self.unable_to_record
        assert len(self.purged) == len(self.recorded)  # none without an entry, whatever dies when
        self.recorded.append(request)
        return gateway_service_pb2.RecordPurgeResponse()

    async def GetGateway(self, request: Any, **options: Any) -> gateway_service_pb2.GetGatewayResponse:
        if request.gateway_id != "main":
            raise GatewayError(Reason.GATEWAY_NOT_FOUND, "There is no such gateway.")
        return gateway_service_pb2.GetGatewayResponse(gateway=gateway_pb2.Gateway(id="main"))

    async def ReplaceGateway(self, request: Any, **options: Any) -> Any:
        gateway = gateway_pb2.Gateway(id=request.gateway_id, settings=request.settings)
        return gateway_service_pb2.ReplaceGatewayResponse(gateway=gateway)

    async def DeleteGateway(self, request: Any, **options: Any) -> Any:
        return gateway_service_pb2.DeleteGatewayResponse(gateway=gateway_pb2.Gateway(id=request.gateway_id))

    async def DeleteGatewayConfigs(self, request: Any, **options: Any) -> None:
        """Delete the keys of a gateway, of which there are none."""

    async def GetCustomProvider(self, request: Any, **options: Any) -> Any:
        return custom_provider_pb2.GetCustomProviderResponse(provider=_provider("before"))

    async def UpdateCustomProvider(self, request: Any, **options: Any) -> Any:
        slug = request.provider.slug or "before"
        return custom_provider_pb2.UpdateCustomProviderResponse(provider=_provider(slug))

    async def DeleteCustomProvider(self, request: Any, **options: Any) -> Any:
        return custom_provider_pb2.DeleteCustomProviderResponse(provider=_provider("before"))


def _provider(slug: str) -> custom_provider_pb2.CustomProvider:
    return custom_provider_pb2.CustomProvider(id="i", slug=slug, base_url="https://ai.example")


class FakePeers(Peers):
    """The services, with what `Peers` itself does with them."""

    def __init__(self, services: FakeServices) -> None:
        self.timeout_s = 1.0
        self.account = "home"
        self.cache = self.gateways = self.custom_providers = self.provider_configs = cast("Any", services)
        self._log = structlog.get_logger()

    async def has_keys(self, account_id: str, provider: str) -> bool:
        """Say that there are no keys."""
        return False


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


async def do(services: FakeServices, method: str, path: str, **options: Any) -> Any:
    """Carry out an operation for the account `acme`."""
    peers = FakePeers(services)
    rows = [*CachePurges(peers).operations(), *Gateways(peers).operations()]
    rows += CustomProviders(peers).operations()
    full = f"/accounts/{{account_id}}/ai-gateway/{path}"
    return await run(rows, method, full, by=ME, account_id="acme", **options)


def told(services: FakeServices) -> list[tuple[str, str, str, str | None]]:
    """Give what was forgotten: account, gateway, provider, key."""
    return [
        (
            each.account_id,
            each.gateway_id,
            each.provider,
            each.custom_key if each.HasField("custom_key") else None,
        )
        for each in services.purged
    ]


ONE = "gateways/{gateway_id}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ("acme", "main", "", None)),
        ({"provider": "openai"}, ("acme", "main", "openai", None)),
        ({"provider": "custom-mine"}, ("acme", "main", "custom-mine", None)),
        ({"provider": "google"}, ("acme", "main", "google-ai-studio", None)),
        ({"key": "mine"}, ("acme", "main", "", "mine")),
    ],
)
async def test_a_gateways_answers_are_forgotten(
    services: FakeServices, query: dict[str, str], expected: tuple[str, str, str, str | None]
) -> None:
    """All, those of one provider by whatever name it has, or those under one key."""
    assert {} == await do(services, "DELETE", f"{ONE}/cache", gateway_id="main", query=query)
    assert [expected] == told(services)


def by_token(**what: Any) -> gateway_service_pb2.RecordPurgeRequest:
    """Give the entry of a purge by `ME`."""
    return gateway_service_pb2.RecordPurgeRequest(
        account_id="acme", actor=actor_pb2.Actor(token_id=ME.id), **what
    )


async def test_purges_are_in_the_audit_log(services: FakeServices) -> None:
    """With who asked and what is forgotten; a key by its digest, as it may say anything."""
    await do(services, "DELETE", f"{ONE}/cache", gateway_id="main", query={"key": "mine"})
    await do(services, "DELETE", f"{ONE}/cache", gateway_id="main", query={"provider": "google"})
    await do(services, "DELETE", "cache")

    digest = hashlib.sha256(b"mine").digest()
    assert [
        by_token(gateway_id="main", key_digest=digest),
        by_token(gateway_id="main", provider="google-ai-studio"),
        by_token(),
    ] == services.recorded


async def test_a_purge_that_cannot_be_written_down_is_not_made(services: FakeServices) -> None:
    """Whoever asks is told to ask again."""
    services.unable_to_record = GatewayError(Reason.SERVICE_UNAVAILABLE, "The router is away.")
    with pytest.raises(GatewayError) as caught:
        await do(services, "DELETE", "cache")

    assert Reason.SERVICE_UNAVAILABLE == caught.value.reason
    assert [] == services.purged


async def test_an_accounts_answers_are_forgotten(services: FakeServices) -> None:
    """Of all gateways, of one provider or of all."""
    await do(services, "DELETE", "cache")
    await do(services, "DELETE", "cache", query={"provider": "anthropic"})

    assert [("acme", "", "", None), ("acme", "", "anthropic", None)] == told(services)


@pytest.mark.parametrize(
    "query", [{"providr": "openai"}, {"key": "mine"}, {"provider": "x" * 65}, {"provider": ""}]
)
async def test_a_purge_of_nothing_that_is_known_is_refused(
    services: FakeServices, query: dict[str, str]
) -> None:
    """A misspelt or an empty parameter does not forget everything; a key is one of a gateway."""
    with pytest.raises(ValidationError):
        await do(services, "DELETE", "cache", query=query)

    assert ([], []) == (services.purged, services.recorded)


@pytest.mark.parametrize("name", ["provider", "key"])
async def test_a_purge_of_an_empty_name_is_refused(services: FakeServices, name: str) -> None:
    """It is mostly a variable that was not set, and everything of the gateway is not what was meant."""
    with pytest.raises(ValidationError):
        await do(services, "DELETE", f"{ONE}/cache", gateway_id="main", query={name: ""})

    assert ([], []) == (services.purged, services.recorded)


async def test_what_is_not_there_is_told(services: FakeServices) -> None:
    """
    An unknown provider or gateway, and a cache that is away, are errors, since nothing was forgotten.

    Only the last is in the audit log: the cache may have heard of it all the same.
    """
    calls: list[tuple[str, dict[str, Any]]] = [
        (f"{ONE}/cache", {"gateway_id": "main", "query": {"provider": "openia"}}),
        (f"{ONE}/cache", {"gateway_id": "other"}),
        ("cache", {}),
    ]
    services.failure = GatewayError(Reason.SERVICE_UNAVAILABLE, "The cache is away.")
    reasons = []
    for path, options in calls:
        with pytest.raises(GatewayError) as caught:
            await do(services, "DELETE", path, **options)
        reasons.append(caught.value.reason)

    assert [Reason.NOT_FOUND, Reason.GATEWAY_NOT_FOUND, Reason.SERVICE_UNAVAILABLE] == reasons
    assert [by_token()] == services.recorded


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_change_of_a_gateway_forgets_its_answers_where_it_is_to(
    services: FakeServices, *, wanted: bool
) -> None:
    """`cache_invalidate_on_update` says so."""
    body = {**SETTINGS, "cache_invalidate_on_update": wanted}
    await do(services, "PUT", ONE, gateway_id="main", body=body)

    assert ([("acme", "main", "", None)] if wanted else []) == told(services)


async def test_a_gateway_that_is_deleted_leaves_no_answers(services: FakeServices) -> None:
    """Another one of its name does not find them."""
    await do(services, "DELETE", ONE, gateway_id="main")

    assert [("acme", "main", "", None)] == told(services)


@pytest.mark.parametrize(
    ("body", "forgotten"),
    [
        ({"name": "Other"}, {"custom-before"}),
        ({"base_url": "https://other.example"}, {"custom-before"}),
        ({"slug": "after"}, {"custom-before", "custom-after"}),
    ],
)
async def test_a_change_of_a_provider_forgets_its_answers(
    services: FakeServices, body: dict[str, str], forgotten: set[str]
) -> None:
    """In all gateways, under its name until now and its new one."""
    await do(services, "PATCH", "custom-providers/{id}", id="i", body=body)

    assert {("acme", "", provider, None) for provider in forgotten} == set(told(services))


async def test_a_provider_that_is_deleted_leaves_no_answers(services: FakeServices) -> None:
    """Another one of its name does not find them."""
    await do(services, "DELETE", "custom-providers/{id}", id="i")

    assert [("acme", "", "custom-before", None)] == told(services)


async def test_a_change_stands_when_the_cache_is_away(services: FakeServices) -> None:
    """That answers were not forgotten is told in the log, and the change is made."""
    services.failure = GatewayError(Reason.SERVICE_UNAVAILABLE, "The cache is away.")
    with structlog.testing.capture_logs() as logs:
        await do(services, "DELETE", ONE, gateway_id="main")

    assert [("kept answers were not forgotten", "warning", "main")] == [
        (each["event"], each["log_level"], each["gateway"]) for each in logs
    ]
