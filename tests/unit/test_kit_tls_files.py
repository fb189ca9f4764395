"""Certificates of a directory: what fits is taken, what does not is refused in plain words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.certificates import Authority, lay, service_names
from kit import tls_files
from kit.tls_files import TlsError

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = Authority.new()
EDGE = "spiffe://headrace/edge"
GOOD = AUTHORITY.issue(dns=service_names("edge"), uri=EDGE)
OTHER = AUTHORITY.issue(uri=EDGE)


def pem(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Write a key as `tls.key` has it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encrypted(key: bytes) -> bytes:
    """Put a password on a key."""
    loaded = load_pem_private_key(key, password=None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


def at(days: float) -> dict[str, bytes]:
    """Issue a certificate that is good for a day, from so many days from now."""
    begin = datetime.now(UTC) + timedelta(days=days)
    return AUTHORITY.issue(uri=EDGE, not_before=begin, lifetime=timedelta(days=1))


def test_what_fits_is_taken(tmp_path: Path) -> None:
    """Everything that is needed is read at once."""
    lay(tmp_path, GOOD)
    found = tls_files.read(tmp_path)

    assert (GOOD["tls.crt"], GOOD["tls.key"], GOOD["ca.crt"]) == (
        found.certificate,
        found.key,
        found.authorities,
    )
    assert ((EDGE,), True) == (found.uris, found.issued_here)
    assert timedelta(days=89) < found.not_after - datetime.now(UTC) < timedelta(days=91)


def test_plain_files_do_as_well(tmp_path: Path) -> None:
    """Nobody needs links; a key may be open to a group, as in a mounted Secret."""
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o640)

    assert GOOD["tls.crt"] == tls_files.read(tmp_path).certificate


def test_key_is_not_shown(tmp_path: Path) -> None:
    """A key is in nothing that is printed."""
    lay(tmp_path, GOOD)

    assert "PRIVATE" not in repr(tls_files.read(tmp_path))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tls.crt": b""}, "tls.crt is empty"),
        ({"tls.crt": b"nonsense"}, "tls.crt holds no certificate"),
        ({"ca.crt": b"\n"}, "ca.crt is empty"),
        ({"ca.crt": GOOD["tls.key"]}, "ca.crt holds no certificate"),
        ({"tls.key": b"nonsense"}, "tls.key holds no private key"),
        ({"tls.key": OTHER["tls.key"]}, "tls.key does not fit"),
        ({"tls.key": pem(ed25519.Ed25519PrivateKey.generate())}, "use RSA or ECDSA"),
        ({"tls.key": pem(rsa.generate_private_key(65537, 2048))}, "tls.key does not fit"),
        ({"tls.key": encrypted(GOOD["tls.key"])}, "tls.key is encrypted"),
        (at(-2), "tls.crt expired at"),
        (at(1), "tls.crt is not valid before"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changed: dict[str, bytes], said: str) -> None:
    """The message names the file and what is wrong with it, and holds nothing of its content."""
    lay(tmp_path, GOOD | changed)
    with pytest.raises(TlsError, match=said) as caught:
        tls_files.read(tmp_path)

    assert "nonsense" not in str(caught.value)


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    """One that is not there at all."""
    lay(tmp_path, {other: content for other, content in GOOD.items() if other != name})

    with pytest.raises(TlsError, match=f"{name} cannot be read: No such file"):
        tls_files.read(tmp_path)


def test_other_authority_is_noticed(tmp_path: Path) -> None:
    """A certificate of an authority that `ca.crt` does not name is taken, and marked."""
    lay(tmp_path, AUTHORITY.issue(uri=EDGE, trusted=[Authority.new()]))

    assert not tls_files.read(tmp_path).issued_here


def test_bundle_of_authorities(tmp_path: Path) -> None:
    """While an authority is replaced, `ca.crt` has both."""
    lay(tmp_path, AUTHORITY.issue(uri=EDGE, trusted=[Authority.new(), AUTHORITY]))

    assert tls_files.read(tmp_path).issued_here


def test_swap_shows_in_the_stamp(tmp_path: Path) -> None:
    """A directory that is swapped as the kubelet does it is another one; one that is not is the same."""
    lay(tmp_path, GOOD)
    first, again = tls_files.stamp(tmp_path), tls_files.stamp(tmp_path)
    lay(tmp_path, GOOD)

    assert first == again
    assert first != tls_files.stamp(tmp_path)


def test_files_of_two_moments_are_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A swap in the middle of a read begins the read anew."""
    lay(tmp_path, GOOD)
    read_file = tls_files._content
    swaps = [OTHER]

    def content(path: Path) -> bytes:
        found = read_file(path)
        if swaps:
            lay(tmp_path, swaps.pop())
        return found

    monkeypatch.setattr(tls_files, "_content", content)

    assert OTHER["tls.crt"] == tls_files.read(tmp_path).certificate
