"""
Ask this container's process whether it is ready: exit 0 when it is, 1 when not.

The health check of the image, run as a program of its own: `healthy.py [path]`. It needs no package and no
shell, and imports next to nothing, because an engine starts it again every few seconds.
"""

from __future__ import annotations

import os
import socket
import sys

_TIMEOUT_S = 2.5
_READY = "/readyz"
_ENVOY_READY = "/ready"
_ADMIN = "0.0.0.0:9100"  # as the image sets it


def main(arguments: list[str], env: dict[str, str]) -> int:
    """Ask for a path of the admin endpoints: the given one, else Envoy's or the services' own."""
    envoy = env.get("HEADRACE_ENVOY_METRICS_LISTEN")
    path = arguments[0] if arguments else _ENVOY_READY if envoy else _READY
    address = envoy or env.get("HEADRACE_ADMIN_LISTEN") or _ADMIN
    try:
        status = ask(int(address.rpartition(":")[2]), path)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"no answer at port {address.rpartition(':')[2]}: {error}\n")
        return 1
    if status != b"200":
        sys.stderr.write(f"{path} says {status.decode('ascii', 'replace')}\n")
    return 0 if status == b"200" else 1


def ask(port: int, path: str) -> bytes:
    """
    Return the status that a path of a port of this container answers.

    Raises:
        OSError: nobody answers in time.
    """
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n" not in head and (read := connection.recv(4096)):
            head += read
    return head.split(b" ", 2)[1] if head.count(b" ") >= 1 else b""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
