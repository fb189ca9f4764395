"""Settings of connections to Valkey, for every service that keeps something there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from kit.config import setting
from kit.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Target", "ValkeyConfig", "check_valkey_url", "connection_of", "joined", "target_of"]

_SCHEMES: Final = ("valkey", "valkeys", "redis", "rediss", "unix")
_CLUSTER: Final = "cluster"
_SENTINEL: Final = "sentinel"
_SENTINEL_PORT: Final = 26379
_SENTINEL_USER: Final = "sentinel_user"
_SENTINEL_PASSWORD: Final = "sentinel_password"  # noqa: S105 - the name of a parameter
_WRONG: Final = (
    "must be valkey://[user:password@]host[:port][/database], "
    "valkey-cluster://[user:password@]host[:port],host…, "
    "valkey-sentinel://[user:password@]host[:port],host…/name[/database], each with valkeys for TLS, "
    "or unix:///path?db=0 (what it is now is not shown, as it may hold a password)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    Where a Valkey is.

    Attributes:
        kind: One server, a cluster, or one that sentinels look after.
        addresses: `host:port` of servers of the cluster, or of sentinels; none of one server.
        name: The name under which sentinels look after it.
        scheme: Of the address of one of its servers.
        user: User and password, as an address has them, with the `@`; of sentinels likewise.
        database: Number of the database, and further parameters, as an address has them.
    """

    kind: Literal["one", "cluster", "sentinel"]
    addresses: tuple[str, ...] = ()
    name: str = ""
    scheme: str = "valkey"
    user: str = field(default="", repr=False)
    sentinel_user: str = field(default="", repr=False)
    database: str = ""

    def server(self, address: str) -> Secret:
        """Return the whole address of one of its servers."""
        return Secret(f"{self.scheme}://{self.user}{address}{self.database}")

    def sentinel(self, address: str) -> Secret:
        """Return the whole address of a sentinel."""
        return Secret(f"{self.scheme}://{self.sentinel_user}{address}")


def target_of(url: Secret) -> Target:
    """
    Return what an address stands for.

    Raises:
        ValueError: It is none; says nothing of what it holds.
    """
    scheme, separator, rest = url.reveal().partition("://")
    plain, _, kind = scheme.partition("-")
    if kind not in {_CLUSTER, _SENTINEL}:
        return Target(kind="one")
    if not separator or plain not in {"valkey", "valkeys"}:
        raise ValueError("no such scheme")
    rest, _, query = rest.partition("?")
    hosts, _, path = rest.partition("/")
    user, at, hosts = hosts.rpartition("@")
    found: dict[str, Any] = {"scheme": plain, "user": user + at}
    if kind == _CLUSTER:
        if path or query:
            raise ValueError("a cluster has one database")
        return Target(kind="cluster", addresses=_addresses(hosts, 6379), **found)
    name, _, database = path.partition("/")
    if not name or (database and not database.isdecimal()):
        raise ValueError("no name")
    theirs = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    if theirs.keys() - {_SENTINEL_USER, _SENTINEL_PASSWORD}:
        raise ValueError("no such parameter")
    sentinel_user = ""
    if _SENTINEL_PASSWORD in theirs:
        word = quote(theirs[_SENTINEL_PASSWORD], safe="")
        sentinel_user = f"{quote(theirs.get(_SENTINEL_USER, ''), safe='')}:{word}@"
    return Target(
        kind="sentinel",
        addresses=_addresses(hosts, _SENTINEL_PORT),
        name=unquote(name),
        sentinel_user=sentinel_user,
        database=f"/{database}" if database else "",
        **found,
    )


def joined(host: str, port: str | int) -> str:
    """Return `host:port`, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(hosts: str, port: int) -> tuple[str, ...]:
    found = []
    for host in hosts.split(","):
        parts = urlsplit(f"//{host}")
        if not parts.hostname or parts.port == 0 or parts.path:
            raise ValueError("no host")
        found.append(host if parts.port else f"{host}:{port}")
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValkeyConfig:
    """How services talk to Valkey. Where it is each service says itself: `HEADRACE_<SERVICE>_VALKEY_URL`."""

    PREFIX: ClassVar[str] = "HEADRACE_VALKEY_"

    connections: int = setting(
        16,
        "Connections to Valkey that each service keeps at most. Work beyond that waits its turn, within its "
        "time.",
        at_least=1,
        at_most=1000,
    )
    timeout_s: float = setting(
        0.1,
        "How long one exchange with Valkey may take, in seconds, waiting for a connection included. Requests "
        "wait for it, so that the default is short; a service goes on without Valkey when it takes longer.",
        at_least=0.005,
        at_most=60,
    )
    connect_timeout_s: float = setting(
        0.5, "How long connecting to Valkey may take, in seconds.", at_least=0.01, at_most=60
    )
    ca_file: Path | None = setting(
        None,
        "File of the certificate authorities that sign Valkey's certificate, when its URL begins with "
        "`valkeys://`. Default: those that the system trusts.",
    )
    cert_file: Path | None = setting(
        None, "File of the certificate that is shown to Valkey, when it asks for one."
    )
    key_file: Path | None = setting(None, "File of the private key of that certificate.")

    def __post_init__(self) -> None:
        """Refuse a certificate without its key."""
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("HEADRACE_VALKEY_CERT_FILE and HEADRACE_VALKEY_KEY_FILE go together")


def check_valkey_url(url: Secret | None, env: str) -> None:
    """
    Refuse what is no address of Valkey, without repeating it.

    Args:
        url: The address; None: there is none.
        env: The variable that it is from.

    Raises:
        ValueError: It is none.
    """
    if url is None:
        return
    try:
        target = target_of(url)
        servers = [target.server(address) for address in target.addresses] or [url]
        is_one = all(map(_is_server, servers))
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError(f"{env} {_WRONG}") from None


def _is_server(url: Secret) -> bool:
    # Imported where it is used: it takes 100 ms, and most processes have no Valkey.
    from valkey.asyncio.connection import parse_url

    parts = urlsplit(url.reveal())
    if parts.scheme not in _SCHEMES or parts.port == 0:
        return False
    parse_url(url.reveal())
    return bool(parts.path if parts.scheme == "unix" else parts.hostname)


def connection_of(url: Secret, settings: ValkeyConfig) -> tuple[type[Any], dict[str, Any]]:
    """Return the class of connections to an address, and what it is made from; holds the password."""
    from valkey.asyncio.connection import Connection, parse_url

    arguments: dict[str, Any] = dict(parse_url(url.reveal()))
    kind: type[Any] = arguments.pop("connection_class", Connection)
    if urlsplit(url.reveal()).scheme in {"valkeys", "rediss"}:
        arguments |= {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
            "ssl_ca_certs": _text(settings.ca_file),
            "ssl_certfile": _text(settings.cert_file),
            "ssl_keyfile": _text(settings.key_file),
        }
    return kind, {
        **arguments,
        # The whole of an exchange has a limit in `kit.valkey`, which costs less than one for each read.
        "socket_timeout": None,
        "socket_connect_timeout": settings.connect_timeout_s,
        "lib_name": None,
        "lib_version": None,
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
