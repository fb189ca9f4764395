"""
The certificates that a process uses between hosts, and the watch over their files.

A `TlsSource` holds the newest set that can be used. Files are looked at every second, because a link that is
swapped in a mounted Secret is no event of the files themselves. What cannot be used is told once and looked
at again; the set before it stays.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final

from kit import tls_files
from kit.config import ConfigError
from kit.telemetry import names
from kit.tls_files import TlsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from kit.tls_files import TlsFiles

__all__ = ["TlsSource", "server_context", "source_of"]

_POLL_S: Final = 1.0


class TlsSource:
    """
    The certificates that are in use now.

    Args:
        directory: Holds `tls.crt`, `tls.key` and `ca.crt`.
        log: Where changes are told; None: nowhere.

    Raises:
        TlsError: They cannot be used.
    """

    def __init__(self, directory: Path, *, log: Any = None) -> None:
        self._directory = directory
        self._log = log
        # Before the read: what changes in between is read again then.
        self._stamp = tls_files.stamp(directory)
        self._files = tls_files.read(directory)
        self._listeners: dict[object, Callable[[], None]] = {}
        self._refused: tuple[object, ...] | None = None
        self._count: Callable[[str], None] = lambda _: None
        self._tell("certificate in use")

    @property
    def files(self) -> TlsFiles:
        """The set in use. Another object after a change."""
        return self._files

    def left_s(self) -> float:
        """Tell how long the certificate is still good, in seconds; below 0 once it has expired."""
        return (self._files.not_after - datetime.now(UTC)).total_seconds()

    def measure(self, registry: CollectorRegistry) -> None:
        """Show how long the certificate is still good, and what became of changes, as metrics."""
        from prometheus_client import Counter, Gauge

        left = Gauge(
            names.METRIC_TLS_EXPIRY,
            "Seconds until the certificate in use expires; below 0 once it has.",
            registry=registry,
        )
        left.set_function(self.left_s)
        reloads = Counter(
            names.METRIC_TLS_RELOADS, "Changes of certificates' files.", ["result"], registry=registry
        )
        for result in ("used", "refused"):
            reloads.labels(result)
        self._count = lambda result: reloads.labels(result).inc()

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """
        Ask to be told, in the event loop, of every new set.

        Args:
            changed: Is called after `files` has changed; may not raise.

        Returns:
            What ends it.
        """
        key = object()
        self._listeners[key] = changed
        return lambda: self._listeners.pop(key, None) and None

    async def watch(self, *, every_s: float = _POLL_S) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(every_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Take the files up if they have changed and can be used."""
        stamp = tls_files.stamp(self._directory)
        if stamp == self._stamp:
            return
        try:
            files = await asyncio.to_thread(tls_files.read, self._directory)
        except TlsError as error:
            if stamp != self._refused:
                self._refused = stamp
                self._count("refused")
                if self._log is not None:
                    self._log.error("new certificate cannot be used; the old one stays", reason=str(error))
            return
        self._stamp, self._refused = stamp, None
        if files == self._files:  # laid again, or changed and read before it was looked at
            return
        self._files = files
        self._count("used")
        self._tell("certificate changed")
        for changed in list(self._listeners.values()):
            changed()

    def _tell(self, event: str) -> None:
        if self._log is None:
            return
        files = self._files
        self._log.info(event, identity=" ".join(files.uris), expires=files.not_after.isoformat())
        if not files.issued_here:
            self._log.warning(
                "ca.crt does not hold the authority of tls.crt; peers that trust it will refuse"
            )


def source_of(directory: Path, *, log: Any = None) -> TlsSource:
    """
    Return the certificates that `HEADRACE_TLS_DIR` names.

    Args:
        directory: What it is set to.
        log: Where changes are told; None: nowhere.

    Raises:
        ConfigError: They cannot be used.
    """
    try:
        return TlsSource(directory, log=log)
    except TlsError as error:
        raise ConfigError([f"HEADRACE_TLS_DIR: {error}"]) from error


def server_context(source: TlsSource) -> ssl.SSLContext:
    """
    Make the context of an HTTP server that demands clients' certificates.

    Every connection gets what the source holds when it is made.

    Args:
        source: Where certificates come from.
    """
    current = [source.files, _context(source.files)]

    def choose(connection: Any, _name: str | None, _context_of_listener: ssl.SSLContext) -> None:
        # Called at the beginning of every handshake, whether or not the client names the server.
        if current[0] is not source.files:
            current[:] = [source.files, _context(source.files)]
        connection.context = current[1]

    listener = _context(source.files)
    listener.sni_callback = choose
    return listener


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Nothing older is needed between our own, and nothing older can resume: a session that is resumed is not
    # checked again, and would outlive the authority that its certificate was of.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["http/1.1"])
    context.load_verify_locations(cadata=files.authorities.decode("ascii", "ignore"))
    _load_chain(context, files)
    return context


def _load_chain(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Give a certificate to a context, which takes it from a file only; one without a place on a disk."""
    content = files.key + b"\n" + files.certificate
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tls")
        try:
            with open(descriptor, "wb", closefd=False) as memory:
                memory.write(content)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return
    with NamedTemporaryFile() as file:  # mode 0600
        file.write(content)
        file.flush()
        context.load_cert_chain(file.name)
