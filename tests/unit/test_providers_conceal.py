"""What a provider tells back of the credential that it was asked with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.conceal import Concealer, credentials_in

KEY = "sk-canary-5b1f0e77c2d9"
SECRETS = (b"abcabcabcabd", b"bcabcabcabca-token")


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ([("authorization", f"Bearer {KEY}")], "", [KEY]),
        ([("authorization", KEY), ("x-other", "not-a-key-at-all")], "", [KEY]),
        ([("x-api-key", KEY), ("api-key", KEY)], "", [KEY]),
        ([("authorization", "AWS4-HMAC-SHA256 Credential=AKIA/1/2/3/aws4_request")], "", []),
        (
            [("x-amz-security-token", "token/of+a/session")],
            "",
            ["token/of+a/session", r"token\/of+a\/session"],
        ),
        ([], f"alt=sse&key={KEY}", [KEY]),
        ([], "key=with%2Bplus-and-more", ["with%2Bplus-and-more", "with+plus-and-more"]),
        # Placeholders, which may stand in any text.
        ([("authorization", "Bearer ollama")], "key=none", []),
    ],
)
def test_credentials(headers: list[tuple[str, str]], query: str, expected: list[str]) -> None:
    """Keys are found in every place where a provider reads one."""
    assert [value.encode() for value in expected] == list(credentials_in(headers, query))


def test_a_mask_is_as_long_as_what_it_hides() -> None:
    """No length that was announced becomes wrong."""
    body = f'{{"error":"Incorrect API key provided: {KEY}"}}'.encode()

    assert body.replace(KEY.encode(), b"*" * len(KEY)) == Concealer([KEY.encode()]).whole(body)


def concealed(pieces: list[bytes]) -> bytes:
    concealer = Concealer(SECRETS)
    return b"".join([*map(concealer.feed, pieces), concealer.finish()])


@given(
    st.lists(st.sampled_from([*SECRETS, b"abc", b"abcabcabcab", b"-token", b"d", b"\n"]), max_size=8),
    st.data(),
)
def test_no_cut_lets_a_secret_through(parts: list[bytes], data: st.DataObject) -> None:
    """However a body is cut, no secret comes out, nothing else is lost, and all stays as long as it was."""
    body = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    told = concealed(pieces)

    assert not any(secret in told for secret in SECRETS)
    assert len(body) == len(told)
    assert all(there in {was, ord("*")} for was, there in zip(body, told, strict=True))


def test_what_ends_an_event_is_not_held_back() -> None:
    """A piece goes on at once, but for an end that may be the beginning of a secret."""
    concealer = Concealer([KEY.encode()])

    for piece in (b"data: {}\n\n", b'{"a": 1}', b"word"):
        assert piece == concealer.feed(piece)
    assert b"te" == concealer.feed(b"tesk-")
    assert b"sk-x" == concealer.feed(b"x")
