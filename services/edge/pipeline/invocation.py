"""What a provider service is asked for one step of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from headrace.provider.v1 import provider_service_pb2
from kit.tokens import CREDENTIAL_HEADERS

if TYPE_CHECKING:
    from headrace.router.v1 import gateway_pb2, router_service_pb2
    from services.edge.pipeline.access import Admission
    from services.edge.pipeline.exchange import Exchange

__all__ = ["invocation"]

_TIMERS: Final[tuple[Literal["connect", "first_byte", "idle", "total"], ...]] = (
    "connect", "first_byte", "idle", "total",
)  # fmt: skip


def invocation(
    exchange: Exchange, admission: Admission, step: router_service_pb2.Step, *, own_provider: str
) -> provider_service_pb2.InvokeRequest:
    """
    Write the request to a provider service.

    Args:
        exchange: What the client asked for.
        admission: On whose behalf, and by which settings.
        step: What to try.
        own_provider: Provider that the client's own keys are for: no other may see them.
    """
    settings, options = admission.plan.settings, exchange.options
    request = provider_service_pb2.InvokeRequest()
    # Filled in place: building from keywords, or from a list of messages, takes twice the time and more.
    request.caller.CopyFrom(admission.caller)
    request.provider = provider = step.provider
    request.model = step.model
    request.client_dialect = exchange.dialect
    request.operation = exchange.operation
    request.body = exchange.body
    request.stream = exchange.streamed
    if exchange.native is not None:
        request.native.CopyFrom(exchange.native)
    request.strict_translation = exchange.strict(settings)
    own, headers = provider == own_provider, request.headers
    for name, value in exchange.headers.forwarded:
        if own or name not in CREDENTIAL_HEADERS:
            header = headers.add()
            header.name, header.value = name, value
    if step.HasField("custom"):
        request.custom.CopyFrom(step.custom)
    if exchange.upload is not None and exchange.upload.length is not None:
        request.headers.add(name="content-length", value=str(exchange.upload.length).encode())
    if options.byok_alias:
        request.credential.alias = options.byok_alias
    if settings.byok_only or options.no_wholesale or _sells_nothing(settings):
        request.credential.no_operator = True
    if not admission.may_spend:
        request.credential.request_only = True
    _set_timeouts(request, exchange, step, settings)
    return request


def _set_timeouts(
    request: provider_service_pb2.InvokeRequest,
    exchange: Exchange,
    step: router_service_pb2.Step,
    settings: gateway_pb2.GatewaySettings,
) -> None:
    """Set each timer by the step's word, else the request's, else the gateway's."""
    if settings.HasField("timeouts"):
        request.timeouts.CopyFrom(settings.timeouts)
    asked_s = exchange.options.request_timeout_s
    if asked_s is not None:
        request.timeouts.first_byte.FromNanoseconds(int(asked_s * 1e9))
    if step.HasField("timeouts"):
        for name in _TIMERS:
            if step.timeouts.HasField(name):
                getattr(request.timeouts, name).CopyFrom(getattr(step.timeouts, name))


def _sells_nothing(settings: gateway_pb2.GatewaySettings) -> bool:
    return settings.HasField("wholesale") and not settings.wholesale
