"""
One request and its answer, independent of how the client is connected.

An `Exchange` is what came in; `Progress` is what became of it so far; a `Sink` is where the answer goes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from services.edge.pipeline.decision import joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.common.v1 import decision_pb2, http_pb2
    from headrace.provider.v1 import provider_service_pb2
    from headrace.router.v1 import gateway_pb2, router_service_pb2
    from kit.errors import GatewayError
    from services.edge.body_room import Held
    from services.edge.headers import Options, RequestHeaders
    from services.edge.pipeline.reservations import Reservation

__all__ = ["Exchange", "Paid", "Progress", "Sink", "Upload"]

HeaderList = list[tuple[str, str]]


class Upload(Protocol):
    """
    A body that is sent on as it comes. It can be read once.

    Attributes:
        length: Its length, where the client told it.
        size: How much of it came so far.
        keep_bytes: How much of its beginning is to be kept, for the log.
        head: Its beginning.
        error: Why it ended before its end.
    """

    length: int | None
    size: int
    keep_bytes: int
    error: GatewayError | None

    @property
    def head(self) -> bytes:
        """Its beginning."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """Give the body piece by piece. Raises `error` when it broke off or is too long."""
        ...


@dataclass(slots=True, kw_only=True)  # made for each request; freezing would cost most of it
class Exchange:
    """
    What a client asked for.

    Attributes:
        account_id: Account in the URL, or the default one.
        gateway_id: Gateway in the URL, or `default`.
        token: The gateway token that was presented; empty for none.
        dialect: Dialect of the body and of the answer.
        operation: Which of the dialect's calls, where it has more than one.
        endpoint: What was called, such as `compat/chat/completions`; logged, and part of the cache key.
        requested_model: `{provider}/{model}` as the client wrote it; empty on native calls.
        other_models: Further models that the body names for the provider to fall back to, in its naming.
        provider: Provider in the URL of a native call; empty elsewhere.
        native: Method and path of a native call.
        body: The body, unchanged; empty when there is an `upload`.
        upload: The body of a native call that is sent on as it comes.
        held: The room that the body takes, where it takes any; whoever keeps the exchange beyond its answer
            shares it.
        streamed: Whether the client asked for a stream.
        headers: The request's headers, sorted.
        alternatives: What to try in this one's place, in order, when it brings no answer; of the same account
            and gateway, without alternatives of their own.
        numbered: Whether the client numbered its steps itself: whatever a route tries for one of them is
            then told by its number.
        number: That of this one, among those.
    """

    account_id: str
    gateway_id: str
    token: str = field(repr=False)
    dialect: http_pb2.Dialect.ValueType
    endpoint: str
    operation: str = ""
    requested_model: str = ""
    other_models: tuple[str, ...] = ()
    provider: str = ""
    native: provider_service_pb2.NativeTarget | None = None
    body: bytes = b""
    upload: Upload | None = None
    held: Held | None = None
    streamed: bool = False
    headers: RequestHeaders
    alternatives: tuple[Exchange, ...] = ()
    numbered: bool = False
    number: int = 0

    def keep(self, held: Held) -> None:
        """Take note of the room that the body takes, from which those of all steps came."""
        for step in (self, *self.alternatives):
            step.held = held

    @property
    def options(self) -> Options:
        """What the gateway is asked to do."""
        return self.headers.options

    def strict(self, settings: gateway_pb2.GatewaySettings) -> bool:
        """Say whether what cannot be translated is an error; the request's own word wins."""
        return settings.strict_translation if self.options.strict is None else self.options.strict


class Paid(NamedTuple):
    """
    What one attempt used.

    Attributes:
        usage: Tokens.
        cost: What the request pays for it; None: that is not known.
        listed_nano_usd: What it would have cost without the prices that the request names, in billionths of a
            US dollar; zero where that is not known, or it names none.
    """

    usage: usage_pb2.Usage
    cost: usage_pb2.Cost | None
    listed_nano_usd: int = 0


