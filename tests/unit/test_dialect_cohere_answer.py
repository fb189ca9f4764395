from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.cohere.native import read_native_answer
from services.providers.dialects.cohere.side import TARGET
from services.providers.dialects.failures import FailureClass, classify, error_message
from services.providers.dialects.neutral.translate import translate_request
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from services.providers.dialects.answer import Answer

REQUEST = orjson.dumps({"messages": [{"role": "user", "content": "Hi"}]})
TEXT = {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}
USAGE = {
    "billed_units": {"input_tokens": 5.0, "output_tokens": 2.0},
    "tokens": {"input_tokens": 71.0, "output_tokens": 4.0},
    "cached_tokens": 3.0,
}


def answer(**members: Any) -> dict[str, Any]:
    return {"id": "a1", "finish_reason": "COMPLETE", "message": TEXT, **members}


def read(document: Any) -> Answer:
    translation = translate_request(
        CLIENT, TARGET, REQUEST, model="command-a", stream=False, now_s=1, strict=False
    )
    return translation.read_answer(orjson.dumps(document))


def choice(document: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(read(document).body)["choices"][0]
    return found


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("ERROR_TOXIC", "content_filter"),
        ("ERROR_LIMIT", "length"),
        ("BRAND_NEW", "stop"),
        (None, "stop"),
    ],
)
def test_finish_reasons(word: str | None, expected: str) -> None:
    """Case 134: each of Cohere's reasons has OpenAI's word for it."""
    document = answer(finish_reason=word)

    assert expected == choice(document)["finish_reason"] == read(document).finish_reason


def test_unknown_finish_reason() -> None:
    """Case 134: a reason that nobody knows is a stop, and is warned of."""
    assert ("finish_reason=BRAND_NEW",) == read(answer(finish_reason="BRAND_NEW")).warnings


@pytest.mark.parametrize(
    ("word", "expected"), [("ERROR", FailureClass.SERVER), ("TIMEOUT", FailureClass.TIMEOUT)]
)
def test_ends_that_are_none(word: str, expected: FailureClass) -> None:
    """Case 134: an answer that ended in an error is an error and no stop."""
    found = read(answer(finish_reason=word))

    assert found.failure is not None
    assert expected is found.failure.failure_class
    assert found.failure.status >= 500
    assert "error" in orjson.loads(found.body)


def test_usage() -> None:
    """Case 135: the client is told what the model read and wrote, and what is metered is what is paid for."""
    found = read(answer(usage=USAGE))
    told = orjson.loads(found.body)["usage"]

    assert (71, 4, 75) == (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"])
    assert UsageCounts(input_tokens=5, output_tokens=2, cache_read_tokens=3) == found.usage


@pytest.mark.parametrize(
    ("usage", "told", "metered"),
    [
        ({"billed_units": {"input_tokens": 5, "output_tokens": 2}}, (5, 2), (5, 2)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 3}}, (9, 3), (9, 3)),
        (
            {"tokens": {"input_tokens": 9}, "billed_units": {"input_tokens": 4, "output_tokens": 2}},
            (9, 2),
            (4, 2),
        ),
    ],
)
def test_usage_in_part(usage: dict[str, Any], told: tuple[int, int], metered: tuple[int, int]) -> None:
    """Case 135: the one count stands in where the other is missing."""
    found = read(answer(usage=usage))
    shown = orjson.loads(found.body)["usage"]

    assert found.usage is not None
    assert told == (shown["prompt_tokens"], shown["completion_tokens"])
    assert metered == (found.usage.input_tokens, found.usage.output_tokens)


@pytest.mark.parametrize("usage", [None, {}, [], {"billed_units": {"search_units": 1}}, {"tokens": None}])
def test_usage_of_no_tokens(usage: Any) -> None:
    """Case 135: what is no number of tokens is not counted as one."""
    assert read(answer(usage=usage)).usage is None


