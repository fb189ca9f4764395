"""
Whom a connection to PostgreSQL trusts, by `sslmode` and its like in the address.

They mean what they mean to libpq, which the driver follows, with two differences. `verify-full` without a
file trusts whom the system trusts, as a pod has no home directory with a file in it; and
`sslrootcert=system`, which the driver takes for a file, says so.
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from kit.database_errors import DatabaseAwayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.secret import Secret

__all__ = ["context_of", "refused"]

_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_FULL: Final = "verify-full"
_SYSTEM: Final = "system"
# OpenSSL's X509_V_ERR_… for chains that end at nobody whom we trust: 18 to 21.
_UNTRUSTED: Final = range(18, 22)


def context_of(url: Secret) -> ssl.SSLContext | None:
    """
    Return what verifies the server that an address names; reads files.

    Args:
        url: The address.

    Returns:
        None: nothing verifies it, and the driver does what the address asks for.

    Raises:
        DatabaseAwayError: A parameter or a file is not usable; its text names it.
    """
    asked = dict(parse_qsl(urlsplit(url.reveal()).query))
    mode = asked.get("sslmode") or os.environ.get("PGSSLMODE")
    root = _named(asked, "sslrootcert", "root.crt")
    if mode is None and root == _SYSTEM:
        mode = _FULL
    if mode is None:
        return None
    if mode not in _MODES:
        raise _wrong("sslmode", f"must be one of {', '.join(_MODES)}")
    system = root == _SYSTEM or (root is None and mode.startswith("verify"))
    if system and mode != _FULL:
        raise _wrong(
            "sslmode",
            "must be verify-full where the system says who is trusted: anybody has a certificate of a public "
            "authority for some name",
        )
    if not system and (root is None or mode not in {"require", "verify-ca", _FULL}):
        return None
    return _verifying(asked, None if system else root, names=mode == _FULL)


def refused(error: ssl.SSLError) -> DatabaseAwayError:
    """Return why there is no connection when a handshake failed."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return DatabaseAwayError(f"TLS with it fails: {_reason(error)}")
    why = f"its certificate is refused: {error.verify_message.rstrip('.')}"
    if error.verify_code in _UNTRUSTED:
        why += "; `sslrootcert` of the address names the file of who is trusted"
    return DatabaseAwayError(why, lasting=True)


def _verifying(asked: dict[str, str], root: str | None, *, names: bool) -> ssl.SSLContext:
    """Return a context that trusts those of a file, or those of the system; the driver's in all else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = names
    if root is None:
        context.load_default_certs()
    else:
        _load("sslrootcert", root, lambda: context.load_verify_locations(cafile=root))
    if (revoked := _named(asked, "sslcrl", "root.crl")) is not None:
        _load("sslcrl", revoked, lambda: context.load_verify_locations(cafile=revoked))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if (own := _named(asked, "sslcert", "postgresql.crt")) is not None:
        key = _named(asked, "sslkey", "postgresql.key")
        word = asked.get("sslpassword", "")
        _load("sslcert", own, lambda: context.load_cert_chain(own, key, password=lambda: word))
    context.minimum_version = _version(asked, "ssl_min_protocol_version") or ssl.TLSVersion.TLSv1_2
    if (newest := _version(asked, "ssl_max_protocol_version")) is not None:
        context.maximum_version = newest
    context.set_alpn_protocols(["postgresql"])
    return context


def _named(asked: dict[str, str], name: str, usual: str) -> str | None:
    """Return the file that the address or libpq's variable names, or the one that is where libpq looks."""
    if named := asked.get(name) or os.environ.get(f"PG{name.upper()}"):
        return named
    try:
        path = Path.home() / ".postgresql" / usual
        return str(path) if path.is_file() else None
    except (OSError, RuntimeError):  # there is no home, or none that we may look into
        return None


def _version(asked: dict[str, str], name: str) -> ssl.TLSVersion | None:
    named = asked.get(name) or os.environ.get(f"PG{name.upper().replace('_', '')}")
    if named and named not in _VERSIONS:
        raise _wrong(name, f"must be one of {', '.join(_VERSIONS)}")
    return _VERSIONS[named] if named else None


def _load(name: str, path: str, load: Callable[[], None]) -> None:
    try:
        load()
    except OSError as error:
        # Of a key, which may be another file, there is no telling which one it was.
        raise DatabaseAwayError(
            f"`{name}` of the address: the file {path} cannot be used: {_reason(error)}", lasting=True
        ) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is not understood").replace("_", " ").lower()
    return error.strerror or type(error).__name__


def _wrong(name: str, what: str) -> DatabaseAwayError:
    return DatabaseAwayError(f"`{name}` of the address {what}", lasting=True)
