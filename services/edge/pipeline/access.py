"""
Who asks, and what to try: the decisions of auth and router, kept as long as they allow.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headrace.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, token_pb2
from headrace.common.v1 import caller_pb2, http_pb2
from headrace.router.v1 import router_service_pb2, router_service_pb2_grpc
from kit import tokens
from kit.decisions import DecisionCache, Fetched
from kit.errors import GatewayError, Reason
from kit.providers import canonical
from services.edge.client_address import allowed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headrace.common.v1 import lifetime_pb2
    from kit.service import Runtime
    from services.edge.config import EdgeConfig
    from services.edge.pipeline.exchange import Exchange

__all__ = ["Access", "Admission", "check_gateway", "may_use"]

Principal = auth_service_pb2.Principal
Plan = router_service_pb2.PlanResponse

_ROUTE: Final = "dynamic/"


@dataclass(slots=True)  # made for each request; freezing would cost most of it
class Admission:
    """
    A request that may go on.

    Attributes:
        caller: On whose behalf.
        plan: By which plan.
        may_spend: Whether keys other than the request's own may be used for it.
        principal: Whose token was presented. None: none was.
    """

    caller: caller_pb2.Caller
    plan: Plan
    may_spend: bool
    principal: Principal | None


class Access:
    """Admits requests."""

    def __init__(self, runtime: Runtime, config: EdgeConfig) -> None:
        log = runtime.log("access")
        self._auth = auth_service_pb2_grpc.AuthServiceStub(runtime.channel("auth"))
        self._router = router_service_pb2_grpc.RouterServiceStub(runtime.channel("router"))
        self._timeout_s = config.decision_timeout_s
        self._limits_timeout_s = config.limits_timeout_s
        self._principals: DecisionCache[Any, Principal] = DecisionCache(capacity=config.decisions, log=log)
        self._plans: DecisionCache[Any, Plan] = DecisionCache(capacity=config.decisions, log=log)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow both services' invalidations while the context is open."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._principals.follow(self._watch_auth)),
                group.create_task(self._plans.follow(self._watch_router)),
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    @property
    def heard(self) -> bool:
        """True once both services have been heard of: before that, no request can be admitted."""
        return self._principals.heard and self._plans.heard

    async def admit(self, exchange: Exchange) -> Admission:
        """
        Decide whether a request may go on, and how.

        Raises:
            GatewayError: It may not, or a service that must decide is away.
        """
        principal, refusal = None, None
        if exchange.token:
            try:
                principal = await self.authenticate(exchange.account_id, exchange.token)
            except GatewayError as error:
                # Whether a token is needed at all is the gateway's setting, so the plan comes first.
                refusal = error
        if principal is not None:
            self.check_address(principal, exchange.headers.client_address)
            # Before the plan: that of a route counts.
            check_gateway(principal, exchange.gateway_id)
        token_id = principal.token_id if principal else ""
        caller = caller_pb2.Caller(
            account_id=exchange.account_id, gateway_id=exchange.gateway_id, token_id=token_id
        )
        # Who need not say who they are bring their own key.
        may_spend = principal is not None and _may_run(principal)
        try:
            plan = await self._plan(exchange, caller, authenticated=may_spend)
        except GatewayError as error:
            # Nobody learns what exists by presenting a bad token.
            raise refusal or error from None
        if plan.settings.authentication:
            if principal is None:
                raise refusal or GatewayError(Reason.UNAUTHENTICATED, "Unauthorized")
            if not _may_run(principal):
                raise _lacks(token_pb2.PERMISSION_AI_GATEWAY_RUN)
        if principal is not None and not plan.HasField("decision"):
            # A token that is presented where none is needed is narrowed all the same.
            for step in plan.steps:
                _check(principal, exchange, step)
        return Admission(caller, plan, may_spend, principal)

    def check_step(self, admission: Admission, exchange: Exchange, step: router_service_pb2.Step) -> None:
        """
        Check that a token's restrictions let it take a step of a route, whose others it may be let take.

        Raises:
            GatewayError: PERMISSION_DENIED.
        """
        if admission.principal is not None:
            _check(admission.principal, exchange, step)

    async def plan_on(
        self,
        admission: Admission,
        exchange: Exchange,
        plan: Plan,
        failure: router_service_pb2.StepFailure,
    ) -> Plan:
        """
        Ask what else to try, now that a plan's steps have failed.

        Raises:
            GatewayError: The route ends here in an error of its own, or router is away.
        """
        request = self._request(exchange, admission.caller, plan.needs, authenticated=admission.may_spend)
        request.continuation = plan.continuation
        request.failure.CopyFrom(failure)
        return await self._router.Plan(request, timeout=self._limits_timeout_s)

    async def authenticate(self, account_id: str, token: str) -> Principal:
        """
        Find whose token this is.

        Raises:
            GatewayError: UNAUTHENTICATED, or auth is away.
        """
        # The digest, so that a dump of the cache's keys holds no token.
        key = (account_id, hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest())
        known = self._principals.fresh(key)
        if known is not None:
            return known

        async def fetch() -> Fetched[Principal]:
            request = auth_service_pb2.AuthenticateRequest(account_id=account_id, token=token)
            answer = await self._auth.Authenticate(request, timeout=self._timeout_s)
            return Fetched(answer.principal, answer.lifetime)

        return await self._principals.get(key, fetch)

    async def require(
        self, account_id: str, token: str, permission: token_pb2.Permission.ValueType, *, address: str
    ) -> Principal:
        """
        Admit a request that needs a token whatever the gateway's settings.

        Args:
            account_id: Account that it concerns.
            token: The token that it presents.
            permission: What the token must allow.
            address: Where the request comes from.

        Raises:
            GatewayError: UNAUTHENTICATED, PERMISSION_DENIED, or auth is away.
        """
        if not token:
            raise GatewayError(Reason.UNAUTHENTICATED, "Authentication error")
        principal = await self.authenticate(account_id, token)
        if permission not in principal.permissions:
            raise _lacks(permission)
        self.check_address(principal, address)
        return principal

    def check_address(self, principal: Principal, address: str) -> None:
        """
        Check that a token may be used from where a request comes from.

        Args:
            principal: Whose token.
            address: Where the request comes from. Empty, as it is when that cannot be known, is nowhere that
                a narrowed token may be used from.

        Raises:
            GatewayError: PERMISSION_DENIED.
        """
        narrowed = principal.restrictions
        if (narrowed.addresses or narrowed.forbidden_addresses) and not allowed(
            address, narrowed.addresses, narrowed.forbidden_addresses
        ):
            raise GatewayError(
                Reason.PERMISSION_DENIED, "This token may not be used from this address.", resource="address"
            )

    async def _plan(self, exchange: Exchange, caller: caller_pb2.Caller, *, authenticated: bool) -> Plan:
        key = (
            caller.account_id, caller.gateway_id, caller.token_id, exchange.dialect, exchange.requested_model,
            exchange.provider,
        )  # fmt: skip
        known = self._plans.fresh(key)
        if known is not None and (known.steps or not known.needs):
            return known

        # That of a route may count.
        is_route = exchange.requested_model.startswith(_ROUTE)
        timeout_s = self._limits_timeout_s if is_route else self._timeout_s

        async def ask(needs: Any) -> Fetched[Plan]:
            request = self._request(exchange, caller, needs, authenticated=authenticated)
            answer = await self._router.Plan(request, timeout=timeout_s)
            return Fetched(answer, answer.lifetime)

        plan = await self._plans.get(key, lambda: ask(()))
        given: set[int] = set()
        # Once as a rule; a version that is deployed meanwhile may look at more.
        while plan.needs and not plan.steps and not given.issuperset(plan.needs):
            given.update(plan.needs)
            plan = (await ask(given)).value
        return plan

    def _request(
        self, exchange: Exchange, caller: caller_pb2.Caller, needs: Any, *, authenticated: bool
    ) -> router_service_pb2.PlanRequest:
        request = router_service_pb2.PlanRequest(
            caller=caller,
            authenticated=authenticated,
            client_dialect=exchange.dialect,
            requested_model=exchange.requested_model,
            provider=exchange.provider,
            given=needs,
        )
        if router_service_pb2.PLAN_INPUT_METADATA in needs:
            request.caller.metadata.update(exchange.options.metadata)
        if router_service_pb2.PLAN_INPUT_BODY in needs:
            request.body = exchange.body
        if router_service_pb2.PLAN_INPUT_HEADERS in needs:
            request.headers.extend(
                http_pb2.Header(name=name, value=value)
                for name, value in exchange.headers.forwarded
                if name not in tokens.CREDENTIAL_HEADERS
            )
        return request

    async def _watch_auth(self) -> AsyncIterator[lifetime_pb2.Invalidation]:
        async for event in self._auth.Watch(auth_service_pb2.WatchRequest()):
            yield event.invalidation

    async def _watch_router(self) -> AsyncIterator[lifetime_pb2.Invalidation]:
        async for event in self._router.Watch(router_service_pb2.WatchRequest()):
            yield event.invalidation


def _may_run(principal: Principal) -> bool:
    return token_pb2.PERMISSION_AI_GATEWAY_RUN in principal.permissions


def _check(principal: Principal, exchange: Exchange, step: router_service_pb2.Step) -> None:
    narrowed = principal.restrictions
    if not (narrowed.gateway_ids or narrowed.providers or narrowed.models):
        return
    check_gateway(principal, exchange.gateway_id)
    if not _allows(narrowed.providers, step.provider):
        raise _may_not_use("provider", step.provider)
    for name in (step.model, *exchange.other_models):
        if not _allows(narrowed.models, model := f"{step.provider}/{name}"):
            raise _may_not_use("model", model)


def check_gateway(principal: Principal, gateway_id: str) -> None:
    """
    Check that a token's restrictions let it use a gateway.

    Raises:
        GatewayError: PERMISSION_DENIED.
    """
    named = principal.restrictions.gateway_ids
    if named and gateway_id not in named:
        raise _may_not_use("gateway", gateway_id)


def may_use(principal: Principal, provider: str, model: str) -> bool:
    """Say whether a token's restrictions let it use a model, named as the provider names it."""
    narrowed = principal.restrictions
    return _allows(narrowed.providers, provider) and _allows(narrowed.models, f"{provider}/{model}")


def _allows(named: Sequence[str], wanted: str) -> bool:
    """Say whether a restriction names something; it may use another name of the provider."""
    return not named or wanted in named or wanted in map(_canonical, named)


def _canonical(name: str) -> str:
    """Give a provider's name, or a model's, with the provider as steps name it."""
    provider, slash, model = name.partition("/")
    return f"{canonical(provider)}{slash}{model}"


def _may_not_use(what: str, name: str) -> GatewayError:
    return GatewayError(
        Reason.PERMISSION_DENIED, f"This token may not use the {what} {name!r}.", resource=what, id=name
    )


def _lacks(permission: token_pb2.Permission.ValueType) -> GatewayError:
    name = token_pb2.Permission.Name(permission).removeprefix("PERMISSION_").lower()
    return GatewayError(Reason.PERMISSION_DENIED, f"This token lacks the permission {name}.", permission=name)
