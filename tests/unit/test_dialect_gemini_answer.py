"""
Whole answers of Gemini as chat completions, usage and errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.gemini.failures import read_error, retry_delay
from services.providers.dialects.gemini.target_side import gemini_target
from services.providers.dialects.neutral.translate import translate_request
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts, read_gemini_usage, read_openai_usage

if TYPE_CHECKING:
    from services.providers.dialects.answer import Answer

Json = dict[str, Any]
REQUEST = b'{"messages":[{"role":"user","content":"Hello?"}]}'


def candidate(*parts: Any, reason: str = "STOP", **more: Any) -> Json:
    """Write a candidate."""
    return {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason, **more}


def call(name: str = "f", **more: Any) -> Json:
    """Write a part that calls a tool."""
    return {"functionCall": {"name": name, "args": {"a": 1}, **more}}


def read(document: Any) -> Answer:
    """Translate an answer."""
    target = gemini_target(vertex=False)
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    made = translate_request(CLIENT, target, REQUEST, model="gemini-m", stream=False, now_s=5, strict=False)
    return made.read_answer(body)


def choices(*candidates: Json, **more: Any) -> list[Any]:
    """Return the choices of the completion that candidates become."""
    found: list[Any] = orjson.loads(read({"candidates": list(candidates), **more}).body)["choices"]
    return found


def test_a_completion() -> None:
    """Id, model, text and usage come over; what Google does not say is filled in."""
    answer = read(
        {
            "candidates": [candidate({"text": "Hi"}, {"text": "."})],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
            "modelVersion": "gemini-2.5-flash-001",
            "responseId": "r1",
        }
    )

    document = orjson.loads(answer.body)
    assert ("r1", "gemini-2.5-flash-001", 5) == (document["id"], document["model"], document["created"])
    assert ("Hi.", "stop") == (
        document["choices"][0]["message"]["content"],
        document["choices"][0]["finish_reason"],
    )
    assert (3, 2) == (document["usage"]["prompt_tokens"], document["usage"]["completion_tokens"])
    assert (3, "stop", ()) == (
        answer.usage and answer.usage.input_tokens,
        answer.finish_reason,
        answer.warnings,
    )


def test_parallel_calls_have_ids_of_their_own() -> None:
    """Case 86: Calls without an id get one each, also calls that are alike; one with an id keeps it."""
    alike = choices(candidate(call(), call(), call(id="own")), responseId="r1")
    again = choices(candidate(call(), call(), call(id="own")), responseId="r1")
    other = choices(candidate(call(), call()), responseId="r2")

    first, second, third = (entry["id"] for entry in alike[0]["message"]["tool_calls"])
    assert 3 == len({first, second, third})
    assert "own" == third
    assert alike == again
    assert first != other[0]["message"]["tool_calls"][0]["id"]


def test_signatures_are_handed_out() -> None:
    """Case 87: A call's signature is handed out with the call, for the client to send it back."""
    found = choices(candidate({**call(), "thoughtSignature": "c2ln"}, call()))

    calls = found[0]["message"]["tool_calls"]
    assert {"google": {"thought_signature": "c2ln"}} == calls[0]["extra_content"]
    assert "extra_content" not in calls[1]


def test_thoughts_are_not_content() -> None:
    """Case 99: Thoughts go into `reasoning_content`, with the signature that came behind them."""
    message = choices(
        candidate({"text": "Hm", "thought": True}, {"text": "Hi."}, {"text": "", "thoughtSignature": "c2ln"})
    )[0]["message"]

    assert ("Hm", "Hi.") == (message["reasoning_content"], message["content"])
    assert [("Hm", "c2ln")] == [
        (block["thinking"], block["signature"]) for block in message["thinking_blocks"]
    ]


