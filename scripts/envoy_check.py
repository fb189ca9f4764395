"""
Have Envoy itself check every form of its configuration.

Run by `make envoy-check`: with and without tracing, TLS to the collector and access log; one edge, and four
behind proxies; sockets and host names; with and without TLS to clients, TLS to services, and metrics.
"""

from __future__ import annotations

import itertools
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy.envoy.binary import envoy_path
from deploy.envoy.render import FrontDoor, Identity, Otlp, PublicTls, files, render

COLLECTORS = (None, "http://127.0.0.1:4317", "https://collector.example:4317")
EDGE_COUNTS = (1, 4)
ACCESS_LOGS = ("/dev/stdout", None)
PLACES = ("sockets", "host names")
# What speaks TLS: nothing, the front door, what is behind it, both.
SECURED = ((), ("public",), ("services",), ("public", "services"))


def front_door(
    directory: Path,
    *,
    collector: str | None,
    edges: int,
    access_log: str | None,
    place: str,
    secured: tuple[str, ...],
) -> FrontDoor:
    """Describe a front door."""

    def addresses(*names: str) -> tuple[str, ...]:
        if place == "sockets":
            return tuple(f"unix:{directory}/{name}.sock" for name in names)
        return tuple(f"{name}.example:9000" for name in names)

    numbers = range(edges)
    return FrontDoor(
        host="127.0.0.1",
        http_port=8080,
        grpc_port=9090,
        edge_http=addresses(*(f"edge-{number}-http" for number in numbers)),
        edge_grpc=addresses(*(f"edge-{number}-grpc" for number in numbers)),
        auth=addresses("auth"),
        router=addresses("router"),
        cache=addresses("cache"),
        ledger=addresses("ledger"),
        providers=addresses("providers"),
        admin_socket=directory / "envoy-admin.sock",
        run_dir=directory,
        public_tls=PublicTls(directory=directory, port=8443, http3_port=8444, grpc_port=9443, alt_svc=":443")
        if "public" in secured
        else None,
        identity=Identity(directory=directory, trust_domain="headrace") if "services" in secured else None,
        metrics_listen="127.0.0.1:9100" if secured else None,
        access_log_path=access_log,
        trusted_proxies=edges - 1,
        otlp=None if collector is None else Otlp(endpoint=collector, ca_file=_certificates(directory)),
    )


def _certificates(directory: Path) -> Path:
    # Envoy reads the file while checking, and this machine need not keep its own where others do.
    path = directory / "ca.crt"
    context = ssl.create_default_context()
    found = context.get_ca_certs(binary_form=True)
    path.write_text("".join(ssl.DER_cert_to_PEM_cert(certificate) for certificate in found[:1]))
    return path


def check(front: FrontDoor) -> str:
    """Give what Envoy has against the configuration of a front door; nothing when it is good."""
    path = front.run_dir / "envoy.yaml"
    path.write_text(render(front))
    for file, text in files(front).items():
        file.write_text(text)
    command = [str(envoy_path()), "--mode", "validate", "--log-level", "warning", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # A warning is a setting that the next release may drop.
    return done.stderr if done.returncode or "[warning]" in done.stderr else ""


def main() -> int:
    """Check every combination; say which are wrong and why."""
    wrong = 0
    combinations = list(itertools.product(COLLECTORS, EDGE_COUNTS, ACCESS_LOGS, PLACES, SECURED))
    with tempfile.TemporaryDirectory(prefix="headrace-") as temporary:
        directory = Path(temporary)
        for collector, edges, access_log, place, secured in combinations:
            front = front_door(
                directory,
                collector=collector,
                edges=edges,
                access_log=access_log,
                place=place,
                secured=secured,
            )
            if complaint := check(front):
                wrong += 1
                form = f"collector={collector} edges={edges} access_log={access_log} {place} TLS={secured}"
                print(f"{form}:\n{complaint}", file=sys.stderr)
    print(f"envoy: {len(combinations) - wrong} of {len(combinations)} forms of the configuration are good")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
