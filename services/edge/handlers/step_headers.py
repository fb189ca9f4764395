"""
The headers of one step of a universal request: what the step says, over what the request says.

A step's own headers win over its `config`, which wins over the request's. Of the request's headers a step has
only what they ask of the gateway, and the user agent: credentials and all else that a provider sees are the
step's own. The request's `Idempotency-Key` is between the client and us.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.edge import headers as names
from services.edge.headers import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.edge.headers import Options, RequestHeaders

__all__ = ["merge"]

# Each of `config` is a header in other words, and is held to the same bounds.
_CONFIG: Final[Mapping[str, str]] = {
    "requestTimeout": names.REQUEST_TIMEOUT,
    "maxAttempts": names.MAX_ATTEMPTS,
    "retryDelay": names.RETRY_DELAY,
    "backoff": names.BACKOFF,
}
_MOST_HEADERS: Final = 64
_LONGEST_VALUE: Final = 16 << 10
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# The body is written anew, as plain JSON.
_OF_THE_BODY: Final = frozenset({"content-type", "content-encoding", "accept-encoding"})
_JSON: Final = "application/json"
# What clients send in a token's place that were given none.
_NO_TOKEN: Final = frozenset({"undefined", "null"})


def merge(outer: RequestHeaders, step: Mapping[str, Any], where: str) -> RequestHeaders:
    """
    Give the headers that a step's call would have had as a request of its own.

    Args:
        outer: The request's.
        step: The step: its `headers`, `authorization` and `config`.
        where: The step's place in what the client sent, for the paths that errors name.

    Raises:
        GatewayError: INVALID_REQUEST, whose `param` is the path of what is wrong.
    """
    dot = f"{where}." if where else ""
    options = _configured(outer.options, step.get("config"), f"{dot}config")
    given = _given(step.get("headers"), f"{dot}headers")
    if "authorization" not in given and step.get("authorization") is not None:
        given["authorization"] = _value(step["authorization"], f"{dot}authorization")
    found = _read(given, options, f"{dot}headers")
    found.forwarded = [(name, value) for name, value in found.forwarded if name not in _OF_THE_BODY]
    found.forwarded.append(("content-type", _JSON.encode()))
    if "user-agent" not in given and outer.user_agent:
        found.forwarded.append(("user-agent", outer.user_agent.encode()))
    found.content_type = _JSON
    if names.IDEMPOTENCY_KEY not in given:
        found.whole_key = dict(outer.forwarded).get(names.IDEMPOTENCY_KEY)
    found.gateway_token = _token(found.gateway_token) or _token(outer.gateway_token)
    found.trace, found.user_agent, found.client_address = outer.trace, outer.user_agent, outer.client_address
    return found


def _configured(options: Options, config: Any, where: str) -> Options:
    """Give options with what `config` says; what it says besides is for others."""
    if config is None:
        return options
    if not isinstance(config, dict):
        raise _bad(where, "must be an object")
    for name, header in _CONFIG.items():
        if (value := config.get(name)) is None:
            continue
        text = _text(value, f"{where}.{name}")
        try:
            options = read([(header.encode(), text.encode())], options).options
        except GatewayError as error:
            _, _, what = error.message.partition(": ")
            raise _bad(f"{where}.{name}", what) from None
    return options


def _given(headers: Any, where: str) -> dict[str, bytes]:
    if headers is None:
        return {}
    if not isinstance(headers, dict):
        raise _bad(where, "must be an object")
    if len(headers) > _MOST_HEADERS:
        raise _bad(where, f"must have at most {_MOST_HEADERS} members")
    given = {}
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise _bad(where, f"{name[:64]!r} is no name of a header")
        if value is not None:
            given[name.lower()] = _value(value, f"{where}.{name}")
    return given


def _value(value: Any, where: str) -> bytes:
    text = _text(value, where)
    if len(text) > _LONGEST_VALUE:
        raise _bad(where, f"must have at most {_LONGEST_VALUE} characters")
    if _CONTROLS.search(text):
        raise _bad(where, "must be one line of text")
    return text.encode()


def _text(value: Any, where: str) -> str:
    """Write a value as clients' own bindings do: text as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    try:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # It is nested deeper, or a greater number, than is written.
        raise _bad(where, "cannot be written as the text of a header") from None


def _read(given: Mapping[str, bytes], options: Options, where: str) -> RequestHeaders:
    try:
        return read([(name.encode(), value) for name, value in given.items()], options)
    except GatewayError as error:
        name = error.metadata.get("param", "")
        raise _bad(f"{where}.{name}", error.message.removeprefix(f"{name}: ")) from None


def _token(value: str) -> str:
    return "" if value.lower() in _NO_TOKEN else value


def _bad(where: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, f"{where}: {message}.", param=where)
