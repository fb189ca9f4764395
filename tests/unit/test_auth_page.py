"""Positions in a list of tokens."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.auth.core.page import Position, decode, encode

TIMES = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds it


@given(TIMES, st.from_regex(r"[a-z2-7]{12}", fullmatch=True))
def test_a_position_comes_back_as_it_was(created_at: datetime, name: str) -> None:
    """Encoding loses nothing, not even microseconds."""
    position = Position(created_at=created_at, id=name)

    assert position == decode(encode(position))


def test_the_empty_text_is_the_start() -> None:
    """No page token means the first page."""
    assert decode("") is None


def _encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "%%%",
        "äöü",
        _encoded("1"),
        _encoded("1:"),
        _encoded(":a"),
        _encoded("9" * 18 + ":a"),
        "/w==",
        "\x00",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """What was not made here is a malformed request, never a failure of ours."""
    with pytest.raises(GatewayError) as caught:
        decode(text)

    assert (caught.value.reason, caught.value.metadata) == (Reason.INVALID_REQUEST, {"param": "page_token"})


@given(st.text(max_size=60))
def test_no_text_breaks_the_decoder(text: str) -> None:
    """Any text is a position, the start, or refused."""
    try:
        decode(text)
    except GatewayError as error:
        assert error.reason == Reason.INVALID_REQUEST  # noqa: PT017 - both ends are allowed
