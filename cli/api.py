"""
A small client of the management API.

One connection for each call: commands make few of them, and a connection that was closed meanwhile would
leave open whether a change was made.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from kit.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kit.secret import Secret

__all__ = ["TIMEOUT_S", "Api", "ApiError", "path_of"]

USER_AGENT: Final = f"headrace-cli/{VERSION}"
_PREFIX: Final = "/client/v4"
TIMEOUT_S: Final = 30.0
_PER_PAGE: Final = 100
_TRIES: Final = 4
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 10.0
_AGAIN: Final = frozenset({429, 503})


class ApiError(Exception):
    """
    A call that did not succeed; its text is a sentence for people.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        code: The error's number; 0 when it has none.
        path: Where in the request the error is.
    """

    def __init__(
        self, message: str, *, status: int = 0, code: int = 0, path: tuple[str | int, ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.path = path

    @property
    def is_missing(self) -> bool:
        """Whether there is no such thing."""
        return self.status == 404


@dataclass(frozen=True, slots=True)
class _Answered:
    status: int
    body: bytes
    retry_after: str


def path_of(*segments: str) -> str:
    """Join segments to a path, each escaped."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


class Api:
    """
    Calls the management API.

    Args:
        url: Where the installation answers, such as `http://127.0.0.1:8080`.
        token: What is presented.
        absent: What to say when nobody answers.
        sleep: Waits between tries.
        timeout_s: How long one call may take.

    Raises:
        ApiError: The address is none, or the token.
    """

    def __init__(
        self,
        url: str,
        token: Secret,
        *,
        absent: str = "",
        sleep: Callable[[float], None] = time.sleep,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.url = url.rstrip("/")
        self._parts = _parts(self.url)
        if not (token.reveal().isascii() and token.reveal().isprintable()):
            raise ApiError("The token holds characters that no token has.")
        self._token = token
        self._absent = absent
        self._sleep = sleep
        self._timeout_s = timeout_s

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """
        Read something.

        Raises:
            ApiError: It cannot be had.
        """
        return self._result("GET", path, query=query)

    def pages(self, path: str, query: Mapping[str, Any] | None = None, *, most: int = 0) -> list[Any]:
        """
        Read a list to its end.

        Args:
            path: Where it is.
            query: What to ask for.
            most: How many are enough; 0 for all.

        Raises:
            ApiError: It cannot be had.
        """
        found: list[Any] = []
        for page in self._pages(path, dict(query or {})):
            found += page
            if len(page) < _PER_PAGE or 0 < most <= len(found):
                break
        return found[:most] if most else found

    def result_info(self, path: str) -> Mapping[str, Any]:
        """
        Read what a list says besides its entries.

        Raises:
            ApiError: It cannot be had.
        """
        envelope = self._envelope("GET", path, query={"page": 1, "per_page": 1})
        return envelope.get("result_info") or {}

    def post(self, path: str, body: Any) -> Any:
        """
        Make something.

        Raises:
            ApiError: It is refused, or nobody answers.
        """
        return self._result("POST", path, body=body)

    def put(self, path: str, body: Any) -> Any:
        """
        Replace something.

        Raises:
            ApiError: It is refused, or nobody answers.
        """
        return self._result("PUT", path, body=body)

    def patch(self, path: str, body: Any) -> Any:
        """
        Change something.

        Raises:
            ApiError: It is refused, or nobody answers.
        """
        return self._result("PATCH", path, body=body)

    def delete(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """
        Delete something.

        Raises:
            ApiError: It is refused, or nobody answers.
        """
        return self._result("DELETE", path, query=query)

    def _pages(self, path: str, query: dict[str, Any]) -> Iterator[list[Any]]:
        number = 1
        while True:
            result = self.get(path, {**query, "page": number, "per_page": _PER_PAGE})
            # Routes have an object around their list.
            yield (
                next(v for v in result.values() if isinstance(v, list))
                if isinstance(result, dict)
                else result
            )
            number += 1

    def _result(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        return self._envelope(method, path, query=query, body=body).get("result")

    def _envelope(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> Mapping[str, Any]:
        target = f"{self._parts.path}{_PREFIX}{path}"
        if query:
            target += (
                f"?{urlencode({name: value for name, value in query.items() if value not in ('', None)})}"
            )
        raw = None if body is None else json.dumps(body).encode()
        return self._read(self._answer(method, target, raw))

    def _answer(self, method: str, target: str, body: bytes | None) -> _Answered:
        # Only reading is tried again: of a change nobody knows whether it was made.
        tries = _TRIES if method == "GET" else 1
        wait_s = _FIRST_WAIT_S
        while True:
            tries -= 1
            try:
                answered = self._ask(method, target, body)
            except (OSError, http.client.HTTPException) as error:
                if tries <= 0:
                    raise self._unreachable(error) from error
            else:
                if answered.status not in _AGAIN or tries <= 0:
                    return answered
                if answered.retry_after.isdigit():
                    wait_s = float(answered.retry_after)
            self._sleep(min(wait_s, _LONGEST_WAIT_S))
            wait_s *= 2

    def _ask(self, method: str, target: str, body: bytes | None) -> _Answered:
        connection = self._connection()
        headers = {
            "Authorization": f"Bearer {self._token.reveal()}",
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            return _Answered(response.status, response.read(), response.getheader("retry-after") or "")
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                host, self._parts.port, timeout=self._timeout_s, context=context
            )
        return http.client.HTTPConnection(host, self._parts.port, timeout=self._timeout_s)

    def _unreachable(self, error: Exception) -> ApiError:
        if isinstance(error, ConnectionRefusedError) and self._absent:
            return ApiError(self._absent)
        reason = str(error) or type(error).__name__
        return ApiError(f"{self.url} does not answer ({reason}).")

    def _read(self, answered: _Answered) -> Mapping[str, Any]:
        try:
            envelope = json.loads(answered.body)
        except ValueError:
            envelope = None
        if not isinstance(envelope, dict) or "success" not in envelope:
            raise ApiError(
                f"{self.url} answered {answered.status} with something that is not the management API's.",
                status=answered.status,
            )
        if envelope["success"]:
            return envelope
        raise _refused(envelope, answered.status)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass  # told below
    raise ApiError(f"{url!r} is no address; write one such as https://ai.example.com.")


def _refused(envelope: Mapping[str, Any], status: int) -> ApiError:
    errors = envelope.get("errors") or [{}]
    first = errors[0] if isinstance(errors[0], dict) else {}
    message = str(first.get("message") or f"It was refused with status {status}.")
    path = tuple(first.get("path") or ())
    # Most messages name the place themselves.
    dotted = ".".join(str(part) for part in path if part != "body")
    text = message if not dotted or dotted in message else f"{dotted}: {message}"
    return ApiError(text, status=status, code=int(first.get("code") or 0), path=path)
