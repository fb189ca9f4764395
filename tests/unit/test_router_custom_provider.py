"""Which providers an account may name itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.router.core.custom_provider import CustomProvider, checked
from tests.fakes.peers import TOKEN

NOW = datetime(2026, 1, 2, tzinfo=UTC)
GOOD = CustomProvider(
    account_id="acme",
    id="p",
    slug="mine",
    base_url="https://llm.example/v1",
    name="Mine",
    headers=(("x-team", b"a"),),
    enabled=True,
    created_at=NOW,
    updated_at=NOW,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"slug": "a"},
        {"slug": "a-1-b"},
        {"slug": "a" * 50},
        {"base_url": "https://llm.example"},
        {"base_url": "https://llm.example:8443/a%20b/"},
        {"base_url": "https://192.0.2.1/v1"},
        {"base_url": "https://[2001:db8::1]:443/v1"},
        {"name": ""},
        {"name": "Моя модель"},
        {"headers": ()},
        {"headers": (("x-a", b""),) * 32},
        {"description": "x" * 2000, "link": "y" * 1024},
        {"curl_example": "curl \\\n\t-d x\r\n" + "z" * 8000, "js_example": "z" * 8192},
        {"position": 2**31 - 1},
        {"position": -(2**31) + 1, "beta": True},
    ],
)
def test_what_may_be_kept(changes: dict[str, Any]) -> None:
    """It is returned as it is."""
    provider = replace(GOOD, **changes)

    assert provider == checked(provider)


BAD = [
    ("slug", {"slug": ""}),
    ("slug", {"slug": "A"}),
    ("slug", {"slug": "a--b"}),
    ("slug", {"slug": "-a"}),
    ("slug", {"slug": "a\n"}),
    ("slug", {"slug": "a_b"}),
    ("slug", {"slug": "a" * 51}),
    ("base_url", {"base_url": ""}),
    ("base_url", {"base_url": "http://llm.example"}),
    ("base_url", {"base_url": "HTTPS://llm.example"}),
    ("base_url", {"base_url": "https://"}),
    ("base_url", {"base_url": "https:///v1"}),
    ("base_url", {"base_url": "https://user@llm.example"}),
    ("base_url", {"base_url": "https://user:key@llm.example"}),
    ("base_url", {"base_url": "https://llm.example?key=x"}),
    ("base_url", {"base_url": "https://llm.example/?"}),
    ("base_url", {"base_url": "https://llm.example/#a"}),
    ("base_url", {"base_url": "https://llm.example/#"}),
    ("base_url", {"base_url": "https://llm.example:x"}),
    ("base_url", {"base_url": "https://llm.example:0"}),
    ("base_url", {"base_url": "https://llm.example:99999"}),
    ("base_url", {"base_url": "https://[::1"}),
    ("base_url", {"base_url": "https://llm example"}),
    ("base_url", {"base_url": "https://llm.example/a b"}),
    ("base_url", {"base_url": "https://llm.example\\@10.0.0.1/"}),
    ("base_url", {"base_url": "https://llm.example/\r\nx: y"}),
    ("base_url", {"base_url": "https://llm.example/a\nb"}),
    ("base_url", {"base_url": "https://llm.exam\tple/"}),
    ("base_url", {"base_url": "https://llm.éxample/"}),
    ("base_url", {"base_url": "https://llm.example/a/../b"}),
    ("base_url", {"base_url": "https://llm.example/%2e%2E/b"}),
    ("base_url", {"base_url": "https://llm.example/" + "a" * 1024}),
    ("name", {"name": "a\nb"}),
    ("name", {"name": "a" * 201}),
    ("headers", {"headers": (("X-Team", b"a"),)}),
    ("headers", {"headers": (("", b"a"),)}),
    ("headers", {"headers": (("a b", b"a"),)}),
    ("headers", {"headers": (("authorization", b"Bearer x"),)}),
    ("headers", {"headers": (("x-api-key", b"x"),)}),
    ("headers", {"headers": (("host", b"x"),)}),
    ("headers", {"headers": (("cf-aig-x", b"x"),)}),
    ("headers", {"headers": (("x-a", b"a\r\nb: c"),)}),
    ("headers", {"headers": (("x-a", b"a" * 4097),)}),
    ("headers", {"headers": (("x-a", TOKEN.encode()),)}),
    ("headers", {"headers": (("x-a", b"a"),) * 33}),
    ("description", {"description": "x" * 2001}),
    ("description", {"description": "\x00"}),
    ("link", {"link": "x" * 1025}),
    ("curl_example", {"curl_example": "x" * 8193}),
    ("js_example", {"js_example": "\x1b[0m"}),
    ("position", {"position": 2**31}),
    ("position", {"position": -(2**31)}),
]


@pytest.mark.parametrize(("param", "changes"), BAD)
def test_what_may_not(param: str, changes: dict[str, Any]) -> None:
    """The error names what is wrong."""
    with pytest.raises(GatewayError) as caught:
        checked(replace(GOOD, **changes))

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


def test_a_slug_that_the_operator_uses_is_taken() -> None:
    """An account cannot have the operator's key sent to an address of its own."""
    with pytest.raises(GatewayError) as caught:
        checked(GOOD, taken={"custom-mine"})

    assert (Reason.CONFLICT, {"resource": "custom_provider", "param": "slug"}) == (
        caught.value.reason,
        caught.value.metadata,
    )


@given(st.text(max_size=60), st.text(max_size=60))
def test_checking_never_fails_in_another_way(slug: str, rest: str) -> None:
    """Any text is taken or refused."""
    for provider in (replace(GOOD, slug=slug), replace(GOOD, base_url=f"https://{rest}")):
        try:
            checked(provider)
        except GatewayError as error:
            assert Reason.INVALID_REQUEST == error.reason  # noqa: PT017 - either outcome is right
