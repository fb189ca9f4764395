"""
What an operation of the management API is: a row that says who may call it, what it takes and what it gives.

Rows are used twice, to answer requests (`dispatch`) and to document them (`openapi`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import BaseModel

    from headrace.auth.v1 import auth_service_pb2, token_pb2
    from headrace.common.v1 import actor_pb2

__all__ = ["Answer", "Call", "Message", "Operation", "RawAnswer"]

Shape = Literal["object", "list", "data", "raw"]
"""
How the result is wrapped.

`object`: in `result`. `list`: in `result`, with `result_info`. `data`: in `data` as the public product's
routes have it, and in `result` too. `raw`: not at all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One request, checked.

    Attributes:
        account_id: Account in the path; empty where there is none.
        path: Variables of the path by name, decoded.
        query: As the operation's `query` model.
        body: As the operation's `body` model; None where it takes none.
        principal: Whose token it is, on that account.
        actor: The same, for the audit log.
        origin: Where clients reach this installation, such as `https://ai.example.com`.
    """

    account_id: str
    path: Mapping[str, str]
    query: Any
    body: Any
    principal: auth_service_pb2.Principal
    actor: actor_pb2.Actor
    origin: str

    @property
    def gateway_id(self) -> str:
        """Gateway in the path."""
        return self.path["gateway_id"]


@dataclass(frozen=True, slots=True)
class Message:
    """Something said beside a result."""

    code: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    A result with more to it than the result.

    Attributes:
        result: What the operation gives.
        messages: What is said beside it.
        extra: Further members of the envelope.
    """

    result: Any
    messages: tuple[Message, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """Bytes that are given as they are."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """
    One method of one path.

    Attributes:
        id: Name in the OpenAPI document; the public product's where it has one.
        method: HTTP method.
        path: Path after `/client/v4`, with variables in braces; `{account_id}` is the account, and
            `{gateway_id}` a gateway of it.
        tag: Heading in the OpenAPI document.
        summary: One sentence.
        permission: What the token must allow; None for any valid token.
        handler: Does it. Returns what `result` describes, or an `Answer`, a `Listed` or a `RawAnswer`.
        result: Type of the result; None for an empty object.
        shape: How the result is wrapped.
        query: Model of the query.
        body: Model of the body.
        for_narrowed: Whether a token that is narrowed to some gateways may call it although no gateway is
            in the path; the handler then keeps to those that the token names.
        keeps_to_providers: Whether the handler keeps to the providers and models that a token is narrowed to.
            Nothing else that changes something is for such a token.
        failures: Statuses besides 400, 401, 403 and 503 that a caller has to reckon with.
    """

    id: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    tag: str
    summary: str
    permission: token_pb2.Permission.ValueType | None
    handler: Callable[[Call], Awaitable[Any]]
    result: Any = None
    shape: Shape = "object"
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    for_narrowed: bool = False
    keeps_to_providers: bool = False
    failures: tuple[int, ...] = ()
