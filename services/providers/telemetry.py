"""
What is told of each attempt: one client span (GenAI conventions) and two metrics. Never a prompt, never an
answer.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Protocol

from prometheus_client import Counter, Histogram

from kit.errors import GatewayError
from kit.providers import is_custom
from kit.telemetry import names
from services.providers.call import ClientDialect
from services.providers.key_pool import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from prometheus_client import CollectorRegistry

    from kit.telemetry.tracing import Tracing
    from services.providers.adapters.adapter import Adapter
    from services.providers.call import Call
    from services.providers.outcome import Outcome

__all__ = ["Attempt", "AttemptTelemetry"]

_OPERATIONS: Final = {
    ClientDialect.OPENAI_CHAT: names.OPERATION_CHAT,
    ClientDialect.OPENAI_RESPONSES: names.OPERATION_CHAT,
    ClientDialect.ANTHROPIC_MESSAGES: names.OPERATION_CHAT,
    ClientDialect.GEMINI: names.OPERATION_GENERATE_CONTENT,
    ClientDialect.OPENAI_EMBEDDINGS: names.OPERATION_EMBEDDINGS,
}
# Calls that are others than what their dialect is named after; no operation fits a count of tokens.
_OTHER_CALLS: Final = {
    "batchEmbedContents": names.OPERATION_EMBEDDINGS,
    "completions": names.OPERATION_TEXT_COMPLETION,
    "countTokens": "",
    "count_tokens": "",
    "embedContent": names.OPERATION_EMBEDDINGS,
}
# Label of the providers that accounts or the operator named themselves.
_CUSTOM: Final = "custom"
# Models that think take minutes to their first token; caches and embeddings take milliseconds.
_BUCKETS_S: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Told(Protocol):
    """What tells of an answer."""

    @property
    def outcome(self) -> Outcome:
        """What is known of it so far."""


class Attempt:
    """One attempt while it runs; `relay` is set once there is an answer."""

    __slots__ = ("relay",)

    def __init__(self) -> None:
        self.relay: Told | None = None


class AttemptTelemetry:
    """
    Tells of attempts.

    Args:
        tracing: Of this service.
        registry: Takes the metrics.
    """

    def __init__(self, tracing: Tracing, registry: CollectorRegistry) -> None:
        self._tracing = tracing
        self._attempts = Counter(
            names.METRIC_PROVIDER_ATTEMPTS,
            "Attempts at providers, by how they went: `ok`, a class of failure, or why there was no answer.",
            ["provider", "outcome"],
            registry=registry,
        )
        self._first_byte = Histogram(
            names.METRIC_PROVIDER_FIRST_BYTE,
            "Time from the start of an attempt to the first content of its answer.",
            ["provider"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._switches = Counter(
            names.METRIC_PROVIDER_KEY_SWITCHES,
            "Calls that went on with another stored key, by why one was refused: `invalid`, `limited`.",
            ["provider", "reason"],
            registry=registry,
        )
        # Looking a labelled child up costs more than counting with it.
        self._counted: dict[tuple[str, str], Counter] = {}
        self._timed: dict[str, Histogram] = {}

    def attempt(self, adapter: Adapter, call: Call) -> AbstractContextManager[Attempt]:
        """Run an attempt in its span, and count how it went."""
        counted = _Counted(self, _label(adapter))
        return self._traced(counted, adapter, call) if self._tracing.enabled else counted

    @contextmanager
    def _traced(self, counted: _Counted, adapter: Adapter, call: Call) -> Iterator[Attempt]:
        slug, attempt = adapter.provider.slug, counted.attempt
        operation = _OTHER_CALLS.get(call.operation, _OPERATIONS.get(call.dialect, ""))
        with self._tracing.span(
            f"{operation} {call.model}" if operation else f"{slug} {call.operation or 'native'}",
            "client",
            _attributes(adapter, call, operation),
        ) as span:
            try:
                with counted:
                    yield attempt
            finally:
                if span is not None and attempt.relay is not None:
                    _describe(span, attempt.relay.outcome)

    def expect(self, adapters: Iterable[Adapter]) -> None:
        """Begin to count at 0 what is rare: of a counter that begins at 1, nobody sees that it grew."""
        for label, refusal in product({_label(adapter) for adapter in adapters}, Refusal):
            self._switches.labels(label, refusal.value)

    def switched(self, adapter: Adapter, refusal: Refusal) -> None:
        """Count that a call goes on with another stored key."""
        self._switches.labels(_label(adapter), refusal.value).inc()

    def count(self, label: str, attempt: Attempt, error: BaseException | None) -> None:
        """Count how an attempt went, which ended with an error or with None."""
        outcome = "ok" if error is None else _outcome(error)
        relay = attempt.relay
        if relay is not None:
            found = relay.outcome
            if error is None and found.failure_class is not None:
                outcome = found.failure_class.value.lower()
            self._timed_child(label).observe(found.first_byte_s)
        self._counted_child(label, outcome).inc()

    def _counted_child(self, slug: str, outcome: str) -> Counter:
        child = self._counted.get((slug, outcome))
        if child is None:
            child = self._counted[slug, outcome] = self._attempts.labels(slug, outcome)
        return child

    def _timed_child(self, slug: str) -> Histogram:
        child = self._timed.get(slug)
        if child is None:
            child = self._timed[slug] = self._first_byte.labels(slug)
        return child


class _Counted:
    """Counts an attempt at its end. Not a generator: those cost every attempt as much as counting does."""

    __slots__ = ("_label", "_telemetry", "attempt")

    def __init__(self, telemetry: AttemptTelemetry, label: str) -> None:
        self._telemetry = telemetry
        self._label = label
        self.attempt = Attempt()

    def __enter__(self) -> Attempt:
        return self.attempt

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._telemetry.count(self._label, self.attempt, error)


def _outcome(error: BaseException) -> str:
    if isinstance(error, GatewayError):
        return error.reason.value.lower()
    return "internal" if isinstance(error, Exception) else "cancelled"


def _label(adapter: Adapter) -> str:
    """Return what a provider is counted under: accounts choose names of their own, as many as they like."""
    slug = adapter.provider.slug
    return _CUSTOM if is_custom(slug) else slug


def _attributes(adapter: Adapter, call: Call, operation: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        names.GEN_AI_PROVIDER_NAME: adapter.provider.telemetry_name,
        names.HEADRACE_PROVIDER: adapter.provider.slug,
        names.HEADRACE_DIALECT: call.dialect.value.lower(),
        names.SERVER_ADDRESS: adapter.host,
    }
    if operation:
        attributes[names.GEN_AI_OPERATION_NAME] = operation
    if call.model:
        attributes[names.GEN_AI_REQUEST_MODEL] = call.model
    if call.stream:
        attributes[names.GEN_AI_REQUEST_STREAM] = True
    return attributes


def _describe(span: Any, outcome: Outcome) -> None:
    """Set what is known once the attempt has ended."""
    used = outcome.usage
    found: dict[str, Any] = {
        names.HTTP_RESPONSE_STATUS_CODE: outcome.status,
        names.GEN_AI_RESPONSE_MODEL: outcome.served_model or None,
        names.GEN_AI_RESPONSE_FINISH_REASONS: [outcome.finish_reason] if outcome.finish_reason else None,
        names.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: outcome.first_byte_s,
    }
    if used is not None:
        found |= {
            names.GEN_AI_USAGE_INPUT_TOKENS: used.input_tokens,
            names.GEN_AI_USAGE_OUTPUT_TOKENS: used.output_tokens,
            names.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: used.cache_read_tokens,
            names.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: used.cache_write_tokens,
            names.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: used.reasoning_tokens,
        }
    if outcome.failure_class is not None:
        found[names.ERROR_TYPE] = outcome.failure_class.value
        _mark_failed(span)
    span.set_attributes({name: value for name, value in found.items() if value is not None})


def _mark_failed(span: Any) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR))
