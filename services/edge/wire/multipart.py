"""
The small fields of a multipart form. Pure.

The form itself goes on as it is; only what the gateway must know is read, and files are stepped over.
"""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["fields", "is_form"]

_FORM: Final = "multipart/form-data"
_END: Final = b"\r\n"
# Far above what SDKs send: a form of theirs has some ten parts, each with a head of some 200 bytes.
_MOST_PARTS: Final = 1000
_LONGEST_HEAD: Final = 16 << 10
_LONGEST_VALUE: Final = 4 << 10


def is_form(content_type: str) -> bool:
    """Tell whether a body of this content type is a form."""
    return content_type[: len(_FORM)].lower() == _FORM


def fields(content_type: str, body: bytes, wanted: Collection[str]) -> dict[str, str]:
    """
    Give the wanted fields of a form, each as it stands first; one that is not there is left out.

    Raises:
        GatewayError: BAD_CHAT_FORMAT; the body is no such form.
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary:
        raise _bad("The content type of the form has no boundary.")
    found: dict[str, str] = {}
    for count, (head, start, end) in enumerate(_parts(body, b"--" + boundary.encode("latin-1", "replace"))):
        if count >= _MOST_PARTS:
            raise _bad(f"The form has more than {_MOST_PARTS} parts.")
        name = _field_name(head)
        if name in wanted and name not in found and end - start <= _LONGEST_VALUE:
            found[name] = body[start:end].decode("utf-8", "replace").strip()
            if len(found) == len(wanted):
                break
    return found


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give for each part its head, and where its content begins and ends."""
    at = 0 if body.startswith(delimiter) else _next(body, delimiter, 0)
    while True:
        line_end = body.find(_END, at)
        if body.startswith(b"--", at + len(delimiter)):
            return
        head_end = body.find(_END + _END, line_end, line_end + _LONGEST_HEAD) if line_end >= 0 else -1
        if head_end < 0:
            raise _bad("A part of the form has no end to its head.")
        # A part may have no head, or no content: then what separates them is shared.
        at = _next(body, delimiter, head_end + len(_END))
        start = min(head_end + 2 * len(_END), at - len(_END))
        yield body[line_end:head_end], start, at - len(_END)


def _next(body: bytes, delimiter: bytes, start: int) -> int:
    """Find the next line that separates parts; what merely begins like one does not."""
    while (found := body.find(_END + delimiter, start)) >= 0:
        at = found + len(_END)
        rest = body[at + len(delimiter) : at + len(delimiter) + 2]
        if rest in (b"--", _END) or rest[:1] in (b" ", b"\t"):
            return at
        start = at
    raise _bad("The body is not the multipart form that its content type says.")


def _field_name(head: bytes) -> str:
    """Give the name of a part that is a field and no file."""
    for line in head.split(_END):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            header = Message()
            header["content-disposition"] = value.decode("utf-8", "replace").strip()
            is_file = header.get_param("filename", header="content-disposition") is not None
            return "" if is_file else str(header.get_param("name", "", header="content-disposition"))
    return ""


def _bad(message: str) -> GatewayError:
    return GatewayError(Reason.BAD_CHAT_FORMAT, message)
