"""
The fields of a gateway as options of the command line, in one table.

Bounds are the API's to check. Fields that are objects are set by `--set` or a file. A test holds the table to
the API's model.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FIELDS", "NEW", "READ_ONLY", "Field", "given", "with_options"]


@dataclass(frozen=True, slots=True)
class Field:
    """One option: the field's name, its type, and what it does."""

    name: str
    kind: Literal["switch", "count", "text"]
    help: str


FIELDS: Final = (
    Field("authentication", "switch", "Refuse requests without a valid token."),
    Field("byok_only", "switch", "Never use the operator's own keys."),
    Field("cache_invalidate_on_update", "switch", "Empty the cache when settings change."),
    Field("cache_no_sharing", "switch", "Make an upstream call for each of identical requests."),
    Field("cache_replay_paced", "switch", "Replay cached streams at their first pace."),
    Field("cache_stale_if_error", "count", "Seconds past its time that an answer serves on failure."),
    Field("cache_stale_while_revalidate", "count", "Seconds past its time that an answer serves meanwhile."),
    Field("cache_ttl", "count", "Seconds for which answers are cached; 0: not at all."),
    Field("collect_logs", "switch", "Log requests."),
    Field("collect_payloads", "switch", "Log the bodies of requests and answers too."),
    Field("connect_timeout", "count", "Milliseconds for connecting to a provider."),
    Field("drain_timeout", "count", "Milliseconds that a call is read on without its client."),
    Field("first_byte_timeout", "count", "Milliseconds until a provider begins to answer."),
    Field("idempotency_ttl", "count", "Seconds for which an Idempotency-Key is known; 0: not at all."),
    Field("idle_timeout", "count", "Milliseconds that a provider may be silent."),
    Field("log_classification", "switch", "Classify logged requests."),
    Field("log_management", "count", "Most log entries kept."),
    Field("log_management_strategy", "text", "When there are that many: DELETE_OLDEST or STOP_INSERTING."),
    Field("logpush", "switch", "Push logs."),
    Field("logpush_public_key", "text", "Key that pushed logs are encrypted for."),
    Field("on_disconnect", "text", "When the client goes away: cancel or drain."),
    Field("rate_limiting_interval", "count", "Seconds in which the limit counts; 0: no limit."),
    Field("rate_limiting_limit", "count", "Most requests in the interval; 0: any number."),
    Field("rate_limiting_technique", "text", "How requests are counted: fixed or sliding."),
    Field("retry_backoff", "text", "How the wait between tries grows: constant, linear or exponential."),
    Field("retry_delay", "count", "Milliseconds before the second try."),
    Field("retry_max_attempts", "count", "Tries in all."),
    Field("store_id", "text", "Store of keys, for clients that set one."),
    Field("stream_failover", "switch", "Continue a stream that breaks off by the next step."),
    Field("strict_translation", "switch", "Refuse parameters that the target cannot take."),
    Field("total_timeout", "count", "Milliseconds for a whole request."),
    Field("wholesale", "switch", "Let the operator's own keys be used."),
    Field("workers_ai_billing_mode", "text", "postpaid or unified."),
    Field("zdr", "switch", "Ask providers to keep nothing."),
)

# What the API wants of a new gateway and a person need not say.
NEW: Final[Mapping[str, Any]] = {
    "cache_invalidate_on_update": False,
    "cache_ttl": 0,
    "collect_logs": True,
    "rate_limiting_interval": 0,
    "rate_limiting_limit": 0,
}
READ_ONLY: Final = frozenset(
    {"is_default", "internal_id", "account_id", "account_tag", "created_at", "modified_at"}
)
_TYPES: Final = {"switch": bool | None, "count": int | None, "text": str | None}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field; it gets them in its `**fields`, None for those not given."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    options = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(field))
        for field in FIELDS
    ]
    parameters = [*own, *options]
    # What typer reads: a signature, and hints by name.
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # as inspect documents it
    command.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
    return command


def _option(field: Field) -> Any:
    dashed = field.name.replace("_", "-")
    declared = f"--{dashed}/--no-{dashed}" if field.kind == "switch" else f"--{dashed}"
    option = typer.Option(declared, help=field.help, show_default=False, rich_help_panel="Fields")
    return Annotated[_TYPES[field.kind], option]


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the options that were not given."""
    return {name: value for name, value in fields.items() if value is not None}
