"""
How an attempt begins: whose key, the request, and the beginning of its answer.

A stored key that is refused gives way to another of its pool here, so that nobody outside sees more than one
attempt.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.providers import convert
from services.providers.relay import relay_for
from services.providers.upstream import UpstreamRequest

if TYPE_CHECKING:
    from headrace.common.v1 import caller_pb2
    from headrace.provider.v1 import provider_service_pb2 as pb
    from services.providers.adapters.adapter import Adapter
    from services.providers.answer import UpstreamAnswer
    from services.providers.call import Call, Exchange
    from services.providers.key_pool import Refusal
    from services.providers.outcome import Relay
    from services.providers.payer import Payer, Payment
    from services.providers.telemetry import Attempt, AttemptTelemetry
    from services.providers.upload import UploadedBody
    from services.providers.upstream import Timeouts, Upstream

__all__ = ["Begun", "Sender", "Sending", "blame", "prepared"]

# APIs whose adapters may ask somebody else first; on the others a timer would be lost.
_ASKING: Final = frozenset({"bedrock", "gemini", "vertex", "workers-ai"})
# What a provider is to be blamed for.
_UPSTREAM: Final = frozenset(
    {
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_MALFORMED,
        Reason.UPSTREAM_CUT,
        Reason.UPSTREAM_ERROR,
    }
)


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Sending:
    """
    What is to be sent.

    Attributes:
        adapter: Of the provider.
        call: What is asked.
        caller: On whose behalf.
        timeouts: Of the whole attempt, however many keys it takes.
        uploaded: The body, where it is sent as it comes.
        attempt: Told of the answer.
    """

    adapter: Adapter
    call: Call
    caller: caller_pb2.Caller
    timeouts: Timeouts
    uploaded: UploadedBody | None
    attempt: Attempt


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Begun:
    """An answer that has begun; whoever holds it closes it. `message` is its head."""

    exchange: Exchange
    answer: UpstreamAnswer
    relay: Relay
    message: pb.InvokeResponse


class Sender:
    """
    Sends calls.

    Args:
        payer: Decides whose key is used.
        upstream: Where requests go.
        telemetry: Told when another key is taken.
    """

    def __init__(self, payer: Payer, upstream: Upstream, telemetry: AttemptTelemetry) -> None:
        self._payer = payer
        self._upstream = upstream
        self._telemetry = telemetry

    async def begin(self, sending: Sending) -> Begun:
        """
        Send a call, and read how its answer begins.

        Raises:
            GatewayError: there is no answer, or nobody pays for one.
        """
        payment = await self._payer.payment(sending.adapter, sending.call, sending.caller)
        if not payment.stored:
            return await self._send(sending, payment, sending.timeouts)
        timeouts, started_s = sending.timeouts, time.monotonic()
        while True:
            try:
                begun = await self._send(sending, payment, timeouts)
            except GatewayError as error:
                unusable = payment.unusable(error)
                if unusable is None:
                    raise
                # Nothing was sent yet, so that an upload still can be.
                if not payment.switch():
                    raise unusable from None
                continue
            refusal = _judge(payment, begun)
            left = _left(sending.timeouts, time.monotonic() - started_s)
            # What was uploaded is gone.
            if refusal is None or left is None or sending.uploaded is not None or not payment.switch():
                return begun
            timeouts = left
            begun.answer.close()
            self._telemetry.switched(sending.adapter, refusal)

    async def _send(self, sending: Sending, payment: Payment, timeouts: Timeouts) -> Begun:
        try:
            return await self._sent(sending, payment, timeouts)
        except GatewayError as error:
            blame(error, payment.key)
            raise

    async def _sent(self, sending: Sending, payment: Payment, timeouts: Timeouts) -> Begun:
        uploaded, call = sending.uploaded, payment.call
        exchange = await prepared(sending.adapter, call, timeouts.first_byte_s)
        provider = sending.adapter.provider.slug
        answer = await self._upstream.send(
            UpstreamRequest(
                provider=provider,
                method=exchange.method,
                url=exchange.url,
                headers=exchange.headers if uploaded is None else uploaded.with_length(exchange.headers),
                body=exchange.body,
                pieces=None if uploaded is None else uploaded.pieces(),
                timeouts=timeouts,
                guarded=exchange.guarded,
            )
        )
        try:
            relay = relay_for(exchange, answer, stream=call.stream, provider=provider)
            relay.outcome.key = payment.key
            sending.attempt.relay = relay
            return Begun(exchange=exchange, answer=answer, relay=relay, message=await relay.head())
        except BaseException:
            # Also when the caller has gone: the provider's connection is closed with it.
            answer.close()
            raise


def _judge(payment: Payment, begun: Begun) -> Refusal | None:
    """Tell the pool how the provider took the key; return why it refused it, if it did."""
    head = begun.message.head
    if not head.HasField("failure"):
        payment.taken()
        return None
    failure = head.failure
    wait_s = convert.seconds(failure.retry_after) if failure.HasField("retry_after") else None
    return payment.refused(begun.relay.outcome.failure_class, wait_s)


def _left(timeouts: Timeouts, spent_s: float) -> Timeouts | None:
    """Return what is left of time-outs for another key; None: nothing is."""
    first_byte_s, total_s = timeouts.first_byte_s - spent_s, timeouts.total_s - spent_s
    if first_byte_s <= 0 or total_s <= 0:
        return None
    return replace(timeouts, first_byte_s=first_byte_s, total_s=total_s)


def blame(error: GatewayError, key: str) -> None:
    """Say of an error which key met with it, when it is the provider's: no answer is there to say so."""
    if error.reason in _UPSTREAM and key:
        error.metadata["key"] = key


async def prepared(adapter: Adapter, call: Call, most_s: float) -> Exchange:
    """
    Make the request to send.

    Raises:
        GatewayError: UPSTREAM_TIMEOUT, when that takes as long as the first byte may; or it cannot be made.
    """
    if adapter.provider.api not in _ASKING:
        return await adapter.exchange(call)
    try:
        async with asyncio.timeout(most_s):
            return await adapter.exchange(call)
    except TimeoutError:
        text = "What the call needs before it is sent, such as a token or an image, did not come in time."
        slug = adapter.provider.slug
        raise GatewayError(Reason.UPSTREAM_TIMEOUT, text, provider=slug, timer="first_byte") from None
