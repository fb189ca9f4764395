"""
A provider's stand-in, for `--request`: answers a chat of OpenAI's API with one sentence; `provider.py 8000`.

It runs by its file, with the standard library alone.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["main"]

_ANSWER = {
    "id": "chatcmpl-rehearsal",
    "object": "chat.completion",
    "created": 1,
    "model": "rehearsal",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The rehearsal works."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps(_ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: int) -> None:
    """Serve for ever."""
    ThreadingHTTPServer(("", port), _Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