def test_calls_finish_as_tool_calls() -> None:
    """Case 100: Google says STOP of a call too, and OpenAI's clients go by `tool_calls`."""
    found = choices(candidate(call("g")))[0]

    assert "tool_calls" == found["finish_reason"]
    function = found["message"]["tool_calls"][0]["function"]
    assert ("g", {"a": 1}, None) == (
        function["name"],
        orjson.loads(function["arguments"]),
        found["message"]["content"],
    )


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("RECITATION", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("OTHER", "stop"),
        ("FINISH_REASON_UNSPECIFIED", "stop"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_reasons(reason: str, expected: str) -> None:
    """Case 101: Every reason comes to one of OpenAI's; one that is not known to a stop with a warning."""
    answer = read({"candidates": [candidate({"text": "a"}, reason=reason)]})

    assert expected == orjson.loads(answer.body)["choices"][0]["finish_reason"]
    assert (reason in {"OTHER", "SOMETHING_NEW", "FINISH_REASON_UNSPECIFIED"}) == bool(answer.warnings)


@pytest.mark.parametrize(
    ("reason", "failure_class", "status"),
    [
        ("MALFORMED_FUNCTION_CALL", FailureClass.SERVER, 500),
        ("UNEXPECTED_TOOL_CALL", FailureClass.SERVER, 500),
        ("MALFORMED_RESPONSE", FailureClass.SERVER, 500),
        ("MISSING_THOUGHT_SIGNATURE", FailureClass.INVALID_REQUEST, 400),
    ],
)
def test_reasons_that_are_failures(reason: str, failure_class: FailureClass, status: int) -> None:
    """Case 101: A call that the model got wrong is the provider's failure, before anything was handed out."""
    broken = {"finishReason": reason, "finishMessage": "print(f("}

    failure = read({"candidates": [broken]}).failure

    assert failure is not None
    assert (failure_class, status, False, "print(f(") == (
        failure.failure_class,
        failure.status,
        failure.started,
        failure.message,
    )
    assert "print(f(" == orjson.loads(failure.body)["error"]["message"]


def test_a_blocked_prompt() -> None:
    """Case 102: A prompt that is refused is answered by one choice that was filtered."""
    answer = read(
        {
            "promptFeedback": {"blockReason": "SAFETY"},
            "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
        }
    )

    document = orjson.loads(answer.body)
    assert ["content_filter"] == [choice["finish_reason"] for choice in document["choices"]]
    assert (None, 0) == (answer.failure, document["usage"]["completion_tokens"])


@pytest.mark.parametrize(
    "given",
    [
        {"finishReason": "STOP"},
        {"finishReason": "STOP", "content": None},
        {"finishReason": "STOP", "content": {"role": "model"}},
        {"finishReason": "STOP", "content": {"parts": []}},
        {"finishReason": "STOP", "content": {"parts": [{"text": ""}, None, {}]}},
    ],
)
def test_candidates_without_content(given: Json) -> None:
    """Case 103: A candidate that only stops is an answer without content."""
    found = choices(given)[0]

    assert ("stop", True) == (found["finish_reason"], not found["message"]["content"])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"1", b'{"candidates":[]}', b"{}", b'{"candidates":[1]}', b"[{},{}]"]
)
def test_answers_that_are_none(body: bytes) -> None:
    """Case 103: An answer without any candidate is malformed, and not an empty success."""
    with pytest.raises(GatewayError) as caught:
        read(body)

    assert Reason.UPSTREAM_MALFORMED is caught.value.reason


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "promptTokenCount": 10,
                "cachedContentTokenCount": 4,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 7,
                "totalTokenCount": 22,
            },
            UsageCounts(input_tokens=10, output_tokens=12, cache_read_tokens=4, reasoning_tokens=7),
        ),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 12,
                "thoughtsTokenCount": 7,
                "totalTokenCount": 22,
            },
            UsageCounts(input_tokens=10, output_tokens=12, reasoning_tokens=7),
        ),
        (
            {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 3,
                "candidatesTokenCount": 1,
                "totalTokenCount": 14,
            },
            UsageCounts(input_tokens=13, output_tokens=1),
        ),
        (
            {"promptTokenCount": 10, "totalTokenCount": 15, "thoughtsTokenCount": 5},
            UsageCounts(input_tokens=10, output_tokens=5, reasoning_tokens=5),
        ),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, UsageCounts(input_tokens=10, output_tokens=0)),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 2,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 4},
                    {"modality": "AUDIO", "tokenCount": 6},
                ],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}, None],
            },
            UsageCounts(
                input_tokens=10,
                output_tokens=2,
                input_audio_tokens=6,
                output_audio_tokens=2,
                output_image_tokens=0,
            ),
        ),
        ({}, UsageCounts()),
        ({"promptTokenCount": "10", "candidatesTokenCount": -1, "totalTokenCount": True}, UsageCounts()),
    ],
)
def test_usage(usage: Json, expected: UsageCounts) -> None:
    """Case 104: Output has thoughts in it, input what came from the cache; what is not said is not known."""
    assert expected == read_gemini_usage(usage)


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 25}, 15),
        ({"prompt_tokens": 10, "total_tokens": 25}, 15),
        ({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 25}, 4),
        ({"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}, 0),
        ({"prompt_tokens": 10, "completion_tokens": 0}, 0),
    ],
)
def test_usage_of_the_compatible_api(usage: Json, output: int) -> None:
    """Case 109: Google's OpenAI API leaves the output out, or says none: the total tells it."""
    assert output == read_openai_usage(usage).output_tokens


def _error(status: str, message: str = "No.", **more: Any) -> Json:
    return {"error": {"code": 400, "message": message, "status": status, **more}}


BAD_KEY = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]


