"""
A stand-in for OpenAI and Anthropic that others wrote: aimock, as a process of its own.

What it answers stands in `tests/node/fixtures/`. It takes only the API keys that it was started with, so a
request that carries the gateway's own token instead of a provider's key is refused, and its journal tells
what it was asked. Faults are not its business here: `tests/fakes/front.py` has those.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.node_setup import NODE, NODE_DIR, ensure_installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLI = NODE_DIR / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
FIXTURES = NODE_DIR / "fixtures"
READY = re.compile(r"listening on (http://\S+)")


class AimockError(RuntimeError):
    """aimock did not start, or broke off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A request that aimock got, and the status that it gave."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None
    status: int


class Aimock:
    """A running aimock."""

    def __init__(self, process: subprocess.Popen[str], api_key: str) -> None:
        self._process = process
        self._api_key = api_key
        self.url = ""

    def journal(self, *, path: str | None = None) -> list[JournalEntry]:
        """Tell what it was asked, oldest first; with `path`, only that path."""
        query = f"?path={path}" if path else ""
        return [
            JournalEntry(
                method=entry["method"],
                path=entry["path"],
                headers=entry["headers"],
                body=entry["body"],
                status=entry["response"]["status"],
            )
            for entry in self._control("GET", f"/__aimock/journal{query}")
        ]

    def asked_with(self, text: str) -> list[JournalEntry]:
        """Tell which requests had `text` in their bodies."""
        return [entry for entry in self.journal() if text in json.dumps(entry.body)]

    def forget(self) -> None:
        """Empty the journal."""
        self._control("POST", "/__aimock/reset/journal")

    def stop(self) -> int:
        """
        End it.

        Returns:
            Its exit status.
        """
        self._process.terminate()
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _control(self, method: str, path: str) -> Any:
        request = urllib.request.Request(
            self.url + path, method=method, headers={"authorization": f"Bearer {self._api_key}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


@contextlib.contextmanager
def running_aimock(*api_keys: str, fixtures: Path = FIXTURES, log_path: Path) -> Iterator[Aimock]:
    """
    Run aimock on a port of its own.

    Args:
        api_keys: The only keys that it takes.
        fixtures: File or directory that says what it answers.
        log_path: Where its output goes.

    Raises:
        AimockError: it did not come up.
    """
    ensure_installed()
    command = [str(NODE), str(CLI), "--port", "0", "--fixtures", str(fixtures), "--journal-max", "0"]
    environment = {**os.environ, "AIMOCK_API_KEYS": ",".join(api_keys)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    log = _Log(process, log_path)
    mock = Aimock(process, api_keys[0])
    try:
        mock.url = log.wait_for_url(timeout_s=20)
        yield mock
    finally:
        status = mock.stop()
        log.join()
    if status != 0:
        raise AimockError(f"aimock ended with {status}; its output is in {log_path}")


class _Log:
    """Copies the output to a file, watching for the line that tells the address."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self._process = process
        self._path = path
        self._url: str | None = None
        self._seen = threading.Event()
        self._thread = threading.Thread(target=self._copy, name="aimock-log", daemon=True)
        self._thread.start()

    def wait_for_url(self, *, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        while not self._seen.wait(0.05):
            if time.monotonic() > deadline:
                raise AimockError(f"aimock did not come up in {timeout_s} s")
        if self._url is None:
            raise AimockError(f"aimock ended with {self._process.wait()}: {self._path.read_text()}")
        return self._url

    def join(self) -> None:
        self._thread.join(timeout=5)

    def _copy(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, self._path.open("w", buffering=1) as out:
            for line in lines:
                out.write(line)
                if match := READY.search(line):
                    self._url = match[1]
                    self._seen.set()
        self._seen.set()
