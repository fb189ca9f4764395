"""
Surgery on a multipart form: one field changes, every other byte stays.
"""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_form", "put_field"]

_FORM: Final = "multipart/form-data"
_END: Final = b"\r\n"
_LONGEST_HEAD: Final = 16 << 10


def is_form(content_type: str) -> bool:
    """Tell whether a body of this content type is a form."""
    return content_type[: len(_FORM)].lower() == _FORM


def put_field(body: bytes, content_type: str, name: str, value: str) -> bytes:
    """
    Put another value into a field, wherever the form has it: servers do not agree on which of several counts.

    Args:
        body: The form.
        content_type: With its boundary.
        name: Of the field.
        value: What to put there; no line ends.

    Raises:
        GatewayError: INVALID_REQUEST; the body is no such form, or has no such field.
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary or "\r" in value or "\n" in value:
        raise _wrong("The body is not the multipart form that its content type says.")
    pieces: list[bytes] = []
    at = 0
    for head, start, end in _parts(body, b"--" + boundary.encode("latin-1", "replace")):
        if _field_name(head) == name:
            pieces += (body[at:start], value.encode("utf-8", "replace"))
            at = end
    if not pieces:
        raise _wrong(f"The form has no field {name!r}.")
    return b"".join((*pieces, body[at:]))


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give for each part its head, and where its content begins and ends."""
    at = 0 if body.startswith(delimiter) else _next(body, delimiter, 0)
    while not body.startswith(b"--", at + len(delimiter)):
        line_end = body.find(_END, at)
        head_end = body.find(_END + _END, line_end, line_end + _LONGEST_HEAD) if line_end >= 0 else -1
        if head_end < 0:
            raise _wrong("A part of the form has no end to its head.")
        # A part may have no head, or no content: then what separates them is shared.
        at = _next(body, delimiter, head_end + len(_END))
        yield body[line_end:head_end], min(head_end + 2 * len(_END), at - len(_END)), at - len(_END)


def _next(body: bytes, delimiter: bytes, start: int) -> int:
    """Find the next line that separates parts; what merely begins like one does not."""
    while (found := body.find(_END + delimiter, start)) >= 0:
        at = found + len(_END)
        rest = body[at + len(delimiter) : at + len(delimiter) + 2]
        if rest in {b"--", _END} or rest[:1] in {b" ", b"\t"}:
            return at
        start = at
    raise _wrong("The body is not the multipart form that its content type says.")


def _field_name(head: bytes) -> str:
    """Give the name of a part that is a field and no file."""
    for line in head.split(_END):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            header = Message()
            header["content-disposition"] = value.decode("utf-8", "replace").strip()
            if header.get_param("filename", header="content-disposition") is not None:
                return ""
            return str(header.get_param("name", "", header="content-disposition"))
    return ""


def _wrong(message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param="body")