@dataclass(slots=True, kw_only=True)
class Progress:
    """
    What became of a request so far; in the end, its log entry.

    Attributes:
        log_id: Identifier of the log entry.
        event_id: The client's correlation id, else ours.
        logged: Whether there will be a log entry.
        entry: The log entry as far as it is known, once the request was begun.
        step: Number of the step that was tried last, as the client is told it.
        place: Place of that step in its plan.
        finished: Whether that entry was written, or would have been.
        keep_bodies: Whether bodies go into it.
        payload_bytes: Longest part of a body that goes into it.
        decision: How a dynamic route came to what was tried, and to what would be tried next.
        element_id: Element of the route that was tried last. Empty: none was.
        limits: The limits that apply, as they stood when the last step was counted against them.
        reserved: How often limits were asked.
        counted: Whether they counted the request: a refusal counts nothing.
        reservation: What is reserved for the step under way.
        returnable: What limits in a route counted, as router wants it back when nothing is tried. Empty:
            nothing, or something was.
        stale: Whether the answer is our cache's, and past its time.
        spent: What attempts used and cost, where that is known, in their order; empty while there is but the
            one under way.
        saved_nano_usd: What the call would have cost that the cache, or another request's call, spared.
        in_flight: Whether its call goes on without its client, and records it.
        gone: Whether its client has gone.
    """

    log_id: str
    event_id: str
    logged: bool = False
    entry: log_entry_pb2.LogEntry | None = None
    finished: bool = False
    keep_bodies: bool = False
    payload_bytes: int = 0
    token_id: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    started_ns: int = field(default_factory=time.time_ns)
    started_s: float = field(default_factory=time.perf_counter)
    provider: str = ""
    target_model: str = ""
    served_model: str = ""
    step: int = 0
    place: int = 0
    status: int = 0
    outcome: log_entry_pb2.Outcome.ValueType = log_entry_pb2.OUTCOME_UNSPECIFIED
    error_reason: str = ""
    cached: bool = False
    finish_reason: str = ""
    content_type: str = ""
    usage: usage_pb2.Usage | None = None
    cost: usage_pb2.Cost | None = None
    notes: tuple[str, ...] = ()
    attempts: list[log_entry_pb2.Attempt] = field(default_factory=list)
    decision: decision_pb2.Decision | None = None
    element_id: str = ""
    limits: list[router_service_pb2.LimitState] = field(default_factory=list)
    reserved: int = 0
    counted: bool = False
    reservation: Reservation | None = None
    returnable: bytes = b""
    stale: bool = False
    spent: list[Paid] = field(default_factory=list)
    saved_nano_usd: int = 0
    in_flight: bool = False
    gone: bool = False
    response_size: int = 0
    _captured: list[bytes] = field(default_factory=list)
    _captured_bytes: int = 0

    def begin_step(self, step: router_service_pb2.Step, number: int, place: int = 0) -> None:
        """Take note of a step that is tried now; the last one is the one that answers."""
        self.step, self.place = number, place
        self.provider, self.target_model = step.provider, step.model
        self.element_id = step.element_id
        self.returnable = b""

    def decided(self, plan: router_service_pb2.PlanResponse) -> None:
        """Take note of how a route came to the steps of a plan, or to no further one."""
        if plan.HasField("decision"):
            self.decision = joined(self.decision, plan.decision)
            self.returnable = plan.counted

    @property
    def failed(self) -> bool:
        """Whether the request ended with an error instead of an answer."""
        return self.outcome == log_entry_pb2.OUTCOME_ERROR

    def sent(self, data: bytes) -> None:
        """Take note of bytes of the answer."""
        self.response_size += len(data)
        if self.keep_bodies and self._captured_bytes < self.payload_bytes:
            self._captured.append(data)
            self._captured_bytes += len(data)

    def cut_short(self, output_tokens: int) -> None:
        """
        Count what came of an attempt's answer that ends here without a word on what it used.

        Args:
            output_tokens: The least that came; zero: what was told of use is all there is.
        """
        if output_tokens:
            usage = usage_pb2.Usage()
            if self.usage is not None:
                usage.CopyFrom(self.usage)
            usage.output_tokens = max(usage.output_tokens, output_tokens)
            usage.estimated = True
            self.usage = usage

    def captured(self) -> bytes:
        """Give the part of the answer that goes into the log."""
        return b"".join(self._captured)[: self.payload_bytes]


class Sink(Protocol):
    """
    Where an answer goes.

    Either `whole`, or `refuse`, or `begin` followed by any number of `write`, perhaps `broken` or `reported`,
    and `end`.
    A method raises `ConnectionError` when the client has gone.
    """

    async def whole(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send an answer of known length."""

    async def refuse(self, error: GatewayError, headers: HeaderList) -> None:
        """Send an error in the client's dialect."""

    async def begin(self, status: int, headers: HeaderList, dialect: http_pb2.Dialect.ValueType) -> None:
        """Begin an answer of unknown length, whose events are in a dialect."""

    async def write(self, data: bytes) -> None:
        """Send more of it."""

    async def broken(self, error: GatewayError) -> None:
        """Tell the client that what has begun breaks off here: by an event, or by the connection."""

    async def reported(self, error: GatewayError) -> None:
        """Take note that what has begun breaks off here, as the bytes that were written say already."""

    async def interrupt(self, error: GatewayError, headers: HeaderList) -> None:
        """Tell the client, whatever was sent so far, that this is not the whole answer, and end."""

    async def end(self) -> None:
        """End it as complete on the connection's level."""
