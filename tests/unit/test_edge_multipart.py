"""What the edge reads of multipart forms."""

from __future__ import annotations

import pytest
from aiohttp import FormData
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.edge.wire.multipart import fields, is_form

WANTED = ("model", "stream")
TYPE = "multipart/form-data; boundary=xyz"


def part(name: str, value: bytes, extra: str = "") -> bytes:
    return b'--xyz\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
        name.encode(),
        extra.encode(),
        value,
    )


END = b"--xyz--\r\n"
MODEL = part("model", b"openai/whisper-1")
FILE = part("file", b"\x00\xff\r\n--xy\r\n--xyzz\r\n\r\n", '; filename="a.mp3"')


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (MODEL + END, {"model": "openai/whisper-1"}),
        (FILE + MODEL + part("stream", b"true") + END, {"model": "openai/whisper-1", "stream": "true"}),
        (MODEL + FILE + END, {"model": "openai/whisper-1"}),
        (b"preamble\r\n" + MODEL + END + b"epilogue", {"model": "openai/whisper-1"}),
        (part("model", b"") + END, {"model": ""}),
        (MODEL + part("model", b"other/x") + END, {"model": "openai/whisper-1"}),
        (part("model", b"file", '; filename="m"') + END, {}),
        (part("model", b"x" * 5000) + END, {}),
        (part("other", b"x") + END, {}),
        (END, {}),
        (b"--xyz\r\ncontent-disposition:form-data;name=model\r\n\r\na/b\r\n--xyz--", {"model": "a/b"}),
        (b"--xyz \t\r\nContent-Disposition: form-data; name=model\r\n\r\na/b\r\n--xyz--", {"model": "a/b"}),
        (b"--xyz\r\n\r\nno head\r\n" + MODEL + END, {"model": "openai/whisper-1"}),
    ],
)
def test_fields(body: bytes, found: dict[str, str]) -> None:
    """Small fields are found wherever they stand; files are stepped over, and never taken for fields."""
    assert found == fields(TYPE, body, WANTED)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", MODEL + END),
        (TYPE, b""),
        (TYPE, b"{}"),
        (TYPE, b"--xyz"),
        (TYPE, b"--xyz\r\n"),
        (TYPE, part("file", b"cut off")[:-2]),
        (TYPE, b"--xyz\r\n" + b"x: y\r\n" * 4000 + b"\r\n\r\n--xyz--"),
        (TYPE, part("x", b"") * 1001 + END),
    ],
)
def test_what_is_no_form(content_type: str, body: bytes) -> None:
    """A form that is cut off, endless or none is refused."""
    with pytest.raises(GatewayError) as caught:
        fields(content_type, body, WANTED)

    assert Reason.BAD_CHAT_FORMAT == caught.value.reason


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("multipart/form-data; boundary=x", True),
        ("Multipart/Form-Data", True),
        ("application/json", False),
        ("multipart/mixed", False),
        ("", False),
    ],
)
def test_content_types(content_type: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """Only a form is read as one."""
    assert expected is is_form(content_type)


@given(st.binary(max_size=200), st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=20))
def test_forms_that_aiohttp_writes(content: bytes, model: str) -> None:
    """The field is read whatever the file before it holds."""
    form = FormData()
    form.add_field("file", content, filename="a.bin")
    form.add_field("model", model)
    written = form()
    pieces = b"".join(_written(written))

    assert {"model": model} == fields(written.content_type or "", pieces, WANTED)


@given(
    st.lists(
        st.sampled_from([b"--xyz", b"--xyz--", b"\r\n", b"\n", b"name=model", b"Content-Disposition: a;"])
    )
)
def test_reading_never_fails_in_another_way(pieces: list[bytes]) -> None:
    """Any bytes give fields or a refusal."""
    try:
        fields(TYPE, b"".join(pieces), WANTED)
    except GatewayError as error:
        assert Reason.BAD_CHAT_FORMAT == error.reason  # noqa: PT017 - either outcome is right


def _written(form: object) -> list[bytes]:
    import asyncio

    class Writer:
        def __init__(self) -> None:
            self.pieces: list[bytes] = []

        async def write(self, data: bytes) -> None:
            self.pieces.append(bytes(data))

    writer = Writer()
    asyncio.run(form.write(writer))  # type: ignore[attr-defined]  # aiohttp's payload
    return writer.pieces