def test_tool_calls() -> None:
    """Case 134: an answer that calls tools ends with that, whatever its own word; the plan is reasoning."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    found = choice(answer(message={"role": "assistant", "tool_plan": "Look.", "tool_calls": [call]}))

    assert "tool_calls" == found["finish_reason"]
    assert ([call], None, "Look.") == (
        found["message"]["tool_calls"],
        found["message"]["content"],
        found["message"]["reasoning_content"],
    )


def test_thoughts() -> None:
    """Thoughts are reasoning and no content."""
    content = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]
    message = choice(answer(message={"role": "assistant", "content": content}))["message"]

    assert ("Hm.", "Yes.") == (message["reasoning_content"], message["content"])


def test_citations() -> None:
    """A citation of a source with an address becomes an annotation."""
    source = {"type": "document", "id": "d", "document": {"url": "https://a.b", "title": "T"}}
    citation = {"start": 0, "end": 3, "text": "Yes", "sources": [source], "type": "TEXT_CONTENT"}
    message = choice(answer(message={**TEXT, "citations": [citation]}))["message"]

    cited = {"start_index": 0, "end_index": 3, "url": "https://a.b", "title": "T"}
    assert [{"type": "url_citation", "url_citation": cited}] == message["annotations"]


def test_logprobs() -> None:
    """Probabilities keep their text; one of several tokens is the product of theirs."""
    found = choice(answer(logprobs=[{"text": "Yes", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}]))

    expected = {"token": "Yes", "logprob": -0.75, "bytes": [89, 101, 115], "top_logprobs": []}
    assert [expected] == found["logprobs"]["content"]


@pytest.mark.parametrize("document", [{}, [], {"id": "a"}, {"finish_reason": "COMPLETE"}, "x"])
def test_no_answer(document: Any) -> None:
    """What is no answer is malformed."""
    with pytest.raises(GatewayError) as error:
        read(document)

    assert Reason.UPSTREAM_MALFORMED is error.value.reason


def test_error_as_a_success() -> None:
    """Case 145: a success that holds an error is a failure."""
    found = read({"message": "too many tokens: size limit exceeded by 11326 tokens."})

    assert found.failure is not None
    assert FailureClass.CONTEXT_LENGTH is found.failure.failure_class


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "invalid request: list of documents must not be empty", FailureClass.INVALID_REQUEST),
        (400, "too many tokens: size limit exceeded by 11326 tokens.", FailureClass.CONTEXT_LENGTH),
        (401, "invalid api token", FailureClass.AUTHENTICATION),
        (402, "Please add or update your payment method", FailureClass.AUTHENTICATION),
        (404, "model 'x' not found", FailureClass.NOT_FOUND),
        (
            429,
            "You are using a Trial key, which is limited to 40 API calls / minute.",
            FailureClass.RATE_LIMIT,
        ),
        (499, "request cancelled", FailureClass.INVALID_REQUEST),
        (503, "no healthy upstream", FailureClass.SERVER),
    ],
)
def test_errors(status: int, message: str, expected: FailureClass) -> None:
    """Case 57: Cohere's errors, which are a message alone, have a class and keep their words."""
    body = orjson.dumps({"id": "e", "message": message})

    assert (expected, message) == (classify(status, body), error_message(status, body))


@pytest.mark.parametrize(
    ("document", "expected", "finish"),
    [
        (answer(usage=USAGE), UsageCounts(input_tokens=5, output_tokens=2, cache_read_tokens=3), "stop"),
        (
            {"text": "Hi", "finish_reason": "MAX_TOKENS", "meta": USAGE},
            UsageCounts(input_tokens=5, output_tokens=2, cache_read_tokens=3),
            "length",
        ),
        (
            {"embeddings": {"float": [[1.0]]}, "meta": {"billed_units": {"input_tokens": 4}}},
            UsageCounts(input_tokens=4),
            "",
        ),
        ({"results": [], "meta": {"billed_units": {"search_units": 1}}}, None, ""),
        (
            {
                "generations": [{"text": "x", "finish_reason": "COMPLETE"}],
                "meta": {"billed_units": {"output_tokens": 4}},
            },
            UsageCounts(output_tokens=4),
            "stop",
        ),
        ([1], None, ""),
    ],
)
def test_native_answers(document: Any, expected: UsageCounts | None, finish: str) -> None:
    """Case 135: native answers of both versions are metered by what is paid for, and stay as they are."""
    body = orjson.dumps(document)
    found = read_native_answer(body)

    assert (body, expected, finish) == (found.body, found.usage, found.finish_reason)


def test_native_bytes_that_are_not_json() -> None:
    """A native answer that is no JSON, although it says so, stays as it is, and is a failure."""
    found = read_native_answer(b"\x00")

    assert b"\x00" == found.body
    assert found.failure is not None
    assert FailureClass.MALFORMED is found.failure.failure_class


NAMES = st.sampled_from(
    [
        "message",
        "content",
        "text",
        "thinking",
        "tool_calls",
        "function",
        "name",
        "usage",
        "tokens",
        "billed_units",
        "input_tokens",
        "citations",
        "sources",
        "document",
        "start",
        "end",
        "logprobs",
        "finish_reason",
        "error",
        "meta",
        "generations",
        "tool_plan",
        "url",
        "id",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(NAMES, children, max_size=4),
    max_leaves=12,
)


@given(document=st.dictionaries(NAMES, JSON, max_size=6))
def test_no_answer_is_too_strange(document: dict[str, Any]) -> None:
    """Any JSON at all is read, or malformed; natively it is handed on."""
    try:
        read(document)
    except GatewayError as error:
        assert Reason.UPSTREAM_MALFORMED is error.reason  # noqa: PT017 - both ways are right
    body = orjson.dumps(document)
    assert body == read_native_answer(body).body
