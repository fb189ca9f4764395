"""Check of the certificates between hosts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cli.doctor.finding import Finding, broken, fine, note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.runtime_config import RuntimeConfig

__all__ = ["check_certificates"]

_ABOUT: Final = "certificates"
# Whatever renews them does so earlier.
_SOON: Final = timedelta(hours=12)


def check_certificates(runtime: RuntimeConfig) -> Iterator[Finding]:
    """See that what is shown to other hosts can be used, and says who shows it."""
    if runtime.tls_dir is None:
        return
    from kit import tls_files
    from kit.rpc.caller import EXTERNAL, identity

    try:
        files = tls_files.read(runtime.tls_dir)
    except tls_files.TlsError as error:
        yield broken(_ABOUT, str(error), "Have it issued again, or set HEADRACE_TLS_DIR to where it lies.")
        return
    domain = runtime.tls_trust_domain
    who = identity(files.uris, domain)
    if who == EXTERNAL:
        text = f"The certificate in {runtime.tls_dir} names no identity of the trust domain {domain}."
        yield broken(_ABOUT, text, f"Give it the one URI name spiffe://{domain}/<service>: docs/mtls.md.")
    if not files.issued_here:
        text = f"ca.crt in {runtime.tls_dir} does not hold the authority that signed tls.crt."
        yield note(
            _ABOUT, text, "Peers with the same ca.crt refuse it; docs/mtls.md says how to change a CA."
        )
    if files.not_after - datetime.now(UTC) < _SOON:
        yield note(_ABOUT, f"The certificate ends at {files.not_after:%Y-%m-%d %H:%M} UTC.", "Renew it.")
    elif who != EXTERNAL:
        yield fine(_ABOUT, f"{who}, until {files.not_after:%Y-%m-%d %H:%M} UTC")
