"""What router takes from a request, what it refuses, and what its answers look like."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import duration_pb2
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import http_pb2
from headrace.router.v1 import gateway_pb2
from headrace.router.v1 import gateway_service_pb2 as service_pb
from headrace.router.v1 import router_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.router.convert import gateways, plans
from services.router.core.documents import Documents
from services.router.core.gateway import Gateway, ManagedGateway
from services.router.core.plan import Plan, PlanRequest, Step
from services.router.core.settings import (
    Backoff,
    DisconnectPolicy,
    GatewaySettings,
    LogStrategy,
    Retry,
    Technique,
    Timeouts,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MOST = 2**31 - 1


def _duration(seconds: float) -> duration_pb2.Duration:
    message = duration_pb2.Duration()
    message.FromMilliseconds(round(seconds * 1000))
    return message


def _read(**settings: Any) -> GatewaySettings:
    return gateways.settings(gateway_pb2.GatewaySettings(**settings))


def _refused(**settings: Any) -> str:
    with pytest.raises(GatewayError) as caught:
        _read(**settings)
    assert Reason.INVALID_REQUEST == caught.value.reason
    return caught.value.metadata["param"]


def _managed(settings: GatewaySettings, documents: Documents | None = None) -> ManagedGateway:
    gateway = Gateway(
        account_id="acme", id="g", internal_id="i", settings=settings, created_at=NOW, updated_at=NOW
    )
    return ManagedGateway(gateway=gateway, documents=documents or Documents())


MILLISECONDS = st.one_of(st.none(), st.integers(1, 86_400_000))
SETTINGS = st.builds(
    GatewaySettings,
    authentication=st.booleans(),
    cache_ttl_s=st.integers(0, MOST),
    collect_logs=st.booleans(),
    collect_payloads=st.booleans(),
    timeouts=st.builds(
        Timeouts,
        connect_ms=MILLISECONDS,
        first_byte_ms=MILLISECONDS,
        idle_ms=MILLISECONDS,
        total_ms=MILLISECONDS,
    ),
    retry=st.builds(
        Retry,
        max_attempts=st.one_of(st.none(), st.integers(1, 5)),
        delay_ms=st.one_of(st.none(), st.integers(0, 60_000)),
        backoff=st.one_of(st.none(), st.sampled_from(Backoff)),
    ),
    on_disconnect=st.sampled_from(DisconnectPolicy),
    strict_translation=st.booleans(),
    byok_only=st.booleans(),
    cache_invalidate_on_update=st.booleans(),
    rate_limit=st.integers(0, MOST),
    rate_limit_interval_s=st.integers(0, MOST),
    rate_limit_technique=st.sampled_from(Technique),
    log_management=st.integers(10_000, 10_000_000),
    log_management_strategy=st.sampled_from(LogStrategy),
    log_classification=st.booleans(),
    logpush=st.booleans(),
    logpush_public_key=st.one_of(st.just(""), st.text("abc-", min_size=16, max_size=20)),
    zdr=st.booleans(),
    wholesale=st.one_of(st.none(), st.booleans()),
    workers_ai_billing_mode=st.sampled_from(["postpaid", "unified"]),
    store_id=st.text("a1.:/_-", max_size=20),
    stream_failover=st.booleans(),
    drain_timeout_ms=MILLISECONDS,
    cache_stale_while_revalidate_s=st.integers(0, 2_592_000),
    cache_stale_if_error_s=st.integers(0, 2_592_000),
    cache_replay_paced=st.booleans(),
    cache_no_sharing=st.booleans(),
    idempotency_ttl_s=st.integers(0, 2_592_000),
)


@given(SETTINGS)
def test_settings_go_out_and_come_back(settings: GatewaySettings) -> None:
    """A client that sends back what it got changes nothing."""
    assert settings == gateways.settings(gateways.gateway(_managed(settings)).settings)


def test_every_setting_of_the_contract_is_ours() -> None:
    """No field of the message is forgotten by the core, and none of the core by the message."""
    names = {field.name for field in gateway_pb2.GatewaySettings.DESCRIPTOR.fields}
    ours = {field.name.removesuffix("_s").removesuffix("_ms") for field in fields(GatewaySettings)}
    documents = {f"{field.name}_json" for field in fields(Documents)}

    assert names == ours | documents


def test_what_is_left_out_gets_its_default() -> None:
    """The defaults of a gateway that somebody makes: what is on must be said."""
    expected = GatewaySettings(authentication=False, collect_logs=False, collect_payloads=False)

    assert expected == _read()
    assert Documents() == gateways.wanted(_request())[1]


def _request(**settings: Any) -> service_pb.CreateGatewayRequest:
    return service_pb.CreateGatewayRequest(settings=gateway_pb2.GatewaySettings(**settings))


# By the name in the message: what is just within the bounds, and what it is in the core.
TAKEN: list[tuple[str, Any, dict[str, Any]]] = [
    ("authentication", True, {"authentication": True}),
    ("cache_ttl", _duration(0), {"cache_ttl_s": 0}),
    ("cache_ttl", _duration(1), {"cache_ttl_s": 1}),
    ("cache_ttl", _duration(MOST), {"cache_ttl_s": MOST}),
    ("collect_logs", True, {"collect_logs": True}),
    ("collect_payloads", True, {"collect_payloads": True}),
    ("timeouts", gateway_pb2.Timeouts(connect=_duration(0.001)), {"timeouts": Timeouts(connect_ms=1)}),
    ("timeouts", gateway_pb2.Timeouts(first_byte=_duration(0.001)), {"timeouts": Timeouts(first_byte_ms=1)}),
    ("timeouts", gateway_pb2.Timeouts(idle=_duration(1.5)), {"timeouts": Timeouts(idle_ms=1500)}),
    ("timeouts", gateway_pb2.Timeouts(total=_duration(86_400)), {"timeouts": Timeouts(total_ms=86_400_000)}),
    ("retry", gateway_pb2.Retry(), {"retry": Retry()}),
    ("retry", gateway_pb2.Retry(max_attempts=1), {"retry": Retry(max_attempts=1)}),
    ("retry", gateway_pb2.Retry(max_attempts=5), {"retry": Retry(max_attempts=5)}),
    ("retry", gateway_pb2.Retry(delay=_duration(0)), {"retry": Retry(delay_ms=0)}),
    ("retry", gateway_pb2.Retry(delay=_duration(60)), {"retry": Retry(delay_ms=60_000)}),
    ("retry", gateway_pb2.Retry(backoff=gateway_pb2.BACKOFF_LINEAR),
     {"retry": Retry(backoff=Backoff.LINEAR)}),
    ("on_disconnect", "DISCONNECT_POLICY_DRAIN", {"on_disconnect": DisconnectPolicy.DRAIN}),
    ("strict_translation", True, {"strict_translation": True}),
    ("byok_only", True, {"byok_only": True}),
    ("cache_invalidate_on_update", True, {"cache_invalidate_on_update": True}),
    ("rate_limit", MOST, {"rate_limit": MOST}),
    ("rate_limit_interval", _duration(MOST), {"rate_limit_interval_s": MOST}),
    ("rate_limit_technique", "RATE_LIMIT_TECHNIQUE_SLIDING", {"rate_limit_technique": Technique.SLIDING}),
    ("log_management", 10_000, {"log_management": 10_000}),
    ("log_management", 10_000_000, {"log_management": 10_000_000}),
    ("log_management_strategy", "LOG_MANAGEMENT_STRATEGY_STOP_INSERTING",
     {"log_management_strategy": LogStrategy.STOP_INSERTING}),
    ("log_classification", True, {"log_classification": True}),
    ("logpush", True, {"logpush": True}),
    ("logpush_public_key", "k" * 16, {"logpush_public_key": "k" * 16}),
    ("logpush_public_key", "-----BEGIN PUBLIC KEY-----\n" + "k" * 900,
     {"logpush_public_key": "-----BEGIN PUBLIC KEY-----\n" + "k" * 900}),
    ("logpush_public_key", "k" * 1024, {"logpush_public_key": "k" * 1024}),
    ("zdr", True, {"zdr": True}),
    ("wholesale", False, {"wholesale": False}),
    ("wholesale", True, {"wholesale": True}),
    ("workers_ai_billing_mode", "unified", {"workers_ai_billing_mode": "unified"}),
    ("store_id", "a" * 256, {"store_id": "a" * 256}),
    ("stream_failover", True, {"stream_failover": True}),
    ("drain_timeout", _duration(0.001), {"drain_timeout_ms": 1}),
    ("drain_timeout", _duration(86_400), {"drain_timeout_ms": 86_400_000}),
    ("cache_stale_while_revalidate", _duration(2_592_000), {"cache_stale_while_revalidate_s": 2_592_000}),
    ("cache_stale_if_error", _duration(2_592_000), {"cache_stale_if_error_s": 2_592_000}),
    ("cache_replay_paced", True, {"cache_replay_paced": True}),
    ("cache_no_sharing", True, {"cache_no_sharing": True}),
    ("idempotency_ttl", _duration(2_592_000), {"idempotency_ttl_s": 2_592_000}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "expected"), TAKEN)
def test_what_is_within_the_bounds_is_taken(field: str, value: Any, expected: dict[str, Any]) -> None:
    """Each setting at the edges of what it may be, alone among defaults."""
    assert replace(_read(), **expected) == _read(**{field: value})


# By the name in the management API: what is just outside the bounds.
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("cache_ttl", {"cache_ttl": _duration(-1)}),
    ("cache_ttl", {"cache_ttl": _duration(60.5)}),
    ("cache_ttl", {"cache_ttl": _duration(MOST + 1)}),
    ("rate_limiting_limit", {"rate_limit": -1}),
    ("rate_limiting_limit", {"rate_limit": MOST + 1}),
    ("rate_limiting_interval", {"rate_limit_interval": _duration(-1)}),
    ("rate_limiting_interval", {"rate_limit_interval": _duration(0.5)}),
    ("rate_limiting_interval", {"rate_limit_interval": _duration(MOST + 1)}),
    ("rate_limiting_technique", {"rate_limit_technique": 9}),
    ("log_management", {"log_management": 9_999}),
    ("log_management", {"log_management": 0}),
    ("log_management", {"log_management": 10_000_001}),
    ("log_management_strategy", {"log_management_strategy": 9}),
    ("logpush_public_key", {"logpush_public_key": "k" * 15}),
    ("logpush_public_key", {"logpush_public_key": "k" * 1025}),
    ("logpush_public_key", {"logpush_public_key": "k" * 16 + "\0"}),
    ("logpush_public_key", {"logpush_public_key": "-----BEGIN PRIVATE KEY-----"}),
    ("retry_max_attempts", {"retry": gateway_pb2.Retry(max_attempts=6)}),
    ("retry_max_attempts", {"retry": gateway_pb2.Retry(max_attempts=-1)}),
    ("retry_delay", {"retry": gateway_pb2.Retry(delay=_duration(60.001))}),
    ("retry_delay", {"retry": gateway_pb2.Retry(delay=_duration(-0.001))}),
    ("retry_backoff", {"retry": gateway_pb2.Retry(backoff=9)}),  # type: ignore[arg-type]  # the wire allows it
    ("connect_timeout", {"timeouts": gateway_pb2.Timeouts(connect=_duration(0))}),
    ("first_byte_timeout", {"timeouts": gateway_pb2.Timeouts(first_byte=_duration(-5))}),
    ("idle_timeout", {"timeouts": gateway_pb2.Timeouts(idle=_duration(0))}),
    ("total_timeout", {"timeouts": gateway_pb2.Timeouts(total=_duration(86_400.001))}),
    ("on_disconnect", {"on_disconnect": 9}),
    ("workers_ai_billing_mode", {"workers_ai_billing_mode": "free"}),
    ("store_id", {"store_id": "a" * 257}),
    ("store_id", {"store_id": "a b"}),
    ("drain_timeout", {"drain_timeout": _duration(0)}),
    ("drain_timeout", {"drain_timeout": _duration(86_400.001)}),
    ("cache_stale_while_revalidate", {"cache_stale_while_revalidate": _duration(2_592_001)}),
    ("cache_stale_if_error", {"cache_stale_if_error": _duration(0.5)}),
    ("idempotency_ttl", {"idempotency_ttl": _duration(-1)}),
]


@pytest.mark.parametrize(("param", "settings"), REFUSED)
def test_what_is_just_outside_is_refused_by_its_name(param: str, settings: dict[str, Any]) -> None:
    """The error has the name that the management API has for it."""
    assert param == _refused(**settings)


def test_settings_must_be_said() -> None:
    """A replacement by nothing is a mistake, not a gateway with everything off."""
    with pytest.raises(GatewayError) as caught:
        gateways.wanted(service_pb.ReplaceGatewayRequest(account_id="a", gateway_id="b"))

    assert (Reason.INVALID_REQUEST, "settings") == (caught.value.reason, caught.value.metadata["param"])


def test_a_gateway_as_a_message() -> None:
    """What is as if it were absent is absent, and times are exact."""
    found = gateways.gateway(_managed(GatewaySettings(), Documents(dlp='{"x":1}', stripe="{}")))
    expected = gateway_pb2.GatewaySettings(
        authentication=True,
        collect_logs=True,
        collect_payloads=True,
        on_disconnect=gateway_pb2.DISCONNECT_POLICY_CANCEL,
        rate_limit_technique=gateway_pb2.RATE_LIMIT_TECHNIQUE_FIXED,
        log_management=10_000_000,
        log_management_strategy=gateway_pb2.LOG_MANAGEMENT_STRATEGY_DELETE_OLDEST,
        workers_ai_billing_mode="postpaid",
        dlp_json='{"x":1}',
        stripe_json="{}",
    )

    assert ("acme", "g", "i", expected) == (found.account_id, found.id, found.internal_id, found.settings)
    assert (NOW, NOW) == (found.create_time.ToDatetime(tzinfo=UTC), found.update_time.ToDatetime(tzinfo=UTC))


@given(SETTINGS)
def test_a_plan_says_only_what_is_acted_on(settings: GatewaySettings) -> None:
    """What is only for those who manage gateways does not go along with every plan."""
    said = {field.name for field, _ in gateways.plan_settings(settings).ListFields()}

    assert said <= {
        "authentication", "cache_ttl", "collect_logs", "collect_payloads", "timeouts", "retry",
        "on_disconnect", "strict_translation", "byok_only", "zdr", "stream_failover", "drain_timeout",
        "cache_stale_while_revalidate", "cache_stale_if_error", "cache_replay_paced", "cache_no_sharing",
        "idempotency_ttl",
    }  # fmt: skip


@pytest.mark.parametrize(("kept", "applies"), [(0, 0), (1, 60), (60, 60), (3600, 3600), (2592001, 2592000)])
def test_a_plan_has_the_time_to_live_that_applies(kept: int, applies: int) -> None:
    """Answers are kept for a minute to thirty days, whatever was set."""
    assert applies == gateways.plan_settings(GatewaySettings(cache_ttl_s=kept)).cache_ttl.seconds


@pytest.mark.parametrize(
    ("byok_only", "wholesale", "applies"),
    [
        (False, None, False),
        (True, None, True),
        (False, False, True),
        (False, True, False),
        (True, True, True),
    ],
)
def test_a_plan_says_whose_keys_are_used(byok_only: bool, wholesale: bool | None, applies: bool) -> None:  # noqa: FBT001 - a table's columns
    """Either of two settings keeps the operator's keys out."""
    settings = GatewaySettings(byok_only=byok_only, wholesale=wholesale)

    assert applies is gateways.plan_settings(settings).byok_only


