"""
Envoy's certificates: where they lie, how it takes new ones, and whom it believes to be whom.

Envoy reads certificates through files of its own that name them, because only what comes that way is read
again when it changes. It watches the directory: certificates change by a rename in it, of themselves or of a
link that they are reached by.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Identity", "PublicTls", "caller_script", "secret_files", "secret_source", "transport"]

PUBLIC: Final = "public-certificate"
OWN: Final = "own-certificate"
CA: Final = "internal-ca"
_TYPES: Final = "type.googleapis.com/envoy.extensions.transport_sockets"

# Runs for every call on the gRPC port with TLS. Only a name of the callers' own kind counts: a service's
# certificate makes nobody a service here.
_CALLER_SCRIPT: Final = """\
function envoy_on_request(call)
  local caller = "external"
  local tls = call:streamInfo():downstreamSslConnection()
  if tls ~= nil and tls:peerCertificateValidated() then
    local names = tls:uriSanPeerCertificate()
    if #names == 1 then
      local name = string.match(names[1], "^spiffe://TRUST_DOMAIN/caller/([a-z0-9][a-z0-9-]*)$")
      if name ~= nil and #name <= 63 then
        caller = "caller/" .. name
      end
    end
  end
  call:headers():replace("headrace-caller", caller)
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTls:
    """
    What clients of the front door are shown.

    Attributes:
        directory: Where `tls.crt`, with its chain, and `tls.key` lie.
        port: Port for HTTP/1.1 and HTTP/2 over TCP.
        http3_port: Port for HTTP/3 over UDP.
        grpc_port: Port for gRPC.
        alt_svc: Where clients are told that HTTP/3 is: `host:port`, or `:port` for the name that they asked.
    """

    directory: Path
    port: int
    http3_port: int
    grpc_port: int
    alt_svc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """
    What Envoy is towards our own services.

    Attributes:
        directory: Where `tls.crt`, `tls.key` and `ca.crt` lie.
        trust_domain: Of every name that the CA vouches for: `spiffe://<trust domain>/<service>`.
    """

    directory: Path
    trust_domain: str


def transport(
    identity: Identity | None, service: str, *, alpn: str, host_names: bool, run_dir: Path
) -> dict[str, Any]:
    """
    Say how to connect to a service: in the clear, or with TLS where there is an identity and a network.

    Args:
        identity: What Envoy shows. None: there is no TLS between our services.
        service: Whose name the other side must have.
        alpn: The protocol to ask for.
        host_names: Whether the service is reached over the network.
        run_dir: Where `secret_files` are.
    """
    if identity is None or not host_names:
        raw = {"@type": f"{_TYPES}.raw_buffer.v3.RawBuffer"}
        return {"name": "envoy.transport_sockets.raw_buffer", "typed_config": raw}
    name = f"spiffe://{identity.trust_domain}/{service}"
    checks = {
        "default_validation_context": {
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": name}}]
        },
        "validation_context_sds_secret_config": secret_source(CA, run_dir),
    }
    context = {
        "@type": f"{_TYPES}.tls.v3.UpstreamTlsContext",
        "sni": service,
        "common_tls_context": {
            "alpn_protocols": [alpn],
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificate_sds_secret_configs": [secret_source(OWN, run_dir)],
            "combined_validation_context": checks,
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def secret_source(name: str, run_dir: Path) -> dict[str, Any]:
    """Say where Envoy finds a secret of this name."""
    source = {"path_config_source": {"path": str(_secret_path(name, run_dir))}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def secret_files(public: PublicTls | None, identity: Identity | None, run_dir: Path) -> dict[Path, str]:
    """Return the files, by path, by which Envoy finds certificates."""
    secrets: dict[str, dict[str, Any]] = {}
    if public is not None:
        secrets[PUBLIC] = {"tls_certificate": _certificate(public.directory)}
    if identity is not None:
        secrets[OWN] = {"tls_certificate": _certificate(identity.directory)}
        secrets[CA] = {
            "validation_context": {
                "trusted_ca": {"filename": str(identity.directory / "ca.crt")},
                "watched_directory": {"path": str(identity.directory)},
            }
        }
    return {_secret_path(name, run_dir): _resource(name, secret) for name, secret in secrets.items()}


def caller_script(trust_domain: str) -> str:
    """Return the program that says who calls, by the certificate of a caller."""
    quoted = "".join(letter if letter.isalnum() else f"%{letter}" for letter in trust_domain)
    return _CALLER_SCRIPT.replace("TRUST_DOMAIN", quoted)


def _certificate(directory: Path) -> dict[str, Any]:
    return {
        "certificate_chain": {"filename": str(directory / "tls.crt")},
        "private_key": {"filename": str(directory / "tls.key")},
        "watched_directory": {"path": str(directory)},
    }


def _resource(name: str, secret: dict[str, Any]) -> str:
    kind = {"@type": f"{_TYPES}.tls.v3.Secret", "name": name}
    return json.dumps({"resources": [kind | secret]}, indent=1) + "\n"


def _secret_path(name: str, run_dir: Path) -> Path:
    return run_dir / f"envoy-{name}.json"
