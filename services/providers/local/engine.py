"""
The engine behind the provider `local`: everything from model files to an HTTP address.

To the provider service it is an upstream like any other: `base_url` and `api_key`, in OpenAI's dialect.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from aiohttp import web
from yarl import URL

from kit import rundir
from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.providers.local.config import default_threads
from services.providers.local.front import Front
from services.providers.local.models import find_models
from services.providers.local.pool import ModelPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.providers.local.child import Child
    from services.providers.local.config import LocalConfig

__all__ = ["LocalEngine"]

_HOST: Final = "127.0.0.1"


class LocalEngine:
    """
    Local models, served.

    Args:
        config: The settings.
        run_dir: Directory for the workers' sockets; made if need be, closed to other users.
        complain: Called with each line that llama.cpp logs.

    Attributes:
        base_url: Where it answers; ends in `/v1`. Set by `start`.
        api_key: The key it asks for, made anew at each start.
        state: What it does, in words: `ready`, or what stands in the way.
    """

    def __init__(
        self, config: LocalConfig, *, run_dir: Path, complain: Callable[[str], None] | None = None
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._complain = complain or (lambda _line: None)
        self._progress: Callable[[str], None] = lambda _line: None
        self._runner: web.AppRunner | None = None
        self._pool: ModelPool | None = None
        self._first_load: asyncio.Task[None] | None = None
        self._names: tuple[str, ...] = ()
        self.base_url = URL()
        self.api_key = Secret(secrets.token_urlsafe(32))
        self.state = "not started"

    async def start(self, progress: Callable[[str], None] | None = None) -> None:
        """
        Find the models, begin to listen, and begin to load the first model.

        Requests are accepted from now on and wait for their model. `ready` waits for the first.

        Args:
            progress: Called with each new `state`.

        Raises:
            ConfigError: a setting leads to no model.
        """
        self._progress = progress or self._progress
        models = await asyncio.to_thread(find_models, self._config.models)
        self._names = tuple(model.name for model in models)
        await asyncio.to_thread(_prepare, self._run_dir)
        self._pool = ModelPool(
            models,
            self._config,
            run_dir=self._run_dir,
            threads=self._config.threads or default_threads(),
            progress=self._report,
            complain=self._complain,
        )
        front = Front(self._pool, models, self._config, api_key=self.api_key.reveal())
        # A handler that is cancelled when its client goes is what stops a generation.
        self._runner = web.AppRunner(
            front.app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, 0, backlog=1024).start()
        self.base_url = URL.build(scheme="http", host=_HOST, port=self._runner.addresses[0][1], path="/v1")
        self._begin_load(self._pool)

    async def ready(self) -> None:
        """
        Wait until the first model is loaded.

        Raises:
            GatewayError: SERVICE_UNAVAILABLE; it cannot be loaded.
        """
        if self._first_load is None:
            raise GatewayError(Reason.SERVICE_UNAVAILABLE, "The local engine is not started.")
        await asyncio.shield(self._first_load)

    async def check(self) -> None:
        """
        Find out whether a request would be answered now.

        A model whose process has ended is loaded again; one that could not be loaded is not, until a request
        asks for it.

        Raises:
            GatewayError: SERVICE_UNAVAILABLE; no model is loaded.
        """
        pool, load = self._pool, self._first_load
        if pool is not None and pool.loaded():
            return
        if pool is not None and load is not None and load.done():
            if pool.loading:
                return  # one model makes room for another, and requests wait for it
            if not load.cancelled() and (error := load.exception()) is not None:
                raise error
            self._begin_load(pool)
        raise GatewayError(Reason.SERVICE_UNAVAILABLE, f"The local engine is {self.state}.")

    async def stop(self) -> None:
        """End everything. Streams that still run are cut: finish them before."""
        if self._first_load is not None:
            self._first_load.cancel()
            await asyncio.gather(self._first_load, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._pool is not None:
            await self._pool.stop()
        self._report("stopped")

    def models(self) -> tuple[str, ...]:
        """Names of all models, the one that is loaded at start first."""
        return self._names

    def child(self, model: str) -> Child | None:
        """Return the worker of a model, when it is in memory."""
        return None if self._pool is None else self._pool.child(model)

    def _begin_load(self, pool: ModelPool) -> None:
        self._first_load = asyncio.create_task(self._load_first(pool))
        # `check` tells about a failure; nobody need wait for it.
        self._first_load.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _load_first(self, pool: ModelPool) -> None:
        async with pool.use(self._names[0]):
            pass

    def _report(self, state: str) -> None:
        self.state = state
        self._progress(state)


def _prepare(run_dir: Path) -> None:
    """Make the directory, and remove the sockets of workers that were killed with their parent."""
    rundir.prepare(run_dir)
    for path in run_dir.glob("llama-*.sock"):
        try:
            rundir.claim(path)
        except OSError:
            continue  # somebody else's, and alive
