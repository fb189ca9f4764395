"""
The settings that every process has, whichever services it runs.

Also the one place that turns a process or service name into a socket address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from kit import rundir
from kit.config import setting
from kit.rpc.caller import parse_grants
from kit.rpc.network import MAX_CONNECTION_AGE_S

# Stands in the reference as it is; replaced by the real path when the object is made.
_RUN_DIR_BESIDE_DATA = Path("<data dir>/run")

_PEERS = ("auth", "router", "cache", "ledger", "providers", "providers-local")
_PROCESS = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:\s]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Where a process keeps its files and sockets, how it logs, and how it stops."""

    PREFIX: ClassVar[str] = "HEADRACE_"

    data_dir: Path = setting(
        Path(".headrace"),
        "Directory for everything that must survive a restart: databases, the first token, the spool.",
    )
    run_dir: Path = setting(
        _RUN_DIR_BESIDE_DATA,
        "Directory for Unix sockets, made with mode 0700. "
        "When the default would be too long for a socket, a short directory under the system's temporary "
        "one takes its place.",
    )
    process: str = setting(
        "headrace",
        "Name of this process: names its sockets and log lines. "
        "`python -m services` derives it from its target.",
    )
    account: str = setting("local", "Id of the account that is made on first start and used by short URLs.")
    listen: tuple[str, ...] = setting(
        (),
        "Addresses to serve gRPC on: `unix:/path` or `host:port`, separated by commas. "
        "Default: the process's socket in the run directory.",
    )
    admin_listen: str | None = setting(
        None,
        "`host:port` for the admin endpoints (`/healthz`, `/readyz`, `/metrics`). "
        "Default: the socket `<process>-admin.sock` in the run directory.",
    )
    health_listen: str | None = setting(
        None,
        "`host:port` for a gRPC health server of its own, without TLS and without anything else, for probes "
        "that cannot show a certificate. It knows `live`, which is true until the process ends, and `ready`. "
        "Default: none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "Least severe level to log.")
    log_format: Literal["auto", "json", "text"] = setting(
        "auto", "`json` for machines, `text` for people; `auto` is text on a terminal and JSON elsewhere."
    )
    grace_s: float = setting(
        3.5,
        "Longest time that running requests get to finish on a stop. "
        "The default lets a whole `headrace up` stop within five seconds.",
        at_least=0,
    )
    drain_delay_s: float = setting(
        0.0,
        "Time between saying `not ready` and refusing connections on a stop. "
        "Behind a load balancer that polls, set it to its polling interval.",
        at_least=0,
    )
    max_message_bytes: int = setting(
        64 << 20,
        "Largest gRPC message to send or take; bounds request bodies between services.",
        at_least=1024,
    )
    max_connection_age_s: float = setting(
        MAX_CONNECTION_AGE_S,
        "How old a gRPC connection between hosts gets, give or take a tenth; calls on it go on to their end. "
        "Clients look up a service's name again when one ends, so a new replica has work within this time.",
        at_least=1,
        at_most=86_400,
    )
    trust_network: bool = setting(
        default=False,
        doc="Whether a service that calls over TCP is believed to be whom it says it is. "
        "Off, such a caller is `external` and may only use the typed front door. "
        "Turn it on only where nobody else can reach the services' ports. "
        "With HEADRACE_TLS_DIR it has no say.",
    )
    tls_dir: Path | None = setting(
        None,
        "Directory with `tls.crt`, `tls.key` and `ca.crt`, as cert-manager lays them. "
        "When it is set, everything between hosts is mutual TLS: servers on TCP demand a certificate of that "
        "CA, and clients show theirs and check the server's name. Files that are replaced are used from then "
        "on: docs/mtls.md.",
    )
    tls_trust_domain: str = setting(
        "headrace",
        "Trust domain of services' identities: `spiffe://<trust domain>/<service>` stands in their "
        "certificates.",
    )
    callers: tuple[str, ...] = setting(
        (),
        "What clients with a certificate of their own may call here, as `name=Service/Rpc`, separated by "
        "commas: `reporting=LedgerService/List,billing=LedgerService/List`. The name is the one in the "
        "certificate, `spiffe://<trust domain>/caller/<name>`. Default: nobody but the services themselves.",
    )
    auth_address: str | None = setting(
        None, "Where auth answers, when not on its socket in the run directory."
    )
    router_address: str | None = setting(
        None, "Where router answers, when not on its socket in the run directory."
    )
    cache_address: str | None = setting(
        None, "Where cache answers, when not on its socket in the run directory."
    )
    ledger_address: str | None = setting(
        None, "Where ledger answers, when not on its socket in the run directory."
    )
    providers_address: str | None = setting(
        None, "Where providers answers, when not on its socket in the run directory."
    )
    providers_local_address: str | None = setting(
        None,
        "Where the local model's providers process answers, when not on its socket in the run directory.",
    )
    local_enabled: bool = setting(
        default=True,
        doc="Whether the local model is part of this installation: served by a process that serves all "
        "providers, listed, and needed by `/readyz`.",
    )

    def __post_init__(self) -> None:
        """Make paths absolute, so that a later change of directory changes nothing."""
        data_dir = self.data_dir.expanduser().absolute()
        derived = self.run_dir == _RUN_DIR_BESIDE_DATA
        run_dir = rundir.resolve(data_dir) if derived else self.run_dir.expanduser().absolute()
        _check_host_port("HEADRACE_ADMIN_LISTEN", self.admin_listen)
        _check_host_port("HEADRACE_HEALTH_LISTEN", self.health_listen)
        if not _PROCESS.fullmatch(self.process):
            raise ValueError(
                "HEADRACE_PROCESS must be up to 32 lower-case letters, digits and dashes, "
                f"but is {self.process[:80]!r}"
            )
        if not rundir.fits(run_dir):
            raise ValueError(f"HEADRACE_RUN_DIR is too long for a Unix socket, but is {str(run_dir)!r}")
        _check_tls(self.tls_trust_domain, self.callers)
        if self.tls_dir is not None:
            object.__setattr__(self, "tls_dir", self.tls_dir.expanduser().absolute())
        object.__setattr__(self, "data_dir", data_dir)
        object.__setattr__(self, "run_dir", run_dir)

    def socket(self, name: str) -> Path:
        """Return the path of a named socket: `auth`, `edge-0-http`, `auth-admin`, …."""
        return self.run_dir / f"{name}.sock"

    def configured_addresses(self) -> dict[str, str]:
        """Return the addresses that the operator gave, by service or process name."""
        found = {name: getattr(self, f"{name.replace('-', '_')}_address") for name in _PEERS}
        return {name: address for name, address in found.items() if address}

    def addresses(self) -> dict[str, str]:
        """Return the gRPC target of every service that can be called, by service or process name."""
        return {name: self.target(name) for name in _PEERS}

    def target(self, name: str) -> str:
        """Return the gRPC target of a service or process by its name (`auth`, `providers-local`, …)."""
        return self.configured_addresses().get(name, f"unix:{self.socket(name)}")

    def listen_addresses(self) -> tuple[str, ...]:
        """Return the addresses that this process serves gRPC on."""
        # An edge also has an HTTP socket, so its gRPC socket says which of the two it is.
        name = f"{self.process}-grpc" if self.process.startswith("edge-") else self.process
        return self.listen or (f"unix:{self.socket(name)}",)

    def admin_address(self) -> Path | tuple[str, int]:
        """Return where this process serves its admin endpoints: a socket, or host and port."""
        if self.admin_listen is None:
            return self.socket(f"{self.process}-admin")
        host, _, port = self.admin_listen.rpartition(":")
        return host.strip("[]"), int(port)

    def sockets(self) -> list[Path]:
        """Return the paths of the Unix sockets that this process itself serves on."""
        served = [Path(a.removeprefix("unix:")) for a in self.listen_addresses() if a.startswith("unix:")]
        admin = self.admin_address()
        return served if isinstance(admin, tuple) else [*served, admin]


def _check_tls(trust_domain: str, callers: tuple[str, ...]) -> None:
    if not _TRUST_DOMAIN.fullmatch(trust_domain):
        raise ValueError(
            "HEADRACE_TLS_TRUST_DOMAIN must be lower-case letters, digits, dots, dashes and underscores, "
            f"but is {trust_domain[:80]!r}"
        )
    try:
        parse_grants(callers)
    except ValueError as error:
        raise ValueError(f"HEADRACE_CALLERS {error}") from error


def _check_host_port(env: str, text: str | None) -> None:
    if text is None:
        return
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"{env} must be host:port, such as 127.0.0.1:9100, but is {text[:80]!r}")
