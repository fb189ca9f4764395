"""Settings of connections to Valkey, for every service that keeps something there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from kit.config import setting

if TYPE_CHECKING:
    from pathlib import Path

    from kit.secret import Secret

__all__ = ["ValkeyConfig", "check_valkey_url", "connection_of"]

_SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")
_WRONG = (
    "must be valkey://[user:password@]host[:port][/database], valkeys://… for TLS, or unix:///path?db=0 "
    "(what it is now is not shown, as it may hold a password)"
)


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
    # Imported where it is used: it takes 100 ms, and most processes have no Valkey.
    from valkey.asyncio.connection import parse_url

    try:
        parts = urlsplit(url.reveal())
        is_one = parts.scheme in _SCHEMES and (parts.port is None or parts.port > 0)
        parse_url(url.reveal())
    except ValueError:
        is_one, parts = False, urlsplit("")
    if not is_one or not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(f"{env} {_WRONG}") from None


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
