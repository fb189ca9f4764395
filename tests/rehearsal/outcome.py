"""
What became of one request, as its client saw it.

A failure is clear when a client can act on it: it has the shape that the client's library parses, with a
message and a code. Whether one may happen at all is for the scenario to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.rehearsal.asking import Question

__all__ = ["Got", "Outcome", "judge", "read_outcomes"]

Kind = Literal["whole", "refused", "told", "cut", "wrong"]

_KEPT: Final = ("cf-aig-log-id", "cf-aig-provider", "cf-aig-model", "cf-aig-step", "retry-after", "server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """
    What a client got.

    Attributes:
        status: HTTP's status, or that of gRPC by name; None when there was no answer.
        headers: The answer's, names in lower case.
        text: Words of the answer that came.
        ended: Whether it ended as a whole answer does.
        error: The error that was told in the answer: an object as OpenAI has it.
        broke: How the connection broke, "" when it did not.
        first_s: When the first byte of the answer came, in seconds since the epoch.
    """

    status: int | str | None = None
    headers: dict[str, str]
    text: str = ""
    ended: bool = False
    error: dict[str, Any] | None = None
    broke: str = ""
    first_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    A request and how it ended.

    Attributes:
        marker: Of its question.
        client: Who asked, such as `https-stream-3`.
        gateway: Through which gateway.
        words: Words of the answer that was asked for.
        begin_s: When it was sent, in seconds since the epoch.
        end_s: When it was over.
        first_s: When the first byte came.
        kind: `whole`: the answer, all of it, and right. `refused`: a clear error in place of an answer.
            `told`: an answer that broke off, and says so. `cut`: the connection broke. `wrong`: anything
            else, such as a part of an answer that claims to be whole, or an error that a client cannot
            read.
        status: HTTP's or gRPC's.
        reason: The error's code and message, or how the connection broke.
        begun: Whether some of the answer had come.
        headers: Some of the answer's.
    """

    marker: str
    client: str
    gateway: str
    words: int
    begin_s: float
    end_s: float
    first_s: float | None
    kind: Kind
    status: int | str | None
    reason: str
    begun: bool
    headers: dict[str, str]

    @property
    def log_id(self) -> str | None:
        """Id of the log entry that the answer named."""
        return self.headers.get("cf-aig-log-id")

    def line(self) -> bytes:
        """Return it as a line of JSON."""
        return orjson.dumps(self) + b"\n"


def judge(
    question: Question, got: Got, *, client: str, gateway: str, begin_s: float, end_s: float
) -> Outcome:
    """Say what became of a request."""
    kind, reason = _kind(question, got)
    return Outcome(
        marker=question.marker,
        client=client,
        gateway=gateway,
        words=question.words,
        begin_s=begin_s,
        end_s=end_s,
        first_s=got.first_s,
        kind=kind,
        status=got.status,
        reason=reason,
        begun=bool(got.text),
        headers={name: got.headers[name] for name in _KEPT if name in got.headers},
    )


def _kind(question: Question, got: Got) -> tuple[Kind, str]:
    if got.broke:
        return ("wrong", "ended, then broke") if got.ended else ("cut", got.broke)
    if got.error is not None:
        return _kind_of_error(question, got, got.error)
    return ("wrong", fault) if (fault := _fault(question, got)) else ("whole", "")


def _kind_of_error(question: Question, got: Got, error: dict[str, Any]) -> tuple[Kind, str]:
    if got.ended:
        return "wrong", "an error and a normal end"
    if not _is_clear(error):
        return "wrong", f"unclear error {orjson.dumps(error)[:300].decode()}"
    if not question.answer().startswith(got.text):
        return "wrong", "other words before the error"
    return ("told" if got.text or got.status == 200 else "refused"), f"{error['code']}: {error['message']}"


def _fault(question: Question, got: Got) -> str:
    """Say what is wrong with an answer that has no error in it, "" when nothing is."""
    if got.status not in {200, "OK"}:
        return f"status {got.status} without an error"
    if not got.ended:
        return "no end and no error"
    if got.text != question.answer():
        return f"other words: {got.text[:200]!r} of {len(got.text)} characters"
    return "" if "cf-aig-log-id" in got.headers else "no cf-aig-log-id"


def _is_clear(error: dict[str, Any]) -> bool:
    return all(isinstance(error.get(name), str) and error[name] for name in ("message", "type", "code"))


def read_outcomes(path: Path) -> list[Outcome]:
    """Return what a load has written so far; a line that is being written is left out."""
    lines: Iterable[bytes] = path.read_bytes().split(b"\n")[:-1] if path.exists() else ()
    return [Outcome(**orjson.loads(line)) for line in lines]
