"""
gRPC's credentials between hosts, made of the certificates in use.

Servers ask for the newest at each handshake. Channels cannot: `kit.rpc.rotating` opens new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.tls import TlsSource
    from kit.tls_files import TlsFiles

__all__ = ["channel_credentials", "is_local", "server_credentials"]

_LOCAL = ("unix:", "unix-abstract:")


def is_local(address: str) -> bool:
    """Say whether an address or target is a socket of this machine, for which there is no TLS."""
    return address.startswith(_LOCAL)


def channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Give what a client shows and whom it believes; the server's name must be the target's."""
    return grpc.ssl_channel_credentials(files.authorities, files.key, files.certificate)


def server_credentials(source: TlsSource) -> grpc.ServerCredentials:
    """Give what a server shows, to clients with a certificate of the authorities that count at that time."""
    given = [source.files]

    def newest() -> grpc.ServerCertificateConfiguration | None:
        # Runs in a thread of gRPC's, before each handshake. Giving the same twice does no harm.
        files = source.files
        if files is given[0]:
            return None
        given[0] = files
        return _configuration(files)

    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", newest)  # None means no change
    return grpc.dynamic_ssl_server_credentials(
        _configuration(given[0]), fetch, require_client_authentication=True
    )


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authorities)
