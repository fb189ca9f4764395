"""
A channel whose certificates change while it is in use.

gRPC ties a channel to one certificate, so there is a new channel for each set: it is connected first, then
takes all new calls, and the one before it is closed once its calls have ended.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from kit import logs
from kit.rpc.wrapping import WrappingChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.tls import TlsSource
    from kit.tls_files import TlsFiles

__all__ = ["RotatingChannel"]

# How often it is seen whether the old channel still works while the new one is not connected: the peer may
# not know the new authority yet.
_CONNECT_S: Final = 1.0
# A channel connects anew whenever a server ends an old connection; only one that cannot is no good any more.
_WORKING: Final = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.CONNECTING)
# How long calls of an old channel may go on. No request takes as long; a `Watch` does, and is opened again.
_RETIRED_S: Final = 3600.0


class RotatingChannel(WrappingChannel):
    """
    A channel with the newest certificates.

    Args:
        open_channel: Opens a channel with a set of certificates.
        source: Where they come from.
        service: Who is called, for the log.
        caller: Who calls, for the log.
        retired_s: How long calls of a channel before this one may go on, in seconds.
    """

    def __init__(
        self,
        open_channel: Callable[[TlsFiles], grpc.aio.Channel],
        source: TlsSource,
        *,
        service: str,
        caller: str,
        retired_s: float = _RETIRED_S,
    ) -> None:
        self._open = open_channel
        self._source = source
        self._service = service
        self._retired_s = retired_s
        self._log: Any = logs.get(caller, "rpc")
        self._files = source.files
        super().__init__(open_channel(self._files))
        self._methods: list[_Method] = []
        self._renewing: asyncio.Task[None] | None = None
        self._retired: dict[grpc.aio.Channel | WrappingChannel, asyncio.Task[None]] = {}
        self._unsubscribe = source.subscribe(self._changed)

    @property
    def retired(self) -> int:
        """How many channels wait for their last calls to end."""
        return len(self._retired)

    async def close(self, grace: float | None = None) -> None:
        """Close all channels."""
        self._unsubscribe()
        renewing = [] if self._renewing is None else [self._renewing]
        tasks = [*renewing, *self._retired.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in (self._channel, *self._retired):
            await channel.close(grace)
        self._retired.clear()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Give what calls an RPC, on the channel that is the newest at each call."""
        return self._method(lambda channel: channel.unary_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Likewise."""
        return self._method(lambda channel: channel.unary_stream(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Likewise."""
        return self._method(lambda channel: channel.stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Likewise."""
        return self._method(lambda channel: channel.stream_stream(method, *args, **kwargs))

    def _method(self, of: Callable[[grpc.aio.Channel | WrappingChannel], Any]) -> _Method:
        method = _Method(of, self._channel)
        self._methods.append(method)
        return method

    def _changed(self) -> None:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew(), name=f"new certificates for {self._service}")

    async def _renew(self) -> None:
        while (files := self._source.files) is not self._files:
            channel = self._open(files)
            try:
                await self._connected(channel, files)
            except asyncio.CancelledError:
                await channel.close()
                raise
            if self._source.files is files:
                self._use(channel, files)
            else:
                await channel.close()

    def _use(self, channel: grpc.aio.Channel, files: TlsFiles) -> None:
        old, self._channel, self._files = self._channel, channel, files
        for method in self._methods:
            method.use(channel)
        self._retired[old] = asyncio.create_task(self._retire(old), name=f"old channel to {self._service}")

    async def _connected(self, channel: grpc.aio.Channel, files: TlsFiles) -> None:
        """Wait for a new channel while the old one works, so that no call fails at a handshake."""
        ready = asyncio.ensure_future(channel.channel_ready())
        told = False
        try:
            while self._channel.get_state() in _WORKING and self._source.files is files:
                done, _ = await asyncio.wait({ready}, timeout=_CONNECT_S)
                if done:
                    return
                if not told:
                    told = True
                    self._log.warning("no connection with the new certificate yet", peer=self._service)
        finally:
            ready.cancel()

    async def _retire(self, channel: grpc.aio.Channel | WrappingChannel) -> None:
        await channel.close(self._retired_s)
        self._retired.pop(channel, None)


class _Method:
    """An RPC of the newest channel."""

    __slots__ = ("_call", "_of")

    def __init__(
        self,
        of: Callable[[grpc.aio.Channel | WrappingChannel], Any],
        channel: grpc.aio.Channel | WrappingChannel,
    ) -> None:
        self._of = of
        self.use(channel)

    def use(self, channel: grpc.aio.Channel | WrappingChannel) -> None:
        self._call = self._of(channel)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)
