"""
Which handler answers which path. The one table of the edge's HTTP surface.

Paths are matched as they were sent, percent-encoding and all, because native ones are relayed to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from kit.providers import SLUGS, canonical, is_custom

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Route", "dialect_of_failure", "resolve"]

CHAT = "chat"
MODELS = "models"
NATIVE = "native"
UNIVERSAL = "universal"
MANAGEMENT = "management"
OPENAPI = "openapi"
HEALTHZ = "healthz"
READYZ = "readyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    Where a path leads.

    Attributes:
        handler: Name of the handler; `server.HttpServer` maps it to code.
        template: The path with its variables, for metrics and spans.
        methods: Methods that the handler takes; empty for any.
        dialect: Dialect of the answer, errors included.
        operation: Which of the dialect's calls, where it has more than one.
        endpoint: What is called, without account and gateway.
        account_id: Account in the path, or the default one; empty where none is needed.
        gateway_id: Gateway in the path.
        provider: Provider in a native path.
        rest: What follows the provider in a native path, the model in one that names it, or an id.
    """

    handler: str
    template: str
    methods: tuple[str, ...] = ()
    dialect: http_pb2.Dialect.ValueType = http_pb2.DIALECT_NATIVE
    operation: str = ""
    endpoint: str = ""
    account_id: str = ""
    gateway_id: str = "default"
    provider: str = ""
    rest: str = ""


@dataclass(frozen=True, slots=True)
class _Compat:
    handler: str
    methods: tuple[str, ...]
    dialect: http_pb2.Dialect.ValueType
    operation: str = ""


_READ = ("GET", "HEAD")
_POST = ("POST",)

# What stands both under `/v1/{account}/{gateway}/compat/` and, for the default ones, under `/v1/`.
_COMPAT: Mapping[str, _Compat] = {
    "chat/completions": _Compat(CHAT, _POST, http_pb2.DIALECT_OPENAI_CHAT),
    "responses": _Compat(CHAT, _POST, http_pb2.DIALECT_OPENAI_RESPONSES),
    "messages": _Compat(CHAT, _POST, http_pb2.DIALECT_ANTHROPIC_MESSAGES),
    "messages/count_tokens": _Compat(CHAT, _POST, http_pb2.DIALECT_ANTHROPIC_MESSAGES, "count_tokens"),
    "embeddings": _Compat(CHAT, _POST, http_pb2.DIALECT_OPENAI_EMBEDDINGS),
    "models": _Compat(MODELS, _READ, http_pb2.DIALECT_OPENAI_CHAT),
    **{
        operation: _Compat(CHAT, _POST, http_pb2.DIALECT_OPENAI_OTHER, operation)
        for operation in (
            "completions",
            "images/generations",
            "images/edits",
            "images/variations",
            "audio/speech",
            "audio/transcriptions",
            "audio/translations",
            "moderations",
            "rerank",
        )
    },
}

# Gemini's versions, each with the same calls; its model stands in the path.
_GEMINI_VERSIONS = ("v1beta", "v1alpha")
# Gemini's calls, by the word after the model's colon, and what each is called between services.
_GEMINI: Mapping[str, str] = {
    "generateContent": "",
    "streamGenerateContent": "streamGenerateContent",
    "countTokens": "countTokens",
    "embedContent": "embedContent",
    "batchEmbedContents": "batchEmbedContents",
}

_ACCOUNT = "/v1/{account}/{gateway}"
_MANAGEMENT = "client/v4/"
# What paths of OpenAI's and Anthropic's own APIs begin with: under the short base, two parts that begin so
# are one of theirs that is not there, rather than an account and its gateway.
_NOT_ACCOUNTS = frozenset(
    {
        "assistants", "audio", "batches", "chat", "containers", "conversations", "evals", "files",
        "fine_tuning", "images", "messages", "models", "organization", "realtime", "responses", "skills",
        "threads", "uploads", "vector_stores", "videos",
    }
)  # fmt: skip
# No account, gateway or provider has a longer name; what decisions are kept under stays small.
_LONGEST_NAME = 64
# Paths up to here are remembered; longer ones hold ids and do not come again.
_LONGEST_REMEMBERED = 160


def resolve(path: str, account_id: str = "") -> Route:
    """
    Find where a path leads.

    Args:
        path: Path as sent, without query.
        account_id: The default account, for a path that names none.

    Raises:
        GatewayError: NOT_FOUND.
    """
    return _remembered(path, account_id) if len(path) <= _LONGEST_REMEMBERED else _resolve(path, account_id)


def dialect_of_failure(path: str) -> http_pb2.Dialect.ValueType:
    """Say which dialect a client most likely speaks whose path leads nowhere."""
    _, compat, rest = path.partition("/compat/")
    rest = (rest if compat else path.removeprefix("/").removeprefix("v1/")).removeprefix("v1/")
    if rest.startswith(_GEMINI_VERSIONS):
        return http_pb2.DIALECT_GEMINI
    if rest.startswith("messages"):
        return http_pb2.DIALECT_ANTHROPIC_MESSAGES
    if compat or rest.startswith("chat/"):
        return http_pb2.DIALECT_OPENAI_CHAT
    return http_pb2.DIALECT_NATIVE


