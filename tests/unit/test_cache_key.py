"""What makes two requests the same to the cache, and how long an answer may be kept."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.cache.core.key import NO_MARK, Question, derive, unpack
from services.cache.core.lifetime import checked_stale_s, checked_ttl_s

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
    "idempotency_key": "once",
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
    streamed=st.booleans(),
)


def _counts(question: Question) -> Question:
    """Blank what does not count; two bytes are too few to say anything about streaming."""
    question = dataclasses.replace(question, streamed=False)
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
    expected = "0884e0e06472fc30da3285680d96c3878877e8567a8a3e11c7328ffd4b8f64b0"

    assert expected == derive(QUESTION).digest.hex()


@pytest.mark.parametrize("change", [b'"stream":true,', b'"stream":true,"stream_options":{"a":[]},', b""])
def test_a_question_asked_as_a_stream_is_the_same_question(change: bytes) -> None:
    """Asked for as a stream or not, with options of streams or without, there is one key."""
    asked = dataclasses.replace(QUESTION, body=b"{" + change + QUESTION.body[1:], streamed=bool(change))

    assert derive(QUESTION) == derive(asked)


SPELT = [b'{"a":1,"b":2}', b'{"b":2,"a":1}', b'{"a": 1,"b":2}', b'{"a":1,"b":2} ', b'{"a":1.0,"b":2}']


def test_the_same_in_other_words_is_another_question() -> None:
    """Order, whitespace and spelling count: matches are exact."""
    assert len(SPELT) == len({derive(dataclasses.replace(QUESTION, body=body)).digest for body in SPELT})


def test_an_idempotency_key_is_the_whole_key() -> None:
    """Whatever else is asked under it has the same place, and tells itself by another digest."""
    questions = [
        dataclasses.replace(QUESTION, idempotency_key="once", **{field: value})  # type: ignore[arg-type]
        for field, value in CHANGES.items()
        if field not in ("account_id", "gateway_id", "idempotency_key", "custom_key")
    ]
    keys = [
        derive(question) for question in (*questions, dataclasses.replace(QUESTION, idempotency_key="once"))
    ]

    assert (1, len(keys)) == (len({key.digest for key in keys}), len({key.request for key in keys}))
    custom = dataclasses.replace(QUESTION, idempotency_key="once", custom_key="mine")
    assert keys[-1] == derive(custom)


def test_those_who_share_a_chosen_name_share_its_mark() -> None:
    """What follows a line feed tells answers apart, and not what a purge of the name is of."""
    keys = [
        derive(dataclasses.replace(QUESTION, custom_key=name))
        for name in ("mine", "mine\n", "mine\nnarrow", "m")
    ]

    assert (4, 2) == (len({key.digest for key in keys}), len({key.mark for key in keys}))
    assert NO_MARK not in {key.mark for key in keys}


@given(_questions, st.integers(0, 2**63))
def test_a_key_comes_back_as_it_was(question: Question, born: int) -> None:
    """What callers bring back is what they were given."""
    key = derive(question)

    assert dataclasses.replace(key, born=born) == unpack(key.pack(born))


@pytest.mark.parametrize("packed", [b"", b"short", bytes(63), bytes(65), bytes(97)])
def test_other_bytes_are_no_key(packed: bytes) -> None:
    """What has not a key's length is none."""
    assert unpack(packed) is None


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


@pytest.mark.parametrize("stale_s", [-0.001, 2_592_000.001, float("nan"), float("inf")])
def test_an_old_answer_is_of_use_for_so_long(stale_s: float) -> None:
    """Past its time, an answer may be used for thirty days more at most."""
    with pytest.raises(GatewayError) as caught:
        checked_stale_s(stale_s)

    assert (Reason.INVALID_REQUEST, "stale") == (caught.value.reason, caught.value.metadata["param"])
    assert [0.0, 2_592_000.0] == [checked_stale_s(0.0), checked_stale_s(2_592_000.0)]
