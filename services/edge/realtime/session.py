"""
One session: a client's WebSocket, a provider's, and what is recorded of them.

Each frame waits for the one before it, on either side: a side that is slow to read slows the other down, and
nothing is kept but a frame under way.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from aiohttp import WebSocketError, WSCloseCode, WSMsgType

from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.edge.arriving import counted
from services.edge.health_reports import outcome_of
from services.edge.pipeline.billing import beside
from services.edge.pipeline.invocation import invocation
from services.edge.pipeline.relay import class_name, class_of
from services.edge.realtime import closing, handshake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp import web

    from services.edge.arriving import Arriving
    from services.edge.config import EdgeConfig
    from services.edge.health_reports import HealthReports
    from services.edge.pipeline.attempts import Call
    from services.edge.pipeline.exchange import HeaderList
    from services.edge.pipeline.providers import Providers
    from services.edge.pipeline.reservations import Reservations
    from services.edge.realtime.handshake import Offers, Socket
    from services.edge.realtime.sink import SessionSink

__all__ = ["Session"]

_UPGRADED: Final = 101
_FAULTS: Final[Mapping[int, Reason]] = {
    WSCloseCode.MESSAGE_TOO_BIG: Reason.TOO_LARGE,
    WSCloseCode.TRY_AGAIN_LATER: Reason.SERVICE_UNAVAILABLE,
}
_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY


class Session:
    """
    Serves one client.

    Args:
        request: The client's handshake.
        offers: What it offers.
        sink: Where its errors go.
        providers: Reaches the provider services.
        reservations: Asks whether limits leave room.
        health: Told how the provider took it.
        config: Limits.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        offers: Offers,
        sink: SessionSink,
        *,
        providers: Providers,
        reservations: Reservations,
        health: HealthReports,
        config: EdgeConfig,
    ) -> None:
        self._request = request
        self._offers = offers
        self._sink = sink
        self._providers = providers
        self._reservations = reservations
        self._health = health
        self._config = config
        self._task: asyncio.Task[Any] | None = None
        self._stopping = False
        # To the provider. None: there is no more.
        self._outgoing: asyncio.Queue[pb.ConnectRequest | None] = asyncio.Queue(1)
        self._reader: asyncio.Task[None] | None = None
        self._received = 0
        self._left: pb.Close | None = None

    def stop(self) -> None:
        """End the session, because we are stopping."""
        if not self._stopping:
            self._stopping = True
            if self._task is not None:
                self._task.cancel()

    async def serve(self, call: Call) -> None:
        """
        Connect the client, and relay until either side closes.

        Raises:
            GatewayError: There is no session: refused by a limit, or the provider is away.
        """
        self._task = asyncio.current_task()
        try:
            if self._stopping:
                raise _stopping()
            await self._serve(call)
        except asyncio.CancelledError:
            if self._stopping and self._task is not None:
                self._task.uncancel()
                self._end(call, log_entry_pb2.OUTCOME_TRUNCATED, Reason.SERVICE_UNAVAILABLE)
                raise _stopping() from None
            if (wrong := self._fault()) is not None:
                self._end(call, log_entry_pb2.OUTCOME_TRUNCATED, wrong)
            elif self._left is not None:
                # It had said so, and did not wait for our answer.
                self._end(call, log_entry_pb2.OUTCOME_SUCCESS)
            raise
        finally:
            self._note_size(call)
            self._task = None
            await self._stop_reading()

    async def _serve(self, call: Call) -> None:
        plan, progress = call.admission.plan, call.progress
        step = plan.steps[0]
        progress.begin_step(step, 0)
        # Frames are mostly sound, and none of them is the request or the answer.
        progress.keep_bodies = False
        if plan.limited:
            await self._reservations.reserve(call, plan, step)
        opening = pb.ConnectRequest(
            open=invocation(call.exchange, call.admission, step, own_provider=step.provider),
            subprotocols=self._offers.upstream,
        )
        note = log_entry_pb2.Attempt(provider=step.provider, model=step.model)
        began_s = time.perf_counter()
        note.begin.FromNanoseconds(int((began_s - progress.started_s) * 1e9))
        progress.attempts.append(note)
        kind: pb.FailureClass.ValueType = pb.FAILURE_CLASS_UNSPECIFIED
        try:
            answers = self._providers.connect(step.provider, self._requests(opening))
            async with aclosing(answers):  # type: ignore[type-var]  # a generator in both topologies
                opened = (await anext(answers)).opened
                note.first_byte.FromNanoseconds(int((time.perf_counter() - began_s) * 1e9))
                note.status, note.key = opened.status, opened.key
                if opened.status != _UPGRADED:
                    kind = class_of(opened.failure)
                    note.error_reason = class_name(opened.failure)
                    await self._refused(call, opened)
                    return
                await self._accept(call, opened)
                await self._relay(call, answers)
        except GatewayError as error:
            note.error_reason = error.reason
            note.key = error.metadata.pop("key", note.key)
            if self._sink.socket is not None:
                # The session had begun: its end is told by a close, and not once more.
                self._end(call, log_entry_pb2.OUTCOME_TRUNCATED, error.reason)
            raise
        finally:
            note.duration.FromNanoseconds(int((time.perf_counter() - began_s) * 1e9))
            self._report(call, note, kind)

    async def _refused(self, call: Call, opened: pb.Opened) -> None:
        """Answer with what the provider answered."""
        progress = call.progress
        headers = _headers(opened)
        progress.status = opened.status
        progress.content_type = next((value for name, value in headers if name == "content-type"), "")
        progress.response_size = len(opened.body)
        self._end(call, log_entry_pb2.OUTCOME_ERROR, class_name(opened.failure))
        told = beside(headers, call.own_headers(), call.progress.limits)
        await self._sink.whole(opened.status, told, opened.body)

    async def _accept(self, call: Call, opened: pb.Opened) -> None:
        progress = call.progress
        progress.status = _UPGRADED
        progress.served_model = opened.served_model
        progress.outcome = log_entry_pb2.OUTCOME_SUCCESS
        headers = beside(_headers(opened), call.own_headers(), call.progress.limits)
        chosen = self._offers.choice(opened.subprotocol)
        socket = await handshake.accept(self._request, self._config, headers, chosen)
        self._sink.opened(socket)
        self._reader = asyncio.create_task(self._read(socket, counted(self._request, socket)))

    async def _relay(self, call: Call, answers: AsyncIterator[pb.ConnectResponse]) -> None:
        """Take what the provider sends, to its end."""
        progress, socket = call.progress, self._sink.socket
        assert socket is not None
        async for answer in answers:
            if answer.HasField("usage"):
                progress.usage = answer.usage
            if answer.served_model:
                progress.served_model = answer.served_model
            if answer.HasField("frame"):
                frame = answer.frame
                progress.response_size += len(frame.data)
                await socket.send_frame(frame.data, _BINARY if frame.binary else _TEXT)
            elif answer.HasField("close"):
                await self._close(call, answer.close)
                return
        raise GatewayError(Reason.UPSTREAM_CUT, "The provider's connection has no end.")

    async def _close(self, call: Call, close: pb.Close) -> None:
        """Record how a session ended, and then tell the client."""
        left = self._left
        await self._stop_reading()
        if (wrong := self._fault()) is not None:
            self._end(call, log_entry_pb2.OUTCOME_TRUNCATED, wrong)
            return
        if left is not None:
            self._end(call, log_entry_pb2.OUTCOME_SUCCESS)
            await self._sink.close(closing.for_client(left.code), left.reason)
            return
        if closing.is_normal(close.code):
            self._end(call, log_entry_pb2.OUTCOME_SUCCESS)
        else:
            cut = close.code == closing.BROKEN
            reason = Reason.UPSTREAM_CUT if cut else Reason.UPSTREAM_ERROR
            call.progress.attempts[-1].error_reason = reason
            self._end(call, log_entry_pb2.OUTCOME_TRUNCATED, reason)
        await self._sink.close(closing.for_client(close.code), close.reason)

    async def _requests(self, opening: pb.ConnectRequest) -> AsyncIterator[pb.ConnectRequest]:
        """Give what goes to the provider."""
        yield opening
        while (request := await self._outgoing.get()) is not None:
            yield request
            if request.HasField("close"):
                return

    async def _read(self, socket: Socket, arriving: Arriving) -> None:
        """Take what the client sends, to its end."""
        while True:
            message = await socket.receive()
            if message.type is _BINARY or message.type is _TEXT:
                self._received += len(message.data)
                frame = pb.Frame(data=message.data, binary=message.type is _BINARY)
                with arriving.take(len(message.data)):
                    await self._outgoing.put(pb.ConnectRequest(frame=frame))
                continue
            code, reason = closing.AWAY, ""
            if message.type is WSMsgType.CLOSE:
                code, reason = message.data or closing.NO_CODE, message.extra or ""
                self._left = pb.Close(code=code, reason=reason)
            close = pb.Close(code=closing.for_provider(code), reason=reason)
            await self._outgoing.put(pb.ConnectRequest(close=close))
            return

    def _fault(self) -> Reason | None:
        """Say what was wrong with the client's frames; aiohttp has told it by a close of its own."""
        if self._left is not None or self._sink.socket is None:
            return None
        error = self._sink.socket.exception()
        if not isinstance(error, WebSocketError):
            return None
        return _FAULTS.get(error.code, Reason.INVALID_REQUEST)

    async def _stop_reading(self) -> None:
        """Read no more of the client, so that what closes its connection can hear its answer."""
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.cancel()
            await asyncio.wait((reader,))
        if self._outgoing.full():
            self._outgoing.get_nowait()
        self._outgoing.put_nowait(None)

    def _end(self, call: Call, outcome: log_entry_pb2.Outcome.ValueType, reason: str = "") -> None:
        """Record the session."""
        call.progress.outcome, call.progress.error_reason = outcome, reason
        self._note_size(call)
        call.finish()

    def _note_size(self, call: Call) -> None:
        if call.progress.entry is not None and not call.progress.finished:
            call.progress.entry.request_size = self._received

    def _report(self, call: Call, note: log_entry_pb2.Attempt, kind: pb.FailureClass.ValueType) -> None:
        exchange = call.exchange
        self._health.note(
            note.provider,
            note.model,
            note.key,
            exchange.account_id,
            outcome_of(note.status, kind, "" if kind else note.error_reason),
            first_byte_s=note.first_byte.seconds + note.first_byte.nanos / 1e9,
            retry_after_s=0.0,
            own=exchange.options.request_timeout_s is not None
            or call.admission.plan.settings.HasField("timeouts"),
        )


def _stopping() -> GatewayError:
    return GatewayError(Reason.SERVICE_UNAVAILABLE, "Headrace is stopping.", retry_after_s=1.0)


def _headers(opened: pb.Opened) -> HeaderList:
    return [(header.name, header.value.decode("latin-1")) for header in opened.headers]