def _resolve(path: str, account_id: str) -> Route:
    trimmed = path.removeprefix("/")
    if trimmed.startswith("v1/"):
        route = _data_plane(trimmed[3:], account_id)
    elif trimmed.startswith(_GEMINI_VERSIONS):
        route = _compat_route(trimmed, base="", account_id=account_id)
    elif trimmed.startswith(_MANAGEMENT):
        rest = trimmed[len(_MANAGEMENT) :]
        route = Route(handler=MANAGEMENT, template="/client/v4/{path}", rest=rest)
    else:
        route = _OPERATIONS.get(trimmed)
    if route is None or max(map(len, (route.account_id, route.gateway_id, route.provider))) > _LONGEST_NAME:
        raise GatewayError(Reason.NOT_FOUND, "There is nothing at this path.", resource="path")
    return route


# A function of its arguments; refusals are not remembered.
_remembered = lru_cache(maxsize=1024)(_resolve)


_OPERATIONS: Mapping[str, Route] = {
    "healthz": Route(handler=HEALTHZ, template="/healthz", methods=_READ),
    "readyz": Route(handler=READYZ, template="/readyz", methods=_READ),
    "openapi.json": Route(handler=OPENAPI, template="/openapi.json", methods=_READ),
}


def _data_plane(rest: str, default_account_id: str) -> Route | None:
    short = _compat_route(rest, base="/v1", account_id=default_account_id)
    if short is not None:
        return short
    account_id, _, rest = rest.partition("/")
    gateway_id, _, rest = rest.partition("/")
    provider, slash, rest = rest.partition("/")
    if account_id and gateway_id and not (provider or slash):
        return _universal(account_id, gateway_id)
    if not (account_id and gateway_id and provider):
        return None
    if not (slash or canonical(provider) in SLUGS or is_custom(provider)):
        # Some providers are called at their root, where the address stands in a header. Any other path of
        # three parts is more likely one of OpenAI's that is not there.
        return None
    if provider == "compat":
        return _compat_route(rest, base=f"{_ACCOUNT}/compat", account_id=account_id, gateway_id=gateway_id)
    return Route(
        handler=NATIVE,
        template="/v1/{account}/{gateway}/{provider}/{path}",
        endpoint=f"{provider}{slash}{rest}",
        account_id=account_id,
        gateway_id=gateway_id,
        provider=provider,
        rest=rest,
    )


def _universal(account_id: str, gateway_id: str) -> Route | None:
    """Find the endpoint that takes steps for any provider: as a POST, and as messages on a WebSocket."""
    if account_id in _NOT_ACCOUNTS:
        return None
    return Route(
        handler=UNIVERSAL,
        template=_ACCOUNT,
        methods=("POST", "GET"),
        endpoint="universal",
        account_id=account_id,
        gateway_id=gateway_id,
    )


def _compat_route(rest: str, *, base: str, account_id: str, gateway_id: str = "default") -> Route | None:
    """Find a call in a dialect of ours; SDKs that put the version into the path themselves are let do so."""
    name = rest.removesuffix("/")
    compat = _COMPAT.get(name)
    if compat is None and name.startswith("v1/"):
        name = name[3:]
        compat = _COMPAT.get(name)
    if compat is None:
        return _model_route(name, base=base, account_id=account_id, gateway_id=gateway_id)
    return Route(
        handler=compat.handler,
        template=f"{base}/{name}",
        methods=compat.methods,
        dialect=compat.dialect,
        operation=compat.operation,
        endpoint=f"compat/{name}",
        account_id=account_id,
        gateway_id=gateway_id,
    )


def _model_route(name: str, *, base: str, account_id: str, gateway_id: str) -> Route | None:
    """Find a call whose path names a model: one of Gemini's, or the question about models themselves."""
    version, _, rest = name.partition("/")
    google = version in _GEMINI_VERSIONS
    rest = rest if google else name
    listed = rest == "models" or rest.startswith("models/")
    if not (listed or google):
        return None
    # Some SDKs leave `models/` out before a name that holds a slash.
    model = unquote(rest.removeprefix("models").removeprefix("/") if listed else rest)
    prefix = f"{base}/{version}/models" if google else f"{base}/models"
    named, _, call = model.rpartition(":")
    if named and call in _GEMINI:
        return Route(
            handler=CHAT,
            template=f"{prefix}/{{model}}:{call}",
            methods=_POST,
            dialect=http_pb2.DIALECT_GEMINI,
            operation=_GEMINI[call],
            endpoint=f"compat/v1beta/models:{call}",
            account_id=account_id,
            gateway_id=gateway_id,
            rest=named,
        )
    if not listed:
        return None
    return Route(
        handler=MODELS,
        template=f"{prefix}/{{model}}" if model else prefix,
        methods=_READ,
        dialect=http_pb2.DIALECT_GEMINI if google else http_pb2.DIALECT_OPENAI_CHAT,
        endpoint="compat/models",
        account_id=account_id,
        gateway_id=gateway_id,
        rest=model,
    )
