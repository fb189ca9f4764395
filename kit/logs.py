"""
Structured logs on standard output: JSON for machines, text on a terminal.

Every line has `time`, `level`, `service`, `event`, and `trace_id` when it belongs to a trace. Secrets are
masked here, last, whoever wrote the line. Nothing on a request's way logs at `info`: the ledger is the record
of requests.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from kit.redaction import mask_value
from kit.telemetry.tracing import current_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict

# structlog imports rich, when it is there, for tracebacks that we do not show: 200 ms of every start. It is
# hidden for this one import, which must therefore be the first one of structlog.
_HIDDEN: Final = "rich"
if "structlog" in sys.modules or _HIDDEN in sys.modules:
    import structlog
else:
    sys.modules[_HIDDEN] = None  # type: ignore[assignment]  # how Python marks a module as not to be found
    try:
        import structlog
    finally:
        del sys.modules[_HIDDEN]

__all__ = ["Format", "Level", "configure", "get"]

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]


def get(service: str, component: str) -> Any:
    """Return the logger of a part of a service."""
    return structlog.get_logger(service=service, component=component)


def configure(
    service: str, *, level: Level = "info", form: Format = "auto", stream: TextIO | None = None
) -> None:
    """
    Set up logging for this process, libraries' logging and Python's warnings included.

    Args:
        service: Name for lines that no service wrote, such as a library's.
        level: Least severe level to write. Libraries are heard from `warning` on.
        form: How lines look; `auto` is text on a terminal and JSON elsewhere.
        stream: Where they go; standard output when absent.
    """
    out = stream or sys.stdout
    as_text = form == "text" or (form == "auto" and out.isatty())
    structlog.configure(
        processors=[
            _add_basics(service),
            structlog.processors.format_exc_info,
            _mask,
            _text_renderer(colors=out.isatty()) if as_text else _render_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(out),
        # Loggers are made once and kept by their owners; a test may configure again.
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Bridge(service)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _add_basics(service: str) -> Callable[[Any, str, EventDict], EventDict]:
    def add(_logger: Any, method: str, event: EventDict) -> EventDict:
        now_ns = time.time_ns()
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ns // 1_000_000_000))
        ordered: EventDict = {
            "time": f"{second}.{now_ns // 1_000_000 % 1000:03d}Z",
            "level": "error" if method == "exception" else method,
            "service": event.pop("service", service),
            "event": event.pop("event", ""),
        }
        trace_id = current_trace_id()
        if trace_id is not None:
            ordered["trace_id"] = trace_id
        return {**ordered, **event}

    return add


def _mask(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {name: mask_value(name, value) for name, value in event.items()}


def _render_json(_logger: Any, _method: str, event: EventDict) -> str:
    import orjson

    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _text_renderer(*, colors: bool) -> Any:
    from structlog.dev import ConsoleRenderer, plain_traceback

    return ConsoleRenderer(
        colors=colors, timestamp_key="time", exception_formatter=plain_traceback, pad_event_to=0
    )


class _Lines:
    """Writes lines; what is at the end of a chain of processors."""

    __slots__ = ("_out",)

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        """Write one line."""
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            # Whoever read our output is gone, or it was closed. A log line must not fail a request.
            return

    debug = info = warning = error = critical = exception = msg


# What gRPC says, as an error, when a caller has gone while an answer was being written to it.
_NO_DEFECT: Final = "ExecuteBatchError raised in core by servicer method"


class _Bridge(logging.Handler):
    """Takes what libraries log, and Python's warnings."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self.addFilter(lambda record: not str(record.msg).startswith(_NO_DEFECT))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a library's record as one of ours."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library's format string and arguments disagree
            message = str(record.msg)
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        get(self._service, record.name).log(level, message.strip(), exc_info=record.exc_info)
