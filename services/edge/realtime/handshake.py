"""
The handshake of a client's WebSocket: whether one is asked for, what it offers, and how it is accepted.

A client's offers go to the provider without what is meant for us. The client is answered with what the
provider chose; browsers give up on an answer that chooses nothing, so that where something was kept back, one
of the client's own offers is chosen for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from multidict import CIMultiDict

from kit import tokens
from kit.errors import GatewayError, Reason
from services.edge.headers import AUTHORIZATION
from services.edge.http_sink import named
from services.edge.websocket.subprotocols import offered_token

if TYPE_CHECKING:
    from services.edge.config import EdgeConfig
    from services.edge.pipeline.exchange import HeaderList

__all__ = ["Offers", "accept", "asks_for_websocket", "check", "offers_of"]

Socket = web.WebSocketResponse[bool]

_PROTOCOL: Final = "sec-websocket-protocol"
_OURS: Final = f"{AUTHORIZATION}."
# A client that does not answer our close is not waited for.
_CLOSE_S: Final = 1.0
_LONGEST: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """
    Subprotocols that a client offers.

    Attributes:
        token: A gateway token among them; empty: there is none.
        upstream: What the provider is offered.
        all: What the client may be answered with.
    """

    token: str = field(repr=False)
    upstream: tuple[str, ...] = field(repr=False)
    all: tuple[str, ...] = field(repr=False)

    def choice(self, chosen: str) -> str:
        """
        Say what to answer the client with.

        Args:
            chosen: What the provider chose; empty: nothing.
        """
        if chosen in self.all:
            return chosen
        plain = [offer for offer in self.all if not _holds_secret(offer)]
        return (plain or list(self.all) or [""])[0]


def asks_for_websocket(request: web.BaseRequest) -> bool:
    """Say whether a request is the handshake of a WebSocket."""
    upgrade = request.headers.get("upgrade")
    return upgrade is not None and request.method == "GET" and upgrade.strip().lower() == "websocket"


def offers_of(request: web.BaseRequest) -> Offers:
    """Read what a client offers; a token of ours goes no further, wherever it stands."""
    fields = request.headers.getall(_PROTOCOL, [])
    offers = [
        offer for each in fields for offer in map(str.strip, each.split(",")) if 0 < len(offer) <= _LONGEST
    ]
    upstream = tuple(offer for offer in offers if not (offer.startswith(_OURS) or _holds_token(offer)))
    return Offers(token=offered_token(fields), upstream=upstream, all=tuple(offers))


def check(request: web.BaseRequest) -> None:
    """
    Refuse a handshake that could not be accepted, before a provider is asked.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    socket: Socket = web.WebSocketResponse()
    if not socket.can_prepare(_without_offers(request)).ok:
        raise GatewayError(Reason.INVALID_REQUEST, "The handshake of the WebSocket is not valid.")


async def accept(request: web.BaseRequest, config: EdgeConfig, headers: HeaderList, chosen: str) -> Socket:
    """
    Accept a handshake.

    Args:
        request: The handshake.
        config: Limits.
        headers: To be sent with the answer.
        chosen: The subprotocol to answer with; empty: none.
    """
    socket: Socket = web.WebSocketResponse(
        timeout=_CLOSE_S,
        # The client is answered once the provider has closed, too.
        autoclose=False,
        heartbeat=config.websocket_heartbeat_s,
        compress=False,
        max_msg_size=config.max_body_bytes,
        decode_text=False,
    )
    socket.headers.extend(headers)
    if chosen:
        socket.headers[_PROTOCOL] = chosen
    named(socket)
    await socket.prepare(_without_offers(request))
    return socket


def _without_offers(request: web.BaseRequest) -> web.BaseRequest:
    """Hide offers from aiohttp, which logs those that it does not know, and they may hold keys."""
    kept: Any = CIMultiDict(request.headers)
    kept.popall(_PROTOCOL, None)
    return request.clone(headers=kept)


def _holds_token(offer: str) -> bool:
    return tokens.PREFIX in offer and bool(
        tokens.find(offer) or any(part.startswith(tokens.PREFIX) for part in offer.split("."))
    )


def _holds_secret(offer: str) -> bool:
    """Say whether an offer holds a credential by the form that all providers have for it: `name.key`."""
    return "." in offer