def test_a_plan_as_a_message() -> None:
    """Steps, settings and lifetime; no model where the plan has none."""
    plan = Plan(
        steps=(Step(provider="openai", model="gpt-4o"), Step(provider="local", model=None)),
        settings=GatewaySettings(cache_ttl_s=60),
    )
    found = plans.planned(plan, reuse_for_s=60, grace_s=0.25, generation=7, scope="acme")

    assert [("openai", "gpt-4o"), ("local", "")] == [(step.provider, step.model) for step in found.steps]
    assert (60_000, 250, 7, "acme", 60) == (
        found.lifetime.reuse_for.ToMilliseconds(),
        found.lifetime.grace.ToMilliseconds(),
        found.lifetime.generation,
        found.lifetime.scope,
        found.settings.cache_ttl.seconds,
    )
    assert (b"", []) == (found.continuation, list(found.needs))


def test_a_plan_without_steps_is_not_reused() -> None:
    """What a stranger gets is kept by nobody: they choose what it would be kept under."""
    plan = Plan(steps=(), settings=GatewaySettings())
    found = plans.planned(plan, reuse_for_s=60, grace_s=300, generation=7, scope="acme")

    assert (0, 0) == (found.lifetime.reuse_for.ToNanoseconds(), found.lifetime.grace.ToNanoseconds())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            pb.PlanRequest(
                authenticated=True,
                client_dialect=http_pb2.DIALECT_OPENAI_CHAT,
                requested_model="openai/x",
            ),
            PlanRequest(authenticated=True, requested_model="openai/x"),
        ),
        (
            pb.PlanRequest(client_dialect=http_pb2.DIALECT_NATIVE, provider="openai"),
            PlanRequest(authenticated=False, provider="openai"),
        ),
        (
            pb.PlanRequest(client_dialect=http_pb2.DIALECT_OPENAI_CHAT),
            PlanRequest(authenticated=False, requested_model=""),
        ),
    ],
    ids=["compat", "native", "no model"],
)
def test_requests_are_read(message: pb.PlanRequest, expected: PlanRequest) -> None:
    """A request is compat or native; a missing model is left for the plan to refuse."""
    assert expected == plans.plan_request(message)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (pb.PlanRequest(provider="openai", requested_model="openai/x"), "provider"),
        (pb.PlanRequest(client_dialect=http_pb2.DIALECT_NATIVE), "provider"),
        (pb.PlanRequest(requested_model="openai/x", continuation=b"x"), "continuation"),
    ],
    ids=["both", "neither", "continuation"],
)
def test_contradictions_are_refused(message: pb.PlanRequest, param: str) -> None:
    """What no edge should send is a malformed request."""
    with pytest.raises(GatewayError) as caught:
        plans.plan_request(message)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])
