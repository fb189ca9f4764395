"""
Log entries as the management API shows them.

Source of the member names: the public product's log endpoints; members with no counterpart there keep the
names of `headrace.ledger.v1.LogEntry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from services.edge.wire.moment import iso

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from headrace.common.v1 import decision_pb2

__all__ = ["detail", "summary"]

_NANO_USD = 1_000_000_000


def summary(entry: log_entry_pb2.LogEntry) -> dict[str, Any]:
    """Give an entry as it stands in a list."""
    usage = entry.usage
    return {
        "id": entry.id,
        "created_at": iso(entry.create_time),
        "provider": entry.provider,
        "model": entry.response_model or entry.target_model,
        "requested_model": entry.requested_model,
        "path": entry.path,
        "duration": entry.duration.ToMilliseconds(),
        "request_content_type": entry.request_content_type,
        "response_content_type": entry.response_content_type,
        "status_code": entry.status,
        "success": entry.outcome == log_entry_pb2.OUTCOME_SUCCESS,
        "outcome": log_entry_pb2.Outcome.Name(entry.outcome).removeprefix("OUTCOME_").lower(),
        "error_reason": entry.error_reason,
        "cached": entry.cached,
        "streamed": entry.streamed,
        "tokens_in": _optional(usage, "input_tokens"),
        "tokens_out": _optional(usage, "output_tokens"),
        "cost": entry.cost.nano_usd / _NANO_USD if entry.HasField("cost") else None,
        "custom_cost": entry.HasField("custom_cost"),
        "metadata": dict(entry.caller.metadata),
        "step": entry.step,
        "event_id": entry.event_id,
        "user_agent": entry.user_agent,
        "authentication": bool(entry.caller.token_id),
        "feedback": _optional(entry, "feedback"),
        "score": _optional(entry, "score"),
    }


def detail(entry: log_entry_pb2.LogEntry, payload: log_entry_pb2.Payload | None) -> dict[str, Any]:
    """Give an entry with all that is known of it."""
    shown = summary(entry)
    shown["usage_metadata"] = _usage(entry.usage) if entry.HasField("usage") else None
    shown["finish_reason"] = entry.finish_reason
    shown["trace_id"] = entry.trace_id
    shown["translation"] = list(entry.translation_notes)
    shown["attempts"] = [_attempt(attempt) for attempt in entry.attempts]
    shown["decision"] = _decision(entry.decision) if entry.HasField("decision") else None
    shown["request_size"] = entry.request_size
    shown["response_size"] = entry.response_size
    shown["cost_source"] = (
        usage_pb2.CostSource.Name(entry.cost.source).removeprefix("COST_SOURCE_").lower()
        if entry.HasField("cost")
        else None
    )
    if payload is not None:
        shown["request_head"] = payload.request.decode("utf-8", "replace")
        shown["request_head_complete"] = payload.request_complete
        shown["response_head"] = payload.response.decode("utf-8", "replace")
        shown["response_head_complete"] = payload.response_complete
    return shown


def _usage(usage: usage_pb2.Usage) -> dict[str, Any]:
    shown: dict[str, Any] = {field.name: value for field, value in usage.ListFields()}
    shown.setdefault("estimated", False)
    return shown


def _attempt(attempt: log_entry_pb2.Attempt) -> dict[str, Any]:
    return {
        "step": attempt.step,
        "provider": attempt.provider,
        "model": attempt.model,
        "status_code": attempt.status or None,
        "error_reason": attempt.error_reason or None,
        "duration": attempt.duration.ToMilliseconds(),
        "first_byte": attempt.first_byte.ToMilliseconds() if attempt.HasField("first_byte") else None,
        "begin": attempt.begin.ToMilliseconds(),
        "key": attempt.key or None,
        "usage": _usage(attempt.usage) if attempt.HasField("usage") else None,
        "cost": attempt.cost.nano_usd / _NANO_USD if attempt.HasField("cost") else None,
    }


def _decision(decision: decision_pb2.Decision) -> dict[str, Any]:
    return {
        "route": decision.route,
        "version_id": decision.version_id,
        "steps": [
            {"element_id": step.element_id, "type": step.type, "output": step.output, "reason": step.reason}
            for step in decision.steps
        ],
    }


def _optional(message: Message, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None
