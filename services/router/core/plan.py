"""
Decides the steps for a request that names a provider. What a dynamic route comes to is `core.engine`'s.

`plan` is a function of its arguments alone: everything that a decision may depend on is one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason
from services.router.core.custom_provider import PREFIX, is_slug
from services.router.core.echo import echo

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from services.router.core.custom_provider import CustomProvider
    from services.router.core.engine.asked import Input
    from services.router.core.engine.state import Passed
    from services.router.core.gateway import Gateway
    from services.router.core.settings import GatewaySettings

__all__ = [
    "Catalogue",
    "Plan",
    "PlanRequest",
    "RouteSteps",
    "Step",
    "no_such_route_name",
    "own_provider",
    "own_slug",
    "plan",
    "route_name",
    "step_to",
]

_ROUTE_PREFIX = "dynamic"
_LONGEST_MODEL = 256  # far above any real name; bounds what is stored and echoed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """
    What a plan is asked for.

    Exactly one of `requested_model` and `provider` is set.

    Attributes:
        authenticated: Whether the caller presented a valid token.
        requested_model: As the client wrote it. None on native paths.
        provider: From the URL. None on compat.
    """

    authenticated: bool
    requested_model: str | None = None
    provider: str | None = None

    @property
    def for_route(self) -> bool:
        """Whether it asks for a dynamic route."""
        return (self.requested_model or "").startswith(f"{_ROUTE_PREFIX}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """
    What there is to choose from.

    Attributes:
        providers: Slugs of all providers, those among them that the operator added.
        aliases: Other names of some of them.
    """

    providers: frozenset[str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def knows(self, name: str, own_slugs: Collection[str] = ()) -> bool:
        """
        Tell whether a provider of a name can be asked.

        Args:
            name: Its slug, or another name of it.
            own_slugs: Slugs of the account's own providers, without prefix.
        """
        if self.aliases.get(name, name) in self.providers:
            return True
        return name.startswith(PREFIX) and name.removeprefix(PREFIX) in own_slugs


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    Something to try.

    What a route says of it takes the place of the gateway's settings; None: it says nothing.

    Attributes:
        model: In the provider's own naming. None on native paths, where the body says it.
        custom: The account's own provider, when `provider` names one.
        element_id: Element of the route that asks for this. Empty: none does.
        first_byte_ms: How long it may be silent.
        retries: How often it is tried again.
        stream_failover: Whether a stream that breaks off is continued by the next step.
    """

    provider: str
    model: str | None
    custom: CustomProvider | None = None
    element_id: str = ""
    first_byte_ms: int | None = None
    retries: int | None = None
    stream_failover: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSteps:
    """
    What a dynamic route comes to, besides its steps.

    Attributes:
        trace: The elements that were passed, in order.
        needs: What must be told of the request. With steps, what is to be told to go on.
        continuation: What is to be told to go on after all steps failed. Empty: there is nothing more.
        ticket: The limits that count what is tried. Empty: there are none.
        counted: What limits of requests counted on the way, as it can be given back. Empty: nothing.
        reuse_for_s: How long the same holds for the next request. None: as long as any plan.
    """

    name: str
    version_id: str
    trace: tuple[Passed, ...] = ()
    needs: frozenset[Input] = frozenset()
    continuation: bytes = b""
    ticket: bytes = b""
    counted: bytes = b""
    reuse_for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What to try, in order, and the gateway's settings.

    Without steps when the gateway demands a token and there is none: then nothing may be tried. Also when a
    route needs to be told more, or has nothing more.

    Attributes:
        route: What the dynamic route comes to that was asked for. None: none was.
    """

    steps: tuple[Step, ...]
    settings: GatewaySettings
    route: RouteSteps | None = None


def own_provider(request: PlanRequest, gateway: Gateway, catalogue: Catalogue) -> str:
    """Return the slug of the account's own provider that a plan has to know of; empty when of none."""
    if gateway.settings.authentication and not request.authenticated:
        return ""
    return own_slug(request.provider or (request.requested_model or "").partition("/")[0], catalogue)


