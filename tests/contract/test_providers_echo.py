"""
What a client and a log learn of a key that a careless provider tells back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.provider_calls import chat_request
from tests.fakes.provider_sides import SIDES

if TYPE_CHECKING:
    from tests.fakes.provider_calls import Invoked, ProviderHarness

KEY = "sk-canary-5b1f0e77c2d9"
MASK = "*" * len(KEY)


def all_of(invoked: Invoked) -> str:
    """Return everything that leaves the service."""
    return f"{invoked.head} {invoked.body.decode()} {invoked.tail}"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "steer", ["status=401", "status=400", "first-error=authentication_error", "words=3+error-after=1"]
)
async def test_a_key_that_is_told_back_is_masked(
    slug: str,
    steer: str,
    stream: bool,  # noqa: FBT001
    providers: ProviderHarness,
) -> None:
    """No error has the key of its request in it, whichever way the provider tells it."""
    request = chat_request(
        slug, f"m+{steer}+echo-key", stream=stream, headers={SIDES[slug].key_header: f"Bearer {KEY}"}
    )
    invoked = await providers.invoke(request)

    assert KEY not in all_of(invoked)
    if "status" in steer:
        assert MASK in invoked.started.failure.message
