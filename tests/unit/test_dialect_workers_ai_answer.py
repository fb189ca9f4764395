from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.failures import FailureClass, error_message
from services.providers.dialects.neutral.translate import translate_request
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts
from services.providers.dialects.workers_ai.errors import classify
from services.providers.dialects.workers_ai.native import read_native_answer
from services.providers.dialects.workers_ai.side import target

if TYPE_CHECKING:
    from services.providers.dialects.answer import Answer

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
COUNTS = UsageCounts(input_tokens=5, output_tokens=2)
REQUEST = orjson.dumps({"messages": [{"role": "user", "content": "Hi"}]})


def envelope(result: Any) -> dict[str, Any]:
    return {"result": result, "success": True, "errors": [], "messages": []}


def failed(*errors: Any) -> dict[str, Any]:
    return {"result": {}, "success": False, "errors": list(errors), "messages": []}


def read(document: Any) -> Answer:
    translation = translate_request(
        CLIENT, target(), REQUEST, model="@cf/a/b", stream=False, now_s=1, strict=False
    )
    return translation.read_answer(orjson.dumps(document))


def choice(document: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(read(document).body)["choices"][0]
    return found


@pytest.mark.parametrize(
    ("response", "expected"),
    [("Yes.", "Yes."), (4, "4"), ({"city": "Bern"}, '{"city":"Bern"}'), ([1], "[1]"), (None, "")],
)
def test_text(response: Any, expected: str | None) -> None:
    """An answer is text, whatever a model makes of it."""
    document = envelope({"response": response, "usage": USAGE})
    found = choice(document)

    assert (expected, "stop") == (found["message"]["content"], found["finish_reason"])
    assert COUNTS == read(document).usage


FLAT = {"name": "f", "arguments": {"a": 1}}
WRAPPED = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


@pytest.mark.parametrize(
    ("result", "identity"),
    [
        ({"response": None, "tool_calls": [FLAT]}, "call_f_0"),
        ({"tool_calls": [WRAPPED]}, "c1"),
        (
            {
                "choices": [
                    {"message": {"content": None, "tool_calls": [WRAPPED]}, "finish_reason": "tool_calls"}
                ]
            },
            "c1",
        ),
    ],
)
def test_tool_calls(result: dict[str, Any], identity: str) -> None:
    """Calls are read flat and in OpenAI's shape, with arguments as an object and as text."""
    found = choice(envelope(result))

    assert [{**WRAPPED, "id": identity}] == found["message"]["tool_calls"]
    assert "tool_calls" == found["finish_reason"]


def test_several_calls() -> None:
    """Case 86: calls without an id get one each."""
    found = choice(envelope({"tool_calls": [FLAT, FLAT, {"arguments": 1}, 7]}))

    assert ["call_f_0", "call_f_1"] == [call["id"] for call in found["message"]["tool_calls"]]


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning"])
def test_newer_models(member: str) -> None:
    """Newer models answer in OpenAI's shape within the envelope."""
    message = {"role": "assistant", "content": "Yes.", member: "Hm."}
    logprob = {"token": "Yes", "logprob": -0.5, "bytes": None, "top_logprobs": []}
    held = {"index": 0, "message": message, "finish_reason": "length", "logprobs": {"content": [logprob]}}
    answer = read(envelope({"id": "i", "model": "@cf/a/b", "choices": [held], "usage": USAGE}))
    found = orjson.loads(answer.body)["choices"][0]

    assert ("Yes.", "Hm.", "length") == (
        found["message"]["content"],
        found["message"]["reasoning_content"],
        found["finish_reason"],
    )
    assert ([logprob], "@cf/a/b", COUNTS) == (found["logprobs"]["content"], answer.served_model, answer.usage)


def test_without_an_envelope() -> None:
    """A result that came without its envelope is read as well."""
    assert "Yes." == choice({"response": "Yes."})["message"]["content"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
    ],
)
def test_finish_reasons(word: str, expected: str) -> None:
    """Each reason has OpenAI's word for it."""
    assert expected == choice(envelope({"response": "x", "finish_reason": word}))["finish_reason"]


def test_unknown_finish_reason() -> None:
    """A reason that nobody knows is a stop, and is warned of."""
    assert ("finish_reason=new",) == read(envelope({"response": "x", "finish_reason": "new"})).warnings