def route_name(request: PlanRequest, gateway: Gateway) -> str | None:
    """
    Return the name of the dynamic route that a request asks for; None when for none, or for nothing at all.

    Raises:
        GatewayError: BAD_CHAT_FORMAT.
    """
    if request.provider is not None or (gateway.settings.authentication and not request.authenticated):
        return None
    prefix, name = _split(request.requested_model or "")
    return name if prefix == _ROUTE_PREFIX else None


def own_slug(named: str, catalogue: Catalogue) -> str:
    """Return the slug of the account's own provider that a name stands for; empty when for none."""
    if not named.startswith(PREFIX) or named in catalogue.providers:
        return ""
    slug = named.removeprefix(PREFIX)
    return slug if is_slug(slug) else ""


def plan(
    request: PlanRequest, gateway: Gateway, catalogue: Catalogue, own: CustomProvider | None = None
) -> Plan:
    """
    Decide the steps for a request.

    Args:
        request: What is asked.
        gateway: Through which gateway.
        catalogue: What there is to choose from.
        own: The account's own provider that `own_provider` named, if there is one.

    Raises:
        GatewayError: BAD_CHAT_FORMAT, INVALID_PROVIDER, or ALL_STEPS_FAILED for any route.
    """
    settings = gateway.settings
    if settings.authentication and not request.authenticated:
        # Who may not come in learns nothing about what is inside, not even whether the model is well-formed.
        return Plan(steps=(), settings=settings)
    return Plan(steps=_steps(request, catalogue, own), settings=settings)


def _steps(request: PlanRequest, catalogue: Catalogue, own: CustomProvider | None) -> tuple[Step, ...]:
    if request.provider is not None:
        return (step_to(request.provider, None, catalogue, own),)
    prefix, name = _split(request.requested_model or "")
    if prefix == _ROUTE_PREFIX:
        raise no_such_route_name(name)
    return (step_to(prefix, name, catalogue, own),)


def step_to(provider: str, model: str | None, catalogue: Catalogue, own: CustomProvider | None) -> Step:
    """
    Return the step that asks a provider.

    Args:
        provider: Its name.
        model: In its naming.
        catalogue: What there is to choose from.
        own: The account's own provider that `own_slug` named, if there is one.

    Raises:
        GatewayError: INVALID_PROVIDER.
    """
    provider = catalogue.aliases.get(provider, provider)
    if provider in catalogue.providers:
        return Step(provider=provider, model=model)
    if own is None or provider != PREFIX + own.slug:
        raise _invalid_provider(provider, f"There is no provider named {echo(provider)!r}.")
    if not own.enabled:
        raise _invalid_provider(provider, f"The provider {echo(provider)!r} is switched off.")
    return Step(provider=provider, model=model, custom=own)


def no_such_route_name(name: str) -> GatewayError:
    """Return the error about a name that no dynamic route of the gateway has; the public product's code."""
    return GatewayError(
        Reason.ALL_STEPS_FAILED,
        f"The gateway has no dynamic route named {echo(name)!r}.",
        resource="route",
        id=echo(name),
        param="model",
    )


def _split(requested_model: str) -> tuple[str, str]:
    prefix, slash, name = requested_model.partition("/")
    if not (prefix and slash and name):
        raise _bad_model("The model must be written as {provider}/{model}, such as openai/gpt-4o-mini.")
    if len(requested_model) > _LONGEST_MODEL or not requested_model.isprintable():
        raise _bad_model("The model's name is too long or holds unprintable characters.")
    return prefix, name


def _invalid_provider(provider: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_PROVIDER, message, provider=echo(provider))


def _bad_model(message: str) -> GatewayError:
    return GatewayError(Reason.BAD_CHAT_FORMAT, message, param="model")
