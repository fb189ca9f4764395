"""
Which models are in memory.

A model is loaded once however many requests wait for it. When room is needed, the one that was not used for
the longest time goes: new requests no longer get it, those that it answers finish, then its process ends, and
only then does the new one load.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kit.errors import GatewayError, Reason
from services.providers.local.child import Child, ChildFailedError, ChildSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from services.providers.local.config import LocalConfig
    from services.providers.local.models import LocalModel

__all__ = ["ModelPool"]


class _Place:
    """One of the places for a model, and who uses it."""

    def __init__(self) -> None:
        self.users = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.loading: asyncio.Task[Child]

    def enter(self) -> None:
        self.users += 1
        self.idle.clear()

    def leave(self) -> None:
        self.users -= 1
        if self.users == 0:
            self.idle.set()

    @property
    def broken(self) -> bool:
        """Whether it cannot serve: its model did not load, or its process has ended."""
        if not self.loading.done():
            return False
        return self.loading.cancelled() or bool(self.loading.exception()) or not self.loading.result().alive


class ModelPool:
    """
    The models in memory.

    Args:
        models: All that can be loaded.
        config: Bounds.
        run_dir: Where the workers' sockets are; others may not enter it.
        threads: Threads of each worker.
        progress: Called with one line when something begins or is done.
        complain: Called with what llama.cpp logs.
    """

    def __init__(
        self,
        models: Sequence[LocalModel],
        config: LocalConfig,
        *,
        run_dir: Path,
        threads: int,
        progress: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self._models = {model.name: model for model in models}
        self._config = config
        self._run_dir = run_dir
        self._threads = threads
        self._progress = progress
        self._complain = complain
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._children: set[Child] = set()
        self._started = 0

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Child]:
        """
        Hold a model in memory, loading it when it is not, for as long as the context is entered.

        Raises:
            GatewayError: NOT_FOUND, or SERVICE_UNAVAILABLE when it cannot be loaded.
        """
        place = self._place(name)
        place.enter()
        try:
            # Shielded: others wait for it too, and whoever asks again should find it further on.
            yield await asyncio.shield(place.loading)
        finally:
            place.leave()

    def loaded(self) -> tuple[str, ...]:
        """Names of the models that serve, the longest unused first."""
        return tuple(
            name for name, place in self._places.items() if place.loading.done() and not place.broken
        )

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded."""
        return any(not place.loading.done() for place in self._places.values())

    def child(self, name: str) -> Child | None:
        """Return the worker of a model, when it serves."""
        place = self._places.get(name)
        return None if place is None or not place.loading.done() or place.broken else place.loading.result()

    async def stop(self) -> None:
        """End all processes, whatever they do."""
        places = tuple(self._places.values())
        self._places.clear()
        for place in places:
            place.loading.cancel()
        await asyncio.gather(*(place.loading for place in places), return_exceptions=True)
        # Among them those that were about to make room.
        await asyncio.gather(*(self._end(child) for child in tuple(self._children)))

    def _place(self, name: str) -> _Place:
        place = self._places.get(name)
        if place is not None and not place.broken:
            self._places.move_to_end(name)
            return place
        if name not in self._models:
            known = ", ".join(self._models)
            raise GatewayError(
                Reason.NOT_FOUND, f"There is no local model {name[:80]!r}; there is: {known}.", param="model"
            )
        before = self._places.pop(name, None)
        if before is None and len(self._places) >= self._config.max_loaded:
            _, before = self._places.popitem(last=False)
        place = self._places[name] = _Place()
        place.loading = asyncio.create_task(self._load(self._models[name], before))
        # A failure nobody waits for any more has been reported as progress.
        place.loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return place

    async def _load(self, model: LocalModel, before: _Place | None) -> Child:
        if before is not None:
            await self._clear(before)
        self._progress(f"loading {model.name}")
        self._started += 1
        spec = self._spec(model, self._run_dir / f"llama-{os.getpid()}-{self._started}.sock")
        try:
            child = await Child.start(spec, timeout_s=self._config.load_timeout_s, complain=self._complain)
        except ChildFailedError as error:
            text = f"The local model {model.name!r} cannot be loaded: {error}."
            self._progress(text)
            raise GatewayError(Reason.SERVICE_UNAVAILABLE, text, model=model.name) from error
        self._children.add(child)
        self._progress("ready")
        return child

    async def _clear(self, place: _Place) -> None:
        (ended,) = await asyncio.gather(place.loading, return_exceptions=True)
        await place.idle.wait()
        if isinstance(ended, Child):
            await self._end(ended)

    async def _end(self, child: Child) -> None:
        await child.stop()
        self._children.discard(child)

    def _spec(self, model: LocalModel, socket: Path) -> ChildSpec:
        config, head = self._config, model.head
        context = min(config.context_tokens, head.trained_tokens or config.context_tokens)
        return ChildSpec(
            name=model.name,
            model=str(model.path),
            socket=str(socket),
            threads=self._threads,
            slots=config.slots,
            context_tokens=context,
            # A model made for embeddings takes texts as long as its context.
            batch_tokens=context if head.embeds else min(config.batch_tokens, context * config.slots),
            embeds=head.embeds,
        )
