"""
Makes a call again that failed because of where it went, not because of what it asked.

A call that certainly never left is made again whatever it is, until there is a connection or patience ends.
One whose peer went away in the middle may have been carried out; it is made again only where that does no
harm (`REPEATABLE`). gRPC itself makes calls again that its transport knows not to have been seen.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import grpc
import grpc.aio

from kit.errors import Reason
from kit.rpc import status
from kit.rpc.wrapping import WrappingChannel

__all__ = ["REPEATABLE", "RepeatingChannel", "not_sent"]

_AUTH: Final = "/headrace.auth.v1."
_ROUTER: Final = "/headrace.router.v1."
_LEDGER: Final = "/headrace.ledger.v1.LedgerService/"
_PROVIDER: Final = "/headrace.provider.v1.ProviderService/"

REPEATABLE: Final = frozenset(
    {
        f"{_AUTH}AuthService/Authenticate",
        f"{_AUTH}CredentialService/ResolveCredential",
        f"{_AUTH}TokenService/ListTokens",
        f"{_AUTH}TokenService/GetToken",
        f"{_AUTH}AccountService/ListAccounts",
        f"{_AUTH}AccountService/GetAccount",
        f"{_AUTH}ProviderConfigService/ListProviderConfigs",
        f"{_AUTH}ProviderConfigService/GetProviderConfig",
        f"{_AUTH}VaultService/GetVault",
        "/headrace.audit.v1.AuditService/ListAuditEntries",
        # A route that counts requests may count one twice, which harms less than refusing it.
        f"{_ROUTER}RouterService/Plan",
        # Of one id, both happen once.
        f"{_ROUTER}RouterService/Reserve",
        f"{_ROUTER}RouterService/Settle",
        f"{_ROUTER}RouterService/GetHealth",
        f"{_ROUTER}GatewayService/ListGateways",
        f"{_ROUTER}GatewayService/GetGateway",
        f"{_ROUTER}CustomProviderService/ListCustomProviders",
        f"{_ROUTER}CustomProviderService/GetCustomProvider",
        f"{_ROUTER}RouteService/ListRoutes",
        f"{_ROUTER}RouteService/GetRoute",
        f"{_ROUTER}RouteService/ListRouteVersions",
        f"{_ROUTER}RouteService/GetRouteVersion",
        f"{_ROUTER}RouteService/ListRouteDeployments",
        f"{_ROUTER}RouteService/SimulateRoute",
        "/headrace.cache.v1.CacheService/Renew",
        f"{_LEDGER}List",
        f"{_LEDGER}Get",
        f"{_LEDGER}GetPayload",
        f"{_PROVIDER}ListModels",
        f"{_PROVIDER}Reshape",
        "/grpc.health.v1.Health/Check",
    }
)
"""
Paths of the RPCs that may be carried out twice for one call.

`Lookup` is none: a second one would wait for the answer that the first one promised to bring.
"""

# Several, as the next try may come to the same replica when there are many calls.
_MOST_TRIES: Final = 4
# For a roll-out of a single replica, whose name is looked up again meanwhile. A service that has been away
# for longer is away: nobody is kept waiting any more, but where it may be this host that was away. A call
# that comes to it when it is back shall not be told of what was; it waits for the next try to connect.
_PATIENCE_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.2
_CONNECTING: Final = (grpc.ChannelConnectivity.CONNECTING, grpc.ChannelConnectivity.TRANSIENT_FAILURE)
# How gRPC begins to say that it had no connection to send a call on.
_NOT_SENT: Final = (
    "connections to all backends failing",
    "failed to connect to all addresses",
    "errors resolving ",
    "empty address list",
)
# How it says that somebody is there, or that there is nobody to ask: not by silence.
_ANSWERED: Final = ("refused", "errors resolving ", "empty address list")
_HAS_SUBSTITUTE: Final = frozenset({f"{_AUTH}AuthService/Authenticate", f"{_ROUTER}RouterService/Plan"})
"""Whose callers have an earlier answer while nobody can be asked, or wait themselves: `kit.decisions`."""


def not_sent(error: grpc.aio.AioRpcError) -> bool:
    """Say whether a call certainly never left this process."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").startswith(_NOT_SENT)


def _silent(error: grpc.aio.AioRpcError) -> bool:
    """Say of a call that never left whether that is because nobody answered, which cuts both ways."""
    told = error.details() or ""
    return not any(word in told for word in _ANSWERED)


def _of_the_replica(error: grpc.aio.AioRpcError) -> bool:
    """Say whether another replica may do better: this one is gone, or cannot reach its database, say."""
    told = status.reason_of(error)
    return told is None or told is Reason.SERVICE_UNAVAILABLE


