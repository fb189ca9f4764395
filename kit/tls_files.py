"""
A certificate, its key and the authorities to trust, read from a directory as one set that fits together.

The directory is laid as cert-manager lays a Secret: `tls.crt` with the chain, `tls.key`, `ca.crt`. A set that
could not work is refused with a sentence that says why, so that whoever holds an older one keeps it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CA", "CERTIFICATE", "KEY", "TlsError", "TlsFiles", "read", "stamp"]

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
CA: Final = "ca.crt"

# A swap of all files takes microseconds; only a directory that is written all the time needs more tries.
_TRIES: Final = 5
_MOST_BYTES: Final = 1 << 20


class TlsError(Exception):
    """Certificates cannot be used; the message says which, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """
    What a process shows and whom it trusts.

    Attributes:
        certificate: Its certificate and the chain above it, in PEM.
        key: The key of that certificate, in PEM.
        authorities: Certificates that others' are checked against, in PEM.
        uris: Names of the certificate that are URIs: the identity of the process.
        not_after: When the certificate ends.
        issued_here: Whether one of these authorities signed it. If not, peers with the same `ca.crt` refuse
            it.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    authorities: bytes
    uris: tuple[str, ...]
    not_after: datetime
    issued_here: bool


def read(directory: Path, *, now: datetime | None = None) -> TlsFiles:
    """
    Read the three files, all of the same moment.

    Args:
        directory: Where they lie.
        now: The time; the system's unless given.

    Raises:
        TlsError: A file is missing or cannot be read, is not what it should be, or does not fit the others.
    """
    for _ in range(_TRIES):
        before = stamp(directory)
        certificate, key, authorities = (_content(directory / name) for name in (CERTIFICATE, KEY, CA))
        if before == stamp(directory):
            return _checked(directory, certificate, key, authorities, now or datetime.now(UTC))
    raise TlsError(f"The files in {directory} change all the time.")


def stamp(directory: Path) -> tuple[object, ...]:
    """Return what is another value once a file was replaced: cheap, and never fails."""
    return tuple(_stamp_of(directory / name) for name in (CERTIFICATE, KEY, CA))


def _stamp_of(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # once a second, in the loop
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error.strerror}.") from error
    if not content.strip():
        raise TlsError(f"{path} is empty.")
    return content


def _checked(directory: Path, certificate: bytes, key: bytes, authorities: bytes, now: datetime) -> TlsFiles:
    chain = _certificates(directory / CERTIFICATE, certificate)
    trusted = _certificates(directory / CA, authorities)
    leaf = chain[0]
    if _public(_private(directory / KEY, key).public_key()) != _public(leaf.public_key()):
        raise TlsError(f"{directory / KEY} does not fit {directory / CERTIFICATE}: the key is another one's.")
    if now > leaf.not_valid_after_utc:
        raise TlsError(f"{directory / CERTIFICATE} expired at {_time(leaf.not_valid_after_utc)}.")
    if now < leaf.not_valid_before_utc:
        begin = _time(leaf.not_valid_before_utc)
        raise TlsError(f"{directory / CERTIFICATE} is not valid before {begin}; is this clock right?")
    return TlsFiles(
        certificate=certificate,
        key=key,
        authorities=authorities,
        uris=_uris(leaf),
        not_after=leaf.not_valid_after_utc,
        issued_here=_leads_to(leaf, chain[1:], trusted),
    )


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise TlsError(f"{path} holds no certificate in PEM.") from error


def _private(path: Path, content: bytes) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        # Whether its numbers are primes takes long to find out, and whether it fits is seen anyway.
        key = load_pem_private_key(content, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise TlsError(f"{path} is encrypted; the key must lie there in the clear.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsError(f"{path} holds no private key in PEM.") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        # What gRPC is built with does not take others, such as Ed25519, and says so only at a handshake.
        raise TlsError(f"{path} is of a kind that gRPC does not take: use RSA or ECDSA.")
    return key


def _public(key: object) -> bytes:
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _uris(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def _leads_to(
    leaf: x509.Certificate, between: list[x509.Certificate], trusted: list[x509.Certificate]
) -> bool:
    """Tell whether signatures lead from a certificate to an authority; the rest is TLS's to check."""
    current, left = leaf, list(between)
    while not any(_signed(current, authority) for authority in trusted):
        above = next((other for other in left if _signed(current, other)), None)
        if above is None:
            return False
        left.remove(above)
        current = above
    return True


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except Exception:  # noqa: BLE001  # every kind of signature has failures of its own
        return False
    return True


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
