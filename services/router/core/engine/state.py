"""Where a request is on its way through a route, and how that travels from one plan to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from kit.errors import GatewayError, Reason

__all__ = ["Continuation", "Passed", "State", "Ticket", "read_continuation", "write_continuation"]

_FORM: Final = 1
_MOST_BYTES: Final = 64 * 1024
_LONGEST_ID: Final = 128
# A way can pass nearly all elements of a route.
_MOST_TICKETS: Final = 100


@dataclass(frozen=True, slots=True)
class Passed:
    """
    An element that was passed.

    Attributes:
        type: Of the element.
        output: That was taken. Empty: the way ends here, or this is tried now.
        reason: Why, for people; holds no secret.
    """

    element_id: str
    type: str
    output: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A limit of tokens or money that was passed, which what is tried counts against."""

    key: str
    unit: str
    limit: int
    window: int
    technique: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """
    Where a request is.

    Attributes:
        at: The element.
        tried: Whether that is a model which is tried, and whose failure may be told.
        trace: What was passed since the last answer.
        tickets: The limits that count what is tried.
        asking: Output of the element for whose model a probe was asked for.
        refused: Outputs of the element that are not to be taken: their models have no probe left.
        probe: Provider and model that a probe was taken of.
        drew: Whether chance had a part in it.
        counted: Whether a limit had.
        watched: Whether the health of providers had.
    """

    at: str
    tried: bool = False
    trace: tuple[Passed, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    asking: str = ""
    refused: frozenset[str] = frozenset()
    probe: tuple[str, str] | None = None
    drew: bool = False
    counted: bool = False
    watched: bool = False

    def passing(self, step: Passed, to: str) -> State:
        """Return the state after an element."""
        return replace(self, at=to, tried=False, trace=(*self.trace, step), asking="", refused=frozenset())

    def ending(self, step: Passed) -> State:
        """Return the state in which nothing comes after an element."""
        return replace(self, trace=(*self.trace, step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """
    What must be known to go on after what was tried failed, by any router.

    Attributes:
        at: The model that failed.
        tickets: The limits that count what is tried.
    """

    route_id: str
    version_id: str
    at: str
    tickets: tuple[Ticket, ...] = ()


def write_continuation(found: Continuation) -> bytes:
    """Return a continuation as bytes."""
    tickets = [[each.key, each.unit, each.limit, each.window, each.technique] for each in found.tickets]
    return orjson.dumps([_FORM, found.route_id, found.version_id, found.at, tickets])


def read_continuation(data: bytes) -> Continuation:
    """
    Return what bytes say that `write_continuation` wrote.

    Raises:
        GatewayError: INVALID_REQUEST; it did not.
    """
    try:
        raw = orjson.loads(data) if len(data) <= _MOST_BYTES else None
    except orjson.JSONDecodeError:
        raw = None
    match raw:
        case [int(form), str(route_id), str(version_id), str(at), list(tickets)] if form == _FORM:
            found = [_ticket(each) for each in tickets]
            read = tuple(each for each in found if each is not None)
            if len(read) == len(found) <= _MOST_TICKETS and len(at) <= _LONGEST_ID:
                return Continuation(route_id=route_id, version_id=version_id, at=at, tickets=read)
    raise GatewayError(
        Reason.INVALID_REQUEST, "No plan was given that could be continued.", param="continuation"
    )


def _ticket(raw: Any) -> Ticket | None:
    match raw:
        case [str(key), str(unit), int(limit), int(window), str(technique)]:
            return Ticket(key, unit, limit, window, technique)
    return None
