"""
How a session with a provider begins: whose key, the handshake, and what the client is told of it.

A stored key that is refused gives way to another of its pool, as it does for any other call.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.provider.v1 import provider_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.providers import convert
from services.providers.outcome import Outcome
from services.providers.realtime.dial import Refused
from services.providers.realtime.places import asked, moved
from services.providers.sending import blame, prepared
from services.providers.upstream import UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.common.v1 import caller_pb2
    from services.providers.adapters.adapter import Adapter
    from services.providers.call import Call, ErrorAnswer, Exchange
    from services.providers.payer import Payer, Payment
    from services.providers.realtime.dial import Dialer, Dialled
    from services.providers.realtime.places import Asked
    from services.providers.telemetry import AttemptTelemetry
    from services.providers.upstream import Timeouts

__all__ = ["Opened", "Opener", "Wanted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    A session that a client wants.

    Attributes:
        adapter: Of the provider.
        call: A native one, as the client sent it.
        caller: On whose behalf.
        timeouts: Of the handshake.
        subprotocols: What the client offers.
    """

    adapter: Adapter
    call: Call
    caller: caller_pb2.Caller
    timeouts: Timeouts
    subprotocols: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """
    How a session began.

    Attributes:
        dialled: The WebSocket; None: the provider refused.
        message: What the client is told.
        path: Where it is.
        outcome: What is to be told of the attempt.
    """

    dialled: Dialled | None
    message: pb.ConnectResponse
    path: str
    outcome: Outcome


class Opener:
    """
    Opens sessions.

    Args:
        payer: Decides whose key is used.
        dialer: Opens WebSockets.
        telemetry: Told when another key is taken.
    """

    def __init__(self, payer: Payer, dialer: Dialer, telemetry: AttemptTelemetry) -> None:
        self._payer = payer
        self._dialer = dialer
        self._telemetry = telemetry

    async def open(self, wanted: Wanted) -> Opened:
        """
        Open a session.

        Raises:
            GatewayError: nobody answered, or nobody pays.
        """
        adapter = wanted.adapter
        meant = asked(wanted.call, adapter.provider, wanted.subprotocols)
        payment = await self._payer.payment(adapter, meant.call, wanted.caller)
        while True:
            try:
                opened, error = await self._try(wanted, meant, payment)
            except GatewayError as failed:
                unusable = payment.unusable(failed)
                if unusable is None:
                    raise
                if not payment.switch():
                    raise unusable from None
                continue
            if error is None:
                payment.taken()
                return opened
            refusal = payment.refused(error.failure_class, error.retry_after_s)
            if refusal is None or not payment.switch():
                return opened
            self._telemetry.switched(adapter, refusal)

    async def _try(self, wanted: Wanted, meant: Asked, payment: Payment) -> tuple[Opened, ErrorAnswer | None]:
        began_s = time.monotonic()
        provider = wanted.adapter.provider
        exchange = await prepared(wanted.adapter, payment.call, wanted.timeouts.first_byte_s)
        request = UpstreamRequest(
            provider=provider.slug,
            method="GET",
            url=moved(exchange.url, provider),
            headers=exchange.headers,
            body=b"",
            timeouts=wanted.timeouts,
            guarded=exchange.guarded,
        )
        try:
            found = await self._dialer.dial(request, meant.subprotocols)
        except GatewayError as error:
            blame(error, payment.key)
            raise
        outcome = Outcome(key=payment.key, first_byte_s=time.monotonic() - began_s, served_model=meant.model)
        if isinstance(found, Refused):
            refused = _read(found, exchange, provider.slug)
            outcome.status, outcome.failure_class = found.status, refused.failure_class
            message = _refusal(found, refused, payment.key)
            return Opened(dialled=None, message=message, path="", outcome=outcome), refused
        outcome.status = 101
        message = _opening(found, meant.model, payment.key)
        return Opened(dialled=found, message=message, path=request.url.raw_path, outcome=outcome), None


def _read(found: Refused, exchange: Exchange, provider: str) -> ErrorAnswer:
    """
    Read why a provider refused.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it did not, but neither did it open a WebSocket.
    """
    if found.status < 400:
        text = f"The provider answered with status {found.status} and opened no WebSocket."
        raise GatewayError(Reason.UPSTREAM_MALFORMED, text, provider=provider)
    return exchange.reading.error(found.status, found.body, found.raw)


def _opening(found: Dialled, model: str, key: str) -> pb.ConnectResponse:
    message = pb.ConnectResponse()
    opened = message.opened
    opened.status, opened.served_model, opened.key = 101, model, key
    opened.subprotocol = found.socket.protocol or ""
    for name, value in found.headers:
        opened.headers.add(name=name, value=value)
    return message


def _refusal(found: Refused, error: ErrorAnswer, key: str) -> pb.ConnectResponse:
    message = pb.ConnectResponse()
    opened = message.opened
    opened.status, opened.body, opened.key = found.status, found.body, key
    for name, value in found.headers:
        opened.headers.add(name=name, value=value)
    failure = convert.failure(
        error.failure_class,
        error.message,
        upstream_status=found.status,
        retry_after_s=error.retry_after_s,
        reported=bool(found.body),
        key=key,
    )
    opened.failure.CopyFrom(failure)
    return message
