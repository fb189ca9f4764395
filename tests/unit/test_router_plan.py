"""Plans: which steps a request gets, and how it is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from random import random

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.common.v1 import caller_pb2, http_pb2
from headrace.router.v1 import router_service_pb2 as pb
from kit.audit import Actor
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.generation import WatchHub
from services.router.config import RouterConfig
from services.router.core.custom_provider import CustomProvider
from services.router.core.gateway import Gateway, absent, is_gateway_id
from services.router.core.health import HealthRules
from services.router.core.health_book import HealthBook
from services.router.core.plan import Catalogue, PlanRequest, Step, own_provider, plan
from services.router.core.settings import GatewaySettings
from services.router.health_memory import MemoryHealth
from services.router.server.health import HealthRpcs
from services.router.server.plans import RouterServicer
from tests.fakes.gateway_store import MemoryPlanGateways, MemoryPlanProviders
from tests.fakes.limits import limit_servicer
from tests.fakes.routes import MemoryRoutes, route_plans

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CATALOGUE = Catalogue(providers=frozenset({"openai", "anthropic", "local"}))
GATEWAY = Gateway(
    account_id="acme",
    id="default",
    internal_id="i",
    settings=GatewaySettings(),
    created_at=NOW,
    updated_at=NOW,
)
OWN = CustomProvider(
    account_id="acme",
    id="p",
    slug="mine",
    base_url="https://llm.example/v1",
    name="Mine",
    headers=(),
    enabled=True,
    created_at=NOW,
    updated_at=NOW,
)


def _compat(model: str, *, authenticated: bool = True) -> PlanRequest:
    return PlanRequest(authenticated=authenticated, requested_model=model)


@pytest.mark.parametrize(
    ("model", "step"),
    [
        ("openai/gpt-4o-mini", Step(provider="openai", model="gpt-4o-mini")),
        ("local/org/model:q4", Step(provider="local", model="org/model:q4")),
        ("anthropic/claude//x/", Step(provider="anthropic", model="claude//x/")),
        ("openai/ gpt", Step(provider="openai", model=" gpt")),
        ("openai/" + "x" * 249, Step(provider="openai", model="x" * 249)),
        ("openai/модель", Step(provider="openai", model="модель")),
    ],
)
def test_a_model_with_a_prefix_is_one_step(model: str, step: Step) -> None:
    """What stands before the first slash is the provider; the rest is its model, untouched."""
    assert (step,) == plan(_compat(model), GATEWAY, CATALOGUE).steps


@pytest.mark.parametrize("provider", ["openai", "anthropic", "local"])
def test_a_native_path_is_one_step_without_model(provider: str) -> None:
    """On a provider's own API the body says the model, and nobody here reads it."""
    request = PlanRequest(authenticated=True, provider=provider)

    assert (Step(provider=provider, model=None),) == plan(request, GATEWAY, CATALOGUE).steps


@pytest.mark.parametrize("name", ["xai", "grok"])
def test_another_name_of_a_provider_is_that_provider(name: str) -> None:
    """A step names the provider by its slug, whichever name the client used."""
    catalogue = Catalogue(providers=frozenset({"grok"}), aliases={"xai": "grok"})

    assert (Step(provider="grok", model="grok-3"),) == plan(
        _compat(f"{name}/grok-3"), GATEWAY, catalogue
    ).steps
    native = PlanRequest(authenticated=True, provider=name)
    assert (Step(provider="grok", model=None),) == plan(native, GATEWAY, catalogue).steps


def test_an_accounts_own_provider_is_in_its_step() -> None:
    """What the account stored goes with the step, on compat and on native paths."""
    native = PlanRequest(authenticated=True, provider="custom-mine")

    assert (Step(provider="custom-mine", model="a/b", custom=OWN),) == plan(
        _compat("custom-mine/a/b"), GATEWAY, CATALOGUE, OWN
    ).steps
    assert (Step(provider="custom-mine", model=None, custom=OWN),) == plan(
        native, GATEWAY, CATALOGUE, OWN
    ).steps


@pytest.mark.parametrize("own", [None, replace(OWN, enabled=False), replace(OWN, slug="other")])
def test_a_provider_that_an_account_has_not_is_invalid(own: CustomProvider | None) -> None:
    """One that is unknown, switched off or another one is refused by its name."""
    with pytest.raises(GatewayError) as caught:
        plan(_compat("custom-mine/x"), GATEWAY, CATALOGUE, own)

    assert (Reason.INVALID_PROVIDER, {"provider": "custom-mine"}) == (
        caught.value.reason,
        caught.value.metadata,
    )


