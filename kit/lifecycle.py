"""
The life of a process, from its environment to its exit code; the same for every service.

Settings are read and checked, then logs and telemetry set up, then `kit.process` builds and serves. A signal
begins the stop: not ready, drain, stop serving, undo what was built, flush telemetry.

Exit codes are those of `kit.ending`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import uvloop

from kit import logs
from kit.config import ConfigError, load, masked
from kit.ending import EXIT_FAILED, EXIT_HARD, EXIT_OK, SAME_WISH_S, refuse
from kit.process import ServingProcess
from kit.runtime_config import RuntimeConfig
from kit.telemetry.setup import Telemetry
from kit.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kit.service import Build

__all__ = ["run"]

# Beyond the grace, for undoing what was built and for flushing: with the default grace of 3.5 s the whole
# stop stays below five.
_FLUSH_S: Final = 0.5
_AFTER_GRACE_S: Final = 1.2


def run(
    builds: Sequence[tuple[str, Build]],
    env: Mapping[str, str],
    *,
    configs: Iterable[type] = (),
    unknown: Callable[[Mapping[str, str]], list[str]] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> int:
    """
    Run services until a signal, and return the process's exit code.

    Args:
        builds: Names and builds of the services, in the order in which they are built.
        env: The environment that settings are read from.
        configs: The services' config classes: checked before anything starts, and logged.
        unknown: Finds variables that nothing declares, one line each.
        aliases: Further names that a service of this process answers to.
    """
    try:
        settings, described = _read_settings(env, configs, unknown)
        logs.configure(settings.process, level=settings.log_level, form=settings.log_format)
        telemetry = Telemetry(env, process=settings.process, shared=len(builds) > 1)
    except ConfigError as error:
        return refuse(error.problems)
    log = logs.get(settings.process, "lifecycle")
    log.info("starting", version=VERSION, pid=os.getpid(), tracing=telemetry.enabled, settings=described)
    process = ServingProcess(builds, env, settings=settings, telemetry=telemetry, aliases=aliases or {})
    try:
        return uvloop.run(_Life(process, settings, telemetry, log).live())
    except ConfigError as error:
        return refuse(error.problems)
    except OSError as error:
        log.error("cannot serve", reason=str(error))  # noqa: TRY400 - the reason is for operators, not a trace
        return EXIT_FAILED
    except Exception:
        log.exception("failed")
        return EXIT_FAILED


def _read_settings(
    env: Mapping[str, str],
    configs: Iterable[type],
    unknown: Callable[[Mapping[str, str]], list[str]] | None,
) -> tuple[RuntimeConfig, dict[str, str]]:
    problems = unknown(env) if unknown else []
    settings: RuntimeConfig | None = None
    described: dict[str, str] = {}
    for cls in (RuntimeConfig, *configs):
        try:
            config: object = load(cls, env)
        except ConfigError as error:
            problems += [line for line in error.problems if line not in problems]
            continue
        described |= masked(config)
        if isinstance(config, RuntimeConfig):
            settings = config
    if problems or settings is None:
        raise ConfigError(problems)
    return settings, described


class _Life:
    """What happens between the first and the last turn of the event loop."""

    def __init__(
        self, process: ServingProcess, settings: RuntimeConfig, telemetry: Telemetry, log: Any
    ) -> None:
        self._process = process
        self._settings = settings
        self._telemetry = telemetry
        self._log = log
        self._stop = asyncio.Event()
        self._asked_s: float | None = None
        self._starting: asyncio.Task[Any] | None = None

    async def live(self) -> int:
        """Start, serve until a signal, stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        began_s = time.monotonic()
        try:
            async with AsyncExitStack() as stack:
                if await self._start(stack):
                    await self._stop.wait()
                    began_s = time.monotonic()
                    await self._process.drain()
        finally:
            flushed = await self._telemetry.shutdown(_FLUSH_S)
        if not flushed:
            self._log.warning("spans were lost: the collector did not take them in time")
        self._log.info("stopped", seconds=round(time.monotonic() - began_s, 3))
        return EXIT_OK

    async def _start(self, stack: AsyncExitStack) -> bool:
        """Start serving; False when a signal came first. A start may be long: loading a model, say."""
        self._starting = asyncio.current_task()
        try:
            await self._process.start(stack)
        except asyncio.CancelledError:
            if self._asked_s is None or self._starting is None:
                raise
            self._starting.uncancel()
            return False
        finally:
            self._starting = None
        return True

    def _on_signal(self, number: signal.Signals) -> None:
        now_s = time.monotonic()
        if self._asked_s is None:
            self._asked_s = now_s
            self._log.info("stopping", signal=number.name, grace_s=self._settings.grace_s)
            self._guard_exit()
            self._stop.set()
            if self._starting is not None:
                self._starting.cancel()
        elif now_s - self._asked_s > SAME_WISH_S:
            self._log.warning("stopping at once", signal=number.name)
            self._leave(EXIT_HARD)

    def _guard_exit(self) -> None:
        """Make sure that the process ends, whatever hangs: a thread that is left, a loop that is held."""
        limit_s = self._settings.drain_delay_s + self._settings.grace_s + _AFTER_GRACE_S
        guard = threading.Timer(limit_s, self._give_up, args=(limit_s,))
        guard.daemon = True
        guard.start()

    def _give_up(self, limit_s: float) -> None:
        self._log.error("did not stop in time", seconds=limit_s)
        self._leave(EXIT_FAILED)

    def _leave(self, code: int) -> None:
        for path in self._settings.sockets():
            path.unlink(missing_ok=True)
        os._exit(code)
