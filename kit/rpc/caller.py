"""
Who calls an RPC, and which further callers an operator lets in.

On a Unix socket and inside a process, the metadata says who calls: only our own processes get there. Over a
network with TLS, the certificate of the connection says it, and metadata is worth nothing; but for what Envoy
passes on, which says on whose behalf. Over a network without TLS, nobody is known, unless the operator
declares it ours. docs/mtls.md is about this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "CALLER_KEY",
    "ENVOY",
    "EXTERNAL",
    "NETWORK",
    "CallerRule",
    "Grant",
    "admits",
    "identity",
    "parse_grants",
]

# Metadata that names the calling service. Trusted as far as the connection is: our own sockets are in a
# directory that only we can enter, and Envoy overwrites it on what comes from outside.
CALLER_KEY: Final = "headrace-caller"
# The name of every caller whom we cannot know.
EXTERNAL: Final = "external"
# The one who passes on what others ask.
ENVOY: Final = "envoy"
# How gRPC's names of peers over a network begin.
NETWORK: Final = ("ipv4:", "ipv6:")

_OWN_CALLER: Final = "caller/"
_NAME: Final = r"[a-z0-9][a-z0-9-]{0,62}"
_PATH: Final = re.compile(rf"(?:caller/)?{_NAME}")
_GRANT: Final = re.compile(rf"({_NAME})=([A-Za-z][A-Za-z0-9_.]*)/([A-Za-z][A-Za-z0-9_]*)")
_URI: Final = "peer_uri"  # as gRPC calls the URIs among the names of the other side's certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """
    One RPC that a client of the operator's may call.

    Attributes:
        caller: As the RPC sees it: `caller/<name>`.
        service: Name of the gRPC service, with or without its package.
        rpc: Name of the RPC.
    """

    caller: str
    service: str
    rpc: str

    def covers(self, service: str, rpc: str) -> bool:
        """Say whether it is about an RPC, of which the service's full name is given."""
        return rpc == self.rpc and self.service in (service, service.rpartition(".")[2])


def parse_grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    """
    Read `name=Service/Rpc`.

    Raises:
        ValueError: One is not of that form.
    """
    grants = []
    for text in texts:
        match = _GRANT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"must be name=Service/Rpc, such as reporting=LedgerService/List, but is {text[:80]!r}"
            )
        grants.append(Grant(caller=_OWN_CALLER + match[1], service=match[2], rpc=match[3]))
    return tuple(grants)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerRule:
    """
    How a server finds out who calls.

    Attributes:
        trust_network: Whether a caller over TCP without TLS is whom it says it is.
        trust_domain: Whose identities count, when TCP has TLS; None: it has not.
        grants: What clients of the operator's may call.
    """

    trust_network: bool = False
    trust_domain: str | None = None
    grants: tuple[Grant, ...] = ()

    def caller(self, metadata: Mapping[str, str], context: Any) -> str:
        """Name who calls; empty when an own process does not say, `EXTERNAL` when it cannot be known."""
        said = metadata.get(CALLER_KEY, "")
        if not context.peer().startswith(NETWORK):
            return said
        if self.trust_domain is None:
            return said if self.trust_network else EXTERNAL
        shown = identity(context.auth_context().get(_URI, ()), self.trust_domain)
        if shown != ENVOY:
            return shown
        # Envoy speaks for others. Nobody becomes a service through it.
        return said if said.startswith(_OWN_CALLER) else EXTERNAL

    def forwarded(self, context: Any) -> bool:
        """Say whether what a call's metadata says of its client can be believed: it came through Envoy."""
        if not context.peer().startswith(NETWORK):
            return True
        if self.trust_domain is None:
            return self.trust_network
        return identity(context.auth_context().get(_URI, ()), self.trust_domain) == ENVOY

    def allowed(self, callers: frozenset[str], service: str, rpc: str) -> frozenset[str]:
        """
        Add to the callers of an RPC those that the operator lets in.

        Args:
            callers: The services that may call it.
            service: Full name of the gRPC service.
            rpc: Name of the RPC.
        """
        return callers | {grant.caller for grant in self.grants if grant.covers(service, rpc)}


def admits(allowed: frozenset[str], caller: str) -> bool:
    """Say whether a caller is among those allowed; what is open to people unknown is so to those known."""
    return caller in allowed or (caller.startswith(_OWN_CALLER) and EXTERNAL in allowed)


def identity(uris: Iterable[bytes | str], trust_domain: str) -> str:
    """
    Name the peer whose certificate has these URIs: a service, or `caller/<name>`.

    Args:
        uris: All URIs of the certificate.
        trust_domain: The one that counts.

    Returns:
        `EXTERNAL` for a certificate of another trust domain, with no name or with several.
    """
    return _identity(tuple(uris), trust_domain)


@lru_cache(maxsize=256)
def _identity(uris: tuple[bytes | str, ...], trust_domain: str) -> str:
    if len(uris) != 1:
        return EXTERNAL
    uri = uris[0] if isinstance(uris[0], str) else uris[0].decode("utf-8", "replace")
    domain = f"spiffe://{trust_domain}/"
    path = uri.removeprefix(domain)
    return path if uri.startswith(domain) and _PATH.fullmatch(path) else EXTERNAL