def test_the_operators_provider_comes_first() -> None:
    """A slug that the operator uses never leads to an account's own address."""
    catalogue = Catalogue(providers=frozenset({"custom-mine"}))

    assert own_provider(_compat("custom-mine/x"), GATEWAY, catalogue) == ""
    assert (Step(provider="custom-mine", model="x"),) == plan(
        _compat("custom-mine/x"), GATEWAY, catalogue, OWN
    ).steps


@pytest.mark.parametrize(
    ("request_", "slug"),
    [
        (_compat("custom-mine/x"), "mine"),
        (PlanRequest(authenticated=True, provider="custom-a-b"), "a-b"),
        (_compat("custom-mine/x", authenticated=False), ""),
        (_compat("openai/x"), ""),
        (_compat("custom-/x"), ""),
        (_compat("custom-A/x"), ""),
        (_compat("custom-" + "a" * 51 + "/x"), ""),
    ],
)
def test_what_a_plan_has_to_know_of(request_: PlanRequest, slug: str) -> None:
    """Only who may come in, and names what could be there, has it looked for."""
    assert slug == own_provider(request_, GATEWAY, CATALOGUE)


def _error(request: PlanRequest) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        plan(request, GATEWAY, CATALOGUE)
    return caught.value


@pytest.mark.parametrize(
    "model",
    ["", "gpt-4o", "/", "/gpt-4o", "openai/", "openai/" + "x" * 250, "openai/a\nb", "openai/\x00", "a\tb/c"],
)
def test_a_model_without_prefix_is_a_bad_format(model: str) -> None:
    """Whatever is not `{provider}/{model}` is said to be the model's fault."""
    error = _error(_compat(model))

    assert (Reason.BAD_CHAT_FORMAT, {"param": "model"}) == (error.reason, error.metadata)


@pytest.mark.parametrize(
    ("request_", "provider"),
    [
        (_compat("nope/x"), "nope"),
        (_compat("OpenAI/x"), "OpenAI"),
        (_compat(" openai/x"), " openai"),
        (PlanRequest(authenticated=True, provider="nope"), "nope"),
        (PlanRequest(authenticated=True, provider="y" * 500), "y" * 64),
        (PlanRequest(authenticated=True, provider="a\r\nb\x00"), "a??b?"),
        (PlanRequest(authenticated=True, provider="dynamic"), "dynamic"),
    ],
    ids=["unknown", "capitals", "a space", "native", "long", "control characters", "native dynamic"],
)
def test_an_unknown_provider_is_named(request_: PlanRequest, provider: str) -> None:
    """The error names the provider, cut and without control characters."""
    error = _error(request_)

    assert (Reason.INVALID_PROVIDER, {"provider": provider}) == (error.reason, error.metadata)


def test_a_route_that_does_not_exist_is_not_found() -> None:
    """`dynamic/{route}` is understood as a route, not as a provider."""
    error = _error(_compat("dynamic/support/eu"))

    assert (Reason.ALL_STEPS_FAILED, {"resource": "route", "id": "support/eu", "param": "model"}) == (
        error.reason,
        error.metadata,
    )


@pytest.mark.parametrize("model", ["openai/gpt-4o", "nope/x", "no-prefix", "dynamic/x"])
def test_without_a_token_there_are_no_steps(model: str) -> None:
    """A gateway that demands a token gives who has none its settings and nothing else, not even an error."""
    found = plan(_compat(model, authenticated=False), GATEWAY, CATALOGUE)

    assert ((), GATEWAY.settings) == (found.steps, found.settings)


def test_a_gateway_without_authentication_serves_anybody() -> None:
    """Where no token is demanded, none is needed."""
    gateway = replace(GATEWAY, settings=GatewaySettings(authentication=False))
    found = plan(_compat("openai/gpt-4o", authenticated=False), gateway, CATALOGUE)

    assert (Step(provider="openai", model="gpt-4o"),) == found.steps


def test_the_default_gateway_makes_itself_with_what_it_promises() -> None:
    """Authentication and logs on, caching and retries off."""
    settings = absent("acme", "default", NOW, internal_id="i").settings

    assert (True, True, True, 0, None, False, 0) == (
        settings.authentication,
        settings.collect_logs,
        settings.collect_payloads,
        settings.cache_ttl_s,
        settings.retry.max_attempts,
        settings.byok_only,
        settings.rate_limit,
    )