@pytest.mark.parametrize(
    "document", [{}, [], "x", envelope(None), envelope([]), envelope({}), envelope({"image": "QUJD"})]
)
def test_no_answer(document: Any) -> None:
    """What is no answer is malformed."""
    with pytest.raises(GatewayError) as error:
        read(document)

    assert Reason.UPSTREAM_MALFORMED is error.value.reason


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (failed({"code": 3040, "message": "Capacity temporarily exceeded"}), FailureClass.RATE_LIMIT),
        (failed({"code": 5007, "message": "No such model"}), FailureClass.NOT_FOUND),
        ({"success": False, "errors": [{"message": "5007: No such model"}]}, FailureClass.NOT_FOUND),
        (envelope({"response": "x", "finish_reason": "error"}), FailureClass.SERVER),
    ],
)
def test_errors_as_successes(document: Any, expected: FailureClass) -> None:
    """Case 145: a success that holds an error is a failure."""
    failure = read(document).failure

    assert failure is not None
    assert expected is failure.failure_class


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": 5007, "message": "No such model @cf/x or task"}, FailureClass.NOT_FOUND),
        (400, {"code": 5004, "message": "Invalid data type"}, FailureClass.INVALID_REQUEST),
        (401, {"code": 10000, "message": "Authentication error"}, FailureClass.AUTHENTICATION),
        (403, {"code": 5018, "message": "The account is not allowed"}, FailureClass.AUTHENTICATION),
        (404, {"code": 3042, "message": "The model name is invalid"}, FailureClass.NOT_FOUND),
        (408, {"code": 3007, "message": "Request timeout"}, FailureClass.SERVER),
        (413, {"code": 3006, "message": "Request is too large"}, FailureClass.INVALID_REQUEST),
        (
            429,
            {"code": 3036, "message": "You have used up your daily free allocation"},
            FailureClass.RATE_LIMIT,
        ),
        (500, {"code": 1000, "message": "AiError: 3040: Capacity exceeded"}, FailureClass.RATE_LIMIT),
        (
            400,
            {"code": 5021, "message": "AiError: exceeded this model context window limit (8192)"},
            FailureClass.CONTEXT_LENGTH,
        ),
        (
            400,
            {"code": 5000, "message": "AiError: This model's maximum context length is 131072"},
            FailureClass.CONTEXT_LENGTH,
        ),
        (500, {"message": "boom"}, FailureClass.SERVER),
    ],
)
def test_errors(status: int, error: dict[str, Any], expected: FailureClass) -> None:
    """Case 57: the errors in Cloudflare's envelope have a class and keep their words."""
    body = orjson.dumps(failed(error))

    assert (expected, error["message"]) == (classify(status, body), error_message(status, body))


@pytest.mark.parametrize(
    ("document", "expected", "finish"),
    [
        (envelope({"response": "x", "usage": USAGE}), COUNTS, "stop"),
        (
            envelope({"shape": [1, 2], "data": [[0.5, 1.0]], "usage": {"prompt_tokens": 3}}),
            UsageCounts(input_tokens=3),
            "",
        ),
        (envelope({"image": "QUJD"}), None, ""),
        (failed({"message": "boom"}), None, ""),
        (7, None, ""),
    ],
)
def test_native_answers(document: Any, expected: UsageCounts | None, finish: str) -> None:
    """Native answers are metered where they count tokens, and stay as they are."""
    body = orjson.dumps(document)
    found = read_native_answer(body)

    assert (body, expected, finish) == (found.body, found.usage, found.finish_reason)


def test_native_bytes_that_are_not_json() -> None:
    """Sound and images stay as they are."""
    assert b"\xff\xd8\xff" == read_native_answer(b"\xff\xd8\xff").body


NAMES = st.sampled_from(
    [
        "result",
        "response",
        "tool_calls",
        "choices",
        "message",
        "content",
        "function",
        "name",
        "arguments",
        "usage",
        "prompt_tokens",
        "errors",
        "success",
        "finish_reason",
        "logprobs",
        "reasoning",
        "refusal",
        "id",
        "model",
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
        reason = None if read(document).body else Reason.INTERNAL
    except GatewayError as error:
        reason = error.reason
    body = orjson.dumps(document)

    assert reason in {None, Reason.UPSTREAM_MALFORMED}
    assert body == read_native_answer(body).body