@pytest.mark.parametrize(
    ("status", "document", "expected"),
    [
        (400, _error("INVALID_ARGUMENT"), FailureClass.INVALID_REQUEST),
        (400, _error("INVALID_ARGUMENT", details=BAD_KEY), FailureClass.AUTHENTICATION),
        (400, _error("FAILED_PRECONDITION"), FailureClass.AUTHENTICATION),
        (401, _error("UNAUTHENTICATED"), FailureClass.AUTHENTICATION),
        (403, _error("PERMISSION_DENIED"), FailureClass.AUTHENTICATION),
        (404, _error("NOT_FOUND"), FailureClass.NOT_FOUND),
        (429, [_error("RESOURCE_EXHAUSTED")], FailureClass.RATE_LIMIT),
        (500, _error("INTERNAL"), FailureClass.SERVER),
        (503, _error("UNAVAILABLE"), FailureClass.SERVER),
        (504, _error("DEADLINE_EXCEEDED"), FailureClass.SERVER),
        (
            400,
            _error(
                "INVALID_ARGUMENT",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            ),
            FailureClass.CONTEXT_LENGTH,
        ),
        (418, {}, FailureClass.INVALID_REQUEST),
        (502, {"error": "x"}, FailureClass.SERVER),
    ],
)
def test_error_classes(status: int, document: Any, expected: FailureClass) -> None:
    """Case 108: Google's word tells the class, in a list or not, unless the wording tells more."""
    assert expected is read_error(status, orjson.dumps(document))[0]


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        ("34s", 34.0),
        ("34.07s", 34.07),
        ("0s", 0.0),
        ({"seconds": 12}, 12.0),
        ({"seconds": "12"}, 12.0),
        ("soon", None),
        (7, None),
        (None, None),
    ],
)
def test_retry_delays(delay: Any, expected: float | None) -> None:
    """Case 151: Google's time to wait stands among an error's details, as a duration."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}

    assert expected == retry_delay(orjson.dumps([_error("RESOURCE_EXHAUSTED", details=[None, {}, info])]))
    assert retry_delay(b"<html>") is None


def test_an_error_within_a_success() -> None:
    """Case 108: An error that came with status 200, in a list, is an error."""
    failure = read([{"error": {"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}}]).failure

    assert failure is not None
    assert (FailureClass.SERVER, 503, "Busy.") == (failure.failure_class, failure.status, failure.message)


def test_sources_and_probabilities() -> None:
    """Sources on the web become annotations, and probabilities of tokens OpenAI's entries."""
    found = choices(
        candidate(
            {"text": "Hi"},
            groundingMetadata={
                "groundingChunks": [{"web": {"uri": "https://h", "title": "H"}}, {"web": None}]
            },
            citationMetadata={"citationSources": [{"uri": "https://h"}, {"uri": "https://i"}]},
            logprobsResult={
                "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}, {}],
                "topCandidates": [{"candidates": [{"token": "Ho", "logProbability": -1}]}],
            },
        )
    )[0]

    urls = [entry["url_citation"]["url"] for entry in found["message"]["annotations"]]
    assert ["https://h", "https://i"] == urls
    entry = found["logprobs"]["content"][0]
    assert ("Hi", -0.5, [72, 105], "Ho") == (
        entry["token"],
        entry["logprob"],
        entry["bytes"],
        entry["top_logprobs"][0]["token"],
    )


def test_pictures() -> None:
    """A picture that the model made is handed out; a draft among its thoughts is not."""
    picture = {"inlineData": {"mimeType": "image/png", "data": "eA=="}}

    message = choices(candidate({**picture, "thought": True}, picture))[0]["message"]

    assert ["data:image/png;base64,eA=="] == [entry["image_url"]["url"] for entry in message["images"]]


def test_several_candidates() -> None:
    """Each candidate is a choice, by its index."""
    found = choices(candidate({"text": "a"}), candidate({"text": "b"}, index=1))

    assert [(0, "a"), (1, "b")] == [(one["index"], one["message"]["content"]) for one in found]


junk = st.recursive(
    st.sampled_from([None, True, 0, -1, 1.5, "", "STOP", "SAFETY", "image/png", "eA=="]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "name", "uri"]), inner)
    ),
    max_leaves=4,
)


def _with(*names: str) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(names), junk, max_size=4) | junk


parts = st.fixed_dictionaries(
    {},
    optional={
        "text": junk,
        "thought": junk,
        "thoughtSignature": junk,
        "functionCall": _with("id", "name", "args"),
        "inlineData": _with("mimeType", "data"),
    },
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "content": st.fixed_dictionaries({"parts": st.lists(parts | junk, max_size=3)}) | junk,
                    "finishReason": junk,
                    "index": junk,
                    "groundingMetadata": st.fixed_dictionaries({"groundingChunks": st.lists(_with("web"))})
                    | junk,
                    "citationMetadata": _with("citations", "citationSources"),
                    "logprobsResult": _with("chosenCandidates", "topCandidates"),
                },
            )
            | junk,
            max_size=3,
        )
        | junk,
        "usageMetadata": _with(
            "promptTokenCount", "candidatesTokenCount", "totalTokenCount", "promptTokensDetails"
        ),
        "promptFeedback": _with("blockReason"),
        "error": _with("code", "message", "status", "details"),
        "responseId": junk,
        "modelVersion": junk,
    },
)


@settings(max_examples=150, deadline=None)
@given(documents | junk)
def test_no_answer_crashes(document: Any) -> None:
    """Whatever the provider sends is read, or malformed."""
    try:
        answer = read(document)
    except GatewayError as error:
        wrong = error
    else:
        assert isinstance(orjson.loads(answer.body), dict)
        return
    assert Reason.UPSTREAM_MALFORMED is wrong.reason