@pytest.mark.parametrize("name", ["nope", "Default", "default2", ""])
def test_no_other_gateway_makes_itself(name: str) -> None:
    """An unknown gateway is an error that names it."""
    with pytest.raises(GatewayError) as caught:
        absent("acme", name, NOW, internal_id="i")

    assert (Reason.GATEWAY_NOT_FOUND, {"gateway_id": name}) == (caught.value.reason, caught.value.metadata)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("default", True),
        ("a", True),
        ("my-gateway_2", True),
        ("_", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("-a", False),
        ("a-", False),
        ("a--b", False),
        ("A", False),
        ("é", False),
        ("a\n", False),
        ("a b", False),
    ],
)
def test_gateway_ids(name: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """The pattern of the public product, 1 to 64 characters."""
    assert expected is is_gateway_id(name)


TEXTS = st.one_of(
    st.text(max_size=700),
    st.from_regex(r"(openai|anthropic|local|dynamic|nope)?/?[^/]*", fullmatch=True),
    st.sampled_from(["openai/x", "dynamic/x", "local//", "a/b/c"]),
)


NAMES = st.one_of(TEXTS, st.sampled_from(["default", "mine", "nope"]))


@given(
    request=st.builds(
        pb.PlanRequest,
        caller=st.builds(caller_pb2.Caller, account_id=st.one_of(st.just("acme"), TEXTS), gateway_id=NAMES),
        authenticated=st.booleans(),
        client_dialect=st.sampled_from([*http_pb2.Dialect.values(), 99]),
        requested_model=TEXTS,
        provider=st.one_of(st.just(""), TEXTS),
        continuation=st.one_of(st.just(b""), st.binary(max_size=20)),
    ),
    demands=st.booleans(),
    providers=st.frozensets(st.sampled_from(["openai", "anthropic", "local", "dynamic", ""])),
)
@example(request=pb.PlanRequest(), demands=False, providers=frozenset({""}))
async def test_planning_never_fails_in_another_way(
    request: pb.PlanRequest, *, demands: bool, providers: frozenset[str]
) -> None:
    """Any request gets a plan or a showable `GatewayError`, and no steps where a token is missing."""
    store = MemoryPlanGateways()
    mine = replace(GATEWAY, id="mine", settings=GatewaySettings(authentication=demands))
    await store.ensure(mine, Actor())
    hub = WatchHub(1)
    servicer = RouterServicer(
        store=store,
        custom_providers=MemoryPlanProviders(),
        hub=hub,
        catalogue=Catalogue(providers=providers),
        config=RouterConfig(),
        clock=SystemClock(),
        health=HealthRpcs(
            MemoryHealth(HealthBook(HealthRules()), clock=SystemClock(), draw=random, changed=lambda *_: None)
        ),
        limits=limit_servicer(store, hub),
        routes=route_plans(
            MemoryRoutes(),
            hub,
            custom_providers=MemoryPlanProviders(),
            catalogue=Catalogue(providers=providers),
        ),
        log=structlog.get_logger(),
    )
    try:
        answer = await servicer.Plan(request, None)
    except GatewayError as error:
        assert all(len(value) <= 64 and value.isprintable() for value in error.metadata.values())  # noqa: PT017
        return

    assert bool(answer.steps) != (answer.settings.authentication and not request.authenticated)
    assert {step.provider for step in answer.steps} <= providers
    assert bool(answer.steps) == bool(answer.lifetime.reuse_for.ToNanoseconds())
    assert answer.lifetime.scope == request.caller.account_id
    assert set(store.gateways) <= {("acme", "mine"), (request.caller.account_id, "default")}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("grok", True),
        ("xai", True),
        ("custom-ops", True),
        ("custom-mine", True),
        ("custom-other", False),
        ("mine", False),
        ("custom-", False),
        ("", False),
    ],
)
def test_which_providers_can_be_asked(name: str, known: bool) -> None:  # noqa: FBT001 - a table's column
    """Those of the catalogue by each of their names, and the account's own by theirs."""
    catalogue = Catalogue(providers=frozenset({"grok", "custom-ops"}), aliases={"xai": "grok"})

    assert known is catalogue.knows(name, {"mine"})
