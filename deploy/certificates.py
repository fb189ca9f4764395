"""
Certificates as cert-manager makes and lays them, for tests and rehearsals.

An `Authority` signs; what it gives is the data of a Secret: `tls.crt`, `tls.key` and `ca.crt`, in PEM. `lay`
writes such data the way the kubelet mounts a Secret: the files are links through `..data` into a directory
that is swapped as a whole. Nothing that runs for real uses this: there, cert-manager signs.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CA", "CERTIFICATE", "KEY", "Authority", "lay", "service_names"]

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
CA: Final = "ca.crt"

_YEAR: Final = timedelta(days=365)
_LIFETIME: Final = timedelta(days=90)  # cert-manager's default
# Clocks of two machines differ a little.
_EARLIER: Final = timedelta(minutes=5)
_USAGES: Final = ("digital_signature", "key_cert_sign", "crl_sign")
_OTHER_USAGES: Final = (
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """
    A certificate authority, made for the purpose.

    Attributes:
        certificate: Its own certificate, signed by itself.
        key: What it signs with.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def new(cls, name: str = "headrace-ca") -> Authority:
        """Make an authority with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            _builder(subject, subject, key.public_key(), now - _EARLIER, now + _YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(certificate=builder.sign(key, SHA256()), key=key)

    @property
    def pem(self) -> bytes:
        """Its certificate in PEM, as it stands in `ca.crt`."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *,
        dns: Iterable[str] = (),
        uri: str | Iterable[str] = (),
        lifetime: timedelta = _LIFETIME,
        not_before: datetime | None = None,
        trusted: Iterable[Authority] | None = None,
    ) -> dict[str, bytes]:
        """
        Sign a certificate for a new key, and give the data of its Secret.

        Args:
            dns: Names of the server. What is an IP address becomes a name of that kind.
            uri: Its identity, such as `spiffe://headrace/edge`; several are against SPIFFE.
            lifetime: How long it is good for.
            not_before: From when; a few minutes ago unless given.
            trusted: Authorities that `ca.crt` names; this one unless given.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        begin = not_before or datetime.now(UTC) - _EARLIER
        end = begin + lifetime if not_before else datetime.now(UTC) + lifetime
        names = [
            *map(_name, dns),
            *map(x509.UniformResourceIdentifier, [uri] if isinstance(uri, str) else uri),
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            # As cert-manager without a common name: the subject is empty, the names are what counts.
            _builder(x509.Name([]), self.certificate.subject, key.public_key(), begin, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return {
            CERTIFICATE: builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM),
            KEY: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            CA: b"".join(authority.pem for authority in ([self] if trusted is None else trusted)),
        }


def service_names(service: str, namespace: str = "headrace") -> list[str]:
    """Give the names by which pods may ask for a Service: `auth`, `auth.headrace`, …."""
    local = f"{service}.{namespace}"
    return [service, local, f"{local}.svc", f"{local}.svc.cluster.local"]


def lay(directory: Path, files: Mapping[str, bytes]) -> None:
    """
    Write a Secret's data into a directory as the kubelet does; again, to replace what is there at once.

    Args:
        directory: Where; made when it is not there.
        files: Content by name. The names of the first time are those that stay.
    """
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "..data"
    old = data.resolve() if data.is_symlink() else None
    new = Path(mkdtemp(prefix="..", dir=directory))
    new.chmod(0o755)
    for name, content in files.items():
        (new / name).write_bytes(content)
    fresh = directory / "..data_tmp"
    fresh.symlink_to(new.name)
    os.replace(fresh, data)  # noqa: PTH105  # the word for what matters here: at once, for a link
    for name in files:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    if old is not None:
        shutil.rmtree(old)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    values = dict.fromkeys(_USAGES, authority) | dict.fromkeys(_OTHER_USAGES, False)
    return x509.KeyUsage(**{**values, "digital_signature": True})


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
