"""
One chat through the front door, as a client outside makes it: `ask.py URL TOKEN NAME [CA]`.

It runs by its file, with the standard library alone, and prints status and answer.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

__all__ = ["main"]


def main(url: str, token: str, name: str, authority: str) -> int:
    """
    Ask, and print what is answered.

    Args:
        url: The front door, by its address.
        token: A token of the gateway's.
        name: The name in its certificate, which need not be one that DNS knows.
        authority: The file with the certificate of who signed it; "" without TLS.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    connection = http.client.HTTPConnection(host, port, timeout=30)
    if authority:
        # The address is in no certificate, so the name is given by hand.
        connection.connect()
        context = ssl.create_default_context(cafile=authority)
        connection.sock = context.wrap_socket(connection.sock, server_hostname=name)
    body = {"model": "openai/rehearsal", "messages": [{"role": "user", "content": "Does it work?"}]}
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "host": name}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    print(response.status, response.read().decode())  # noqa: T201 - what it is for
    return 0 if response.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