class RepeatingChannel(WrappingChannel):
    """
    A channel to a service with several replicas.

    Args:
        channel: Where calls go.
        patience_s: How long a service may be without a connection before calls fail at once, in seconds.
    """

    def __init__(
        self, channel: grpc.aio.Channel | WrappingChannel, *, patience_s: float = _PATIENCE_S
    ) -> None:
        super().__init__(channel)
        self._patience_s = patience_s
        self._away_since_s: float | None = None
        self._silent = False

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Give what calls an RPC, again where that may help."""
        inner = self._channel.unary_unary(method, *args, **kwargs)
        repeatable = method in REPEATABLE
        patient = method not in _HAS_SUBSTITUTE

        async def call(request: Any, *, timeout: float | None = None, metadata: Any = None) -> Any:
            tries: _Tries | None = None
            until_s, left_s = _end_of(timeout), timeout
            while True:
                try:
                    answer = await inner(request, timeout=left_s, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    tries = tries or _Tries(self, until_s, repeatable=repeatable, patient=patient)
                    left_s = await tries.pause(error)
                else:
                    self.connected()
                    return answer

        return call

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Likewise, as long as nothing was answered."""
        inner = self._channel.unary_stream(method, *args, **kwargs)
        repeatable = method in REPEATABLE

        def call(request: Any, *, timeout: float | None = None, metadata: Any = None) -> _Stream:
            def begin(left_s: float | None) -> Any:
                return inner(request, timeout=left_s, metadata=metadata)

            return _Stream(self, begin, timeout, repeatable=repeatable)

        return call

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Give what calls an RPC once, as it sends once, and not before there is a connection."""
        inner = self._channel.stream_stream(method, *args, **kwargs)

        def call(requests: Any, *, timeout: float | None = None, metadata: Any = None) -> _Once:
            return _Once(self, lambda: inner(requests, timeout=timeout, metadata=metadata))

        return call

    async def until_connected(self) -> None:
        """Wait while there is no connection, for as long as patience lasts."""
        began_s = time.monotonic()
        while self._channel.get_state() in _CONNECTING:
            if not self.is_patient(began_s):
                return
            await asyncio.sleep(_FIRST_PAUSE_S)

    def connected(self) -> None:
        """Note that a call was answered."""
        self._away_since_s = None

    def not_connected(self, error: grpc.aio.AioRpcError) -> None:
        """Note why a call never left."""
        self._silent = _silent(error)

    def is_patient(self, began_s: float, *, of_its_own: bool = True) -> bool:
        """
        Say of a call without a connection whether it waits for one.

        Args:
            began_s: When it first had none.
            of_its_own: Whether it waits after a long silence, too.
        """
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
        since_s = began_s if of_its_own and self._silent else self._away_since_s
        return now_s - since_s < self._patience_s


def _end_of(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s


class _Tries:
    """Decides after each failure whether there is another try."""

    def __init__(
        self, channel: RepeatingChannel, until_s: float | None, *, repeatable: bool, patient: bool = True
    ) -> None:
        self._channel = channel
        self._until_s = until_s
        self._repeatable = repeatable
        self._patient = patient
        self._began_s = time.monotonic()
        self._made = 0
        self._pause_s = 0.0

    async def pause(self, error: grpc.aio.AioRpcError) -> float | None:
        """
        Wait for the next try after one that failed, and return what is left of the time.

        Raises:
            AioRpcError: That failure; there is no next try.
        """
        self._made += 1
        if error.code() is not grpc.StatusCode.UNAVAILABLE or not _of_the_replica(error):
            raise error
        if not_sent(error):
            self._channel.not_connected(error)
            if not self._channel.is_patient(self._began_s, of_its_own=self._patient):
                raise error
        elif not self._repeatable or self._made >= _MOST_TRIES:
            raise error
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2 or _FIRST_PAUSE_S)
        if self._until_s is not None and time.monotonic() + self._pause_s >= self._until_s:
            raise error
        await asyncio.sleep(self._pause_s)
        return None if self._until_s is None else self._until_s - time.monotonic()


class _Stream:
    """A stream that begins again until something was answered."""

    __slots__ = ("_begin", "_channel", "_repeatable", "_running", "_until_s", "read")

    def __init__(
        self, channel: RepeatingChannel, begin: Any, timeout_s: float | None, *, repeatable: bool
    ) -> None:
        self._channel = channel
        self._begin = begin
        self._until_s = _end_of(timeout_s)
        self._repeatable = repeatable
        self._running = begin(timeout_s)
        # What is read after the first answer costs nothing more.
        self.read: Any = self._first

    async def _first(self) -> Any:
        tries: _Tries | None = None
        while True:
            try:
                answer = await self._running.read()
            except grpc.aio.AioRpcError as error:
                tries = tries or _Tries(self._channel, self._until_s, repeatable=self._repeatable)
                self._running = self._begin(await tries.pause(error))
            else:
                self._channel.connected()
                self.read = self._running.read
                return answer

    def cancel(self) -> None:
        """End the call."""
        self._running.cancel()


class _Once:
    """A stream that cannot begin again, as what it sends is there once."""

    __slots__ = ("_begin", "_channel", "_running", "read")

    def __init__(self, channel: RepeatingChannel, begin: Any) -> None:
        self._channel = channel
        self._begin = begin
        self._running: Any = None
        self.read: Any = self._first

    async def _first(self) -> Any:
        await self._channel.until_connected()
        self._running = self._begin()
        answer = await self._running.read()
        self._channel.connected()
        self.read = self._running.read
        return answer

    def cancel(self) -> None:
        """End the call."""
        if self._running is not None:
            self._running.cancel()
