"""
What goes wrong with a database, as the operator and as callers are told.

Neither is shown a statement's values or where the database is; the log says the kind of failure.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DatabaseAwayError", "DatabaseUnusableError", "explained", "may_repeat", "overloaded"]

# PostgreSQL's codes (its appendix A).
_SERIALIZATION_FAILURE: Final = "40001"
_DEADLOCK: Final = "40P01"
_LOCK_NOT_AVAILABLE: Final = "55P03"
_QUERY_CANCELED: Final = "57014"
_DATA: Final = "22"


class DatabaseUnusableError(OSError):
    """
    A place cannot serve as a database.

    An `OSError`, whose text is one sentence for the operator, so that a start that fails with it says that.
    """


class DatabaseAwayError(Exception):
    """
    The database cannot be connected to.

    Attributes:
        lasting: Whether waiting is of no use.
    """

    def __init__(self, why: str, *, lasting: bool = False) -> None:
        super().__init__(why)
        self.lasting = lasting


@contextmanager
def explained(name: str, log: Any) -> Iterator[None]:
    """
    Turn failures of the database into what callers are told.

    A violated constraint comes through as it is: what it means is for whoever wrote the statement.

    Args:
        name: The service, as it is named in errors.
        log: Where failures are told.
    """
    try:
        yield
    except IntegrityError:
        raise
    except PoolTimeoutError as error:
        raise overloaded(name) from error
    except DatabaseAwayError as error:
        log.error("database is away", database=name, error=str(error))  # noqa: TRY400 - expected; no trace
        raise _unavailable(name) from error
    except TimeoutError as error:  # the driver's own limit: the server does not even say that it is too slow
        log.error("database does not answer", database=name)  # noqa: TRY400 - as above
        raise _unavailable(name) from error
    except DBAPIError as error:
        raise _explain(error, name, log) from error


def overloaded(name: str) -> GatewayError:
    """Return what callers are told when the wait for a connection was too long."""
    return GatewayError(
        Reason.OVERLOADED, f"The {name} service has too much to do.", retry_after_s=1.0, resource="database"
    )


def may_repeat(error: DBAPIError) -> bool:
    """
    Tell whether a transaction failed in a way that undid it and that another try may escape.

    A lost connection is none of these: whether the commit was made is then unknown.
    """
    cause = type(getattr(error.orig, "__cause__", None)).__name__
    return _state(error) in {_SERIALIZATION_FAILURE, _DEADLOCK} or cause == "InvalidCachedStatementError"


def _explain(error: DBAPIError, name: str, log: Any) -> GatewayError:
    state = _state(error)
    kind = type(getattr(error.orig, "__cause__", None) or error.orig).__name__
    if state.startswith(_DATA) or (not state and kind == "DataError"):
        # Text with a NUL, a number out of range: no other try will help. The driver's text holds the value.
        log.warning("database refused a value", database=name, kind=kind, code=state)
        return GatewayError(Reason.INVALID_REQUEST, "The request holds a value that cannot be stored.")
    log.error("database failed", database=name, kind=kind, code=state, error=str(error.orig))
    if state in {_LOCK_NOT_AVAILABLE, _QUERY_CANCELED}:
        return overloaded(name)
    return _unavailable(name)


def _unavailable(name: str) -> GatewayError:
    return GatewayError(
        Reason.SERVICE_UNAVAILABLE,
        f"The {name} service cannot use its database.",
        retry_after_s=1.0,
        service=name,
    )


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
