"""What router takes from a request, what it refuses, and what its answers look like."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import pytest
from google.protobuf import duration_pb2, field_mask_pb2
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import http_pb2
from headrace.router.v1 import gateway_pb2
from headrace.router.v1 import router_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.router import convert
from services.router.core.gateway import (
    Backoff,
    DisconnectPolicy,
    Gateway,
    GatewaySettings,
    Retry,
    Timeouts,
    changed,
)
from services.router.core.plan import Plan, PlanRequest, Step

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def _duration(seconds: float) -> duration_pb2.Duration:
    message = duration_pb2.Duration()
    message.FromMilliseconds(int(seconds * 1000))
    return message


def _changes(paths: list[str], **settings: object) -> dict[tuple[str, ...], object]:
    message = gateway_pb2.GatewaySettings(**settings)  # type: ignore[arg-type]  # by name
    mask = field_mask_pb2.FieldMask(paths=paths)
    return convert.changes(pb.UpdateGatewayRequest(settings=message, update_mask=mask))


def _refused(paths: list[str], **settings: object) -> str:
    with pytest.raises(GatewayError) as caught:
        _changes(paths, **settings)
    assert Reason.INVALID_REQUEST == caught.value.reason
    return caught.value.metadata["param"]


MILLISECONDS = st.one_of(st.none(), st.integers(1, 86_400_000))
SETTINGS = st.builds(
    GatewaySettings,
    authentication=st.booleans(),
    cache_ttl_s=st.one_of(st.just(0), st.integers(60, 30 * 86_400)),
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
        max_attempts=st.integers(1, 5),
        delay_ms=st.integers(0, 60_000),
        backoff=st.sampled_from(Backoff),
    ),
    on_disconnect=st.sampled_from(DisconnectPolicy),
    strict_translation=st.booleans(),
    byok_only=st.booleans(),
)
ALL_PATHS = [
    "authentication",
    "cache_ttl",
    "collect_logs",
    "collect_payloads",
    "timeouts",
    "retry",
    "on_disconnect",
    "strict_translation",
    "byok_only",
]


@given(before=SETTINGS, after=SETTINGS)
def test_settings_come_back_as_they_were(before: GatewaySettings, after: GatewaySettings) -> None:
    """Sending all settings of one gateway to another makes it the same."""
    request = pb.UpdateGatewayRequest(
        settings=convert.settings(after), update_mask=field_mask_pb2.FieldMask(paths=ALL_PATHS)
    )

    assert after == changed(before, convert.changes(request))


@given(before=SETTINGS, after=SETTINGS, data=st.data())
def test_only_what_the_mask_names_changes(
    before: GatewaySettings, after: GatewaySettings, data: st.DataObject
) -> None:
    """Each setting is that of the new settings when it is named, and as before when it is not."""
    paths = data.draw(st.lists(st.sampled_from(ALL_PATHS), min_size=1))
    request = pb.UpdateGatewayRequest(
        settings=convert.settings(after), update_mask=field_mask_pb2.FieldMask(paths=paths)
    )
    found = changed(before, convert.changes(request))
    named = {"cache_ttl_s" if path == "cache_ttl" else path for path in paths}

    for field in fields(GatewaySettings):
        source = after if field.name in named else before
        assert getattr(source, field.name) == getattr(found, field.name)


def test_every_setting_of_the_contract_can_be_changed() -> None:
    """No field of the message is forgotten by the mask, and none of ours by the message."""
    names = [field.name for field in gateway_pb2.GatewaySettings.DESCRIPTOR.fields]

    assert ALL_PATHS == names
    assert len(names) == len(fields(GatewaySettings))
    for parent, message in (("timeouts", gateway_pb2.Timeouts), ("retry", gateway_pb2.Retry)):
        for field in message.DESCRIPTOR.fields:
            if f"{parent}.{field.name}" != "retry.max_attempts":
                continue
            assert {(parent, field.name): 1} == _changes([f"{parent}.{field.name}"])


@pytest.mark.parametrize(
    ("path", "settings", "expected"),
    [
        (
            "timeouts.connect",
            {"timeouts": gateway_pb2.Timeouts(connect=_duration(1.5))},
            Timeouts(connect_ms=1500, idle_ms=7),
        ),
        ("timeouts.idle", {}, Timeouts()),
        (
            "timeouts.first_byte",
            {"timeouts": gateway_pb2.Timeouts(first_byte=_duration(2))},
            Timeouts(first_byte_ms=2000, idle_ms=7),
        ),
        (
            "timeouts.total",
            {"timeouts": gateway_pb2.Timeouts(total=_duration(86_400))},
            Timeouts(total_ms=86_400_000, idle_ms=7),
        ),
        ("timeouts", {}, Timeouts()),
    ],
)
def test_one_time_out_changes_alone(path: str, settings: dict[str, object], expected: Timeouts) -> None:
    """A path into the time-outs leaves the others; an absent value clears the one."""
    before = GatewaySettings(timeouts=Timeouts(idle_ms=7))

    assert expected == changed(before, _changes([path], **settings)).timeouts


@pytest.mark.parametrize(
    ("path", "settings", "expected"),
    [
        (
            "retry.max_attempts",
            {"retry": gateway_pb2.Retry(max_attempts=5)},
            Retry(max_attempts=5, delay_ms=9),
        ),
        ("retry.max_attempts", {}, Retry(max_attempts=1, delay_ms=9)),
        ("retry.delay", {"retry": gateway_pb2.Retry(delay=_duration(60))}, Retry(delay_ms=60_000)),
        ("retry.delay", {}, Retry(delay_ms=0)),
        (
            "retry.backoff",
            {"retry": gateway_pb2.Retry(backoff=gateway_pb2.BACKOFF_LINEAR)},
            Retry(delay_ms=9, backoff=Backoff.LINEAR),
        ),
        ("retry", {}, Retry()),
    ],
)
def test_one_part_of_retry_changes_alone(path: str, settings: dict[str, object], expected: Retry) -> None:
    """A path into retry leaves its other parts."""
    assert expected == changed(GatewaySettings(retry=Retry(delay_ms=9)), _changes([path], **settings)).retry


@pytest.mark.parametrize("seconds", [0, 60, 61, 30 * 86_400])
def test_allowed_cache_ttls(seconds: int) -> None:
    """Zero, and whole seconds from a minute to thirty days."""
    assert {("cache_ttl_s",): seconds} == _changes(["cache_ttl"], cache_ttl=_duration(seconds))


@pytest.mark.parametrize("seconds", [0.001, 1, 59, 59.999, 60.5, 30 * 86_400 + 1, -1, -60, -0.5])
def test_other_cache_ttls_are_refused(seconds: float) -> None:
    """Just outside the bounds, fractions and negative ones are errors that name the setting."""
    assert "settings.cache_ttl" == _refused(["cache_ttl"], cache_ttl=_duration(seconds))


@pytest.mark.parametrize(
    ("path", "settings", "param"),
    [
        ("retry", {"retry": gateway_pb2.Retry(max_attempts=6)}, "settings.retry.max_attempts"),
        ("retry.max_attempts", {"retry": gateway_pb2.Retry(max_attempts=-1)}, "settings.retry.max_attempts"),
        ("retry", {"retry": gateway_pb2.Retry(delay=_duration(60.001))}, "settings.retry.delay"),
        ("retry.delay", {"retry": gateway_pb2.Retry(delay=_duration(-1))}, "settings.retry.delay"),
        ("retry", {"retry": gateway_pb2.Retry(backoff=9)}, "settings.retry.backoff"),  # type: ignore[arg-type]  # the wire allows it
        ("timeouts", {"timeouts": gateway_pb2.Timeouts(idle=_duration(0))}, "settings.timeouts.idle"),
        (
            "timeouts.total",
            {"timeouts": gateway_pb2.Timeouts(total=_duration(86_401))},
            "settings.timeouts.total",
        ),
        (
            "timeouts.connect",
            {"timeouts": gateway_pb2.Timeouts(connect=_duration(-5))},
            "settings.timeouts.connect",
        ),
        ("on_disconnect", {"on_disconnect": 9}, "settings.on_disconnect"),
        ("nope", {}, "update_mask"),
        ("", {}, "update_mask"),
        ("*", {}, "update_mask"),
        ("cacheTtl", {}, "update_mask"),
        ("timeouts.nope", {}, "update_mask"),
        ("authentication.x", {}, "update_mask"),
        ("cache_ttl_s", {}, "update_mask"),
    ],
)
def test_other_values_and_paths_are_refused(path: str, settings: dict[str, object], param: str) -> None:
    """Each error names what is wrong."""
    assert param == _refused(["authentication", path], **settings)


def test_an_empty_mask_is_refused() -> None:
    """Nothing to change is a mistake of the caller, not a change of everything."""
    assert "update_mask" == _refused([], authentication=True)


def test_what_the_mask_does_not_name_is_not_looked_at() -> None:
    """A wrong value outside the mask does no harm."""
    assert {("byok_only",): True} == _changes(["byok_only"], byok_only=True, cache_ttl=_duration(1))


def test_a_gateway_as_a_message() -> None:
    """What is as if it were absent is absent, and times are exact."""
    found = convert.gateway(
        Gateway(account_id="acme", id="g", settings=GatewaySettings(), created_at=NOW, updated_at=NOW)
    )
    expected = gateway_pb2.GatewaySettings(
        authentication=True,
        collect_logs=True,
        collect_payloads=True,
        on_disconnect=gateway_pb2.DISCONNECT_POLICY_CANCEL,
    )

    assert ("acme", "g", expected) == (found.account_id, found.id, found.settings)
    assert (NOW, NOW) == (found.create_time.ToDatetime(tzinfo=UTC), found.update_time.ToDatetime(tzinfo=UTC))


def test_a_plan_as_a_message() -> None:
    """Steps, settings and lifetime; no model where the plan has none."""
    plan = Plan(
        steps=(Step(provider="openai", model="gpt-4o"), Step(provider="local", model=None)),
        settings=GatewaySettings(cache_ttl_s=60),
    )
    found = convert.planned(plan, reuse_for_s=60, grace_s=0.25, generation=7, scope="acme")

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
    found = convert.planned(plan, reuse_for_s=60, grace_s=300, generation=7, scope="acme")

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
    assert expected == convert.plan_request(message)


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
        convert.plan_request(message)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])
