"""What makes two requests the same to the cache, and how long an answer may be kept."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.cache.core.key import KEY_BYTES, Question, derive
from services.cache.core.lifetime import checked_ttl_s

QUESTION = Question(
    account_id="acme",
    gateway_id="default",
    custom_key=None,
    provider="openai",
    model="gpt-x",
    endpoint="compat/chat/completions",
    credential_digest=b"d" * 32,
    body=b'{"model":"openai/gpt-x"}',
)
CHANGES = {
    "account_id": "acm",
    "gateway_id": "other",
    "custom_key": "mine",
    "provider": "openaig",
    "model": "pt-x",
    "endpoint": "compat/embeddings",
    "credential_digest": b"",
    "body": b'{"model":"openai/gpt-x" }',
}
_questions = st.builds(
    Question,
    account_id=st.text("ab", min_size=1, max_size=2),
    gateway_id=st.text("ab", min_size=1, max_size=2),
    custom_key=st.none() | st.text("ab", max_size=2),
    provider=st.text("ab", max_size=2),
    model=st.text("ab", max_size=2),
    endpoint=st.text("ab", max_size=2),
    credential_digest=st.binary(max_size=2),
    body=st.binary(max_size=2),
)


def _counts(question: Question) -> Question:
    """Blank what does not count when the client chose a key."""
    if question.custom_key is None:
        return question
    return dataclasses.replace(question, provider="", model="", endpoint="", credential_digest=b"", body=b"")


@pytest.mark.parametrize("field", CHANGES)
def test_every_part_counts(field: str) -> None:
    """A request that differs in any one part has another key."""
    changed = dataclasses.replace(QUESTION, **{field: CHANGES[field]})  # type: ignore[arg-type]  # by name

    assert derive(QUESTION) != derive(changed)


@given(_questions, _questions)
def test_two_questions_share_a_key_only_when_they_are_the_same(one: Question, other: Question) -> None:
    """No two different questions read alike; a chosen key replaces everything but account and gateway."""
    assert (_counts(one) == _counts(other)) == (derive(one) == derive(other))


def test_a_key_is_stable() -> None:
    """The key of a request is the same in every process and release, or its version was changed."""
    expected = "6df6451cf28451c6498ecf4c08963671c60683360e047feff6085a67e439f96d"

    assert expected == derive(QUESTION).hex()
    assert KEY_BYTES == len(derive(QUESTION))


@pytest.mark.parametrize("ttl_s", [60.0, 300.0, 2_592_000.0])
def test_a_lifetime_within_the_bounds_is_taken(ttl_s: float) -> None:
    """A minute to thirty days."""
    assert ttl_s == checked_ttl_s(ttl_s)


@pytest.mark.parametrize("ttl_s", [-1.0, 0.0, 59.999, 2_592_000.001, float("nan"), float("inf")])
def test_a_lifetime_out_of_bounds_is_refused(ttl_s: float) -> None:
    """Less or more is an error, not a guess."""
    with pytest.raises(GatewayError) as caught:
        checked_ttl_s(ttl_s)

    assert Reason.INVALID_REQUEST is caught.value.reason
