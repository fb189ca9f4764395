"""
Whole answers and errors, written as responses of generateContent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from google.genai.types import GenerateContentResponse

from services.providers.dialects.failures import FailureClass
from services.providers.dialects.gemini.client_side import CLIENT
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.sides import AnswerContext
from services.providers.dialects.usage import UsageCounts, read_gemini_usage

CONTEXT = AnswerContext(model="asked", created_s=7, answer_id="0" * 24)

Json = dict[str, Any]


def write(*choices: Choice, **members: Any) -> Json:
    body = CLIENT.write_answer(Completion(choices=list(choices), **members), CONTEXT)
    GenerateContentResponse.model_validate_json(body)
    document: Json = orjson.loads(body)
    return document


def candidate(*parts: Any, finish: Finish = Finish.STOP, **members: Any) -> Json:
    found: Json = write(Choice(parts=list(parts), finish=finish, **members))["candidates"][0]
    return found


def parts_of(*parts: Any) -> list[Json]:
    found: list[Json] = candidate(*parts)["content"]["parts"]
    return found


def test_a_whole_response() -> None:
    """A response has all members that Google's own has."""
    usage = UsageCounts(input_tokens=3, output_tokens=2)

    assert {
        "candidates": [
            {"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "served",
        "responseId": "x-1",
    } == write(Choice(parts=[TextPart(text="hi")]), id="x-1", model="served", usage=usage)


def test_nothing_is_known() -> None:
    """An answer without content, id, model and usage is a response with ours, and a part without text."""
    found = write()

    assert ("asked", "0" * 24, 0) == (
        found["modelVersion"],
        found["responseId"],
        found["usageMetadata"]["totalTokenCount"],
    )
    assert [{"text": ""}] == found["candidates"][0]["content"]["parts"]


def test_thoughts_text_and_calls() -> None:
    """Thoughts are marked as such, and arguments of calls are objects."""
    assert [
        {"text": "hm", "thought": True},
        {"text": "hi"},
        {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "call_" + "0" * 24 + "3", "name": "g", "args": {}}},
    ] == parts_of(
        ReasoningPart(text="hm"),
        TextPart(text="hi"),
        ToolCallPart(id="c", name="f", arguments='{"a":1}', signature="c2ln"),
        ToolCallPart(id="", name="g"),
    )


@pytest.mark.parametrize("signature", ["not base64!", "\ud800"])
def test_signatures_that_are_none(signature: str) -> None:
    """What Google's client could not decode is not written."""
    assert [{"text": "hm", "thought": True}] == parts_of(
        ReasoningPart(text="hm", signature=signature, origin="gemini")
    )


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        (Finish.STOP, "STOP"),
        (Finish.TOOL_CALLS, "STOP"),
        (Finish.LENGTH, "MAX_TOKENS"),
        (Finish.CONTENT_FILTER, "SAFETY"),
    ],
)
def test_reasons_to_stop(finish: Finish, expected: str) -> None:
    """Why the model stopped is told in Google's words."""
    assert expected == candidate(TextPart(text="a"), finish=finish)["finishReason"]


@pytest.mark.parametrize("arguments", ["[1]", "{broken", "null", '{"a":' * 300 + "1" + "}" * 300])
def test_calls_with_broken_arguments(arguments: str) -> None:
    """A call that is none is left out, and the response says so as Google would."""
    found = candidate(TextPart(text="a"), ToolCallPart(id="c", name="f", arguments=arguments))

    assert ([{"text": "a"}], "MALFORMED_FUNCTION_CALL") == (found["content"]["parts"], found["finishReason"])
    cut = candidate(ToolCallPart(id="c", name="f", arguments=arguments), finish=Finish.LENGTH)
    assert "MAX_TOKENS" == cut["finishReason"]


def test_usage() -> None:
    """Thoughts are counted beside the answer and cached tokens within the prompt, to be read again alike."""
    counts = UsageCounts(
        input_tokens=100,
        output_tokens=30,
        cache_read_tokens=60,
        reasoning_tokens=20,
        input_audio_tokens=40,
        output_audio_tokens=5,
    )
    found = write(usage=counts)["usageMetadata"]

    assert {
        "promptTokenCount": 100,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 20,
        "cachedContentTokenCount": 60,
        "totalTokenCount": 130,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 60},
            {"modality": "AUDIO", "tokenCount": 40},
        ],
        "candidatesTokensDetails": [
            {"modality": "TEXT", "tokenCount": 5},
            {"modality": "AUDIO", "tokenCount": 5},
        ],
    } == found
    assert replace(counts, output_image_tokens=0) == read_gemini_usage(found)


def test_several_candidates() -> None:
    """Every choice is a candidate under its index."""
    choices = [Choice(index=index, parts=[TextPart(text=str(index))]) for index in range(2)]

    assert [(0, "0"), (1, "1")] == [
        (found["index"], found["content"]["parts"][0]["text"]) for found in write(*choices)["candidates"]
    ]


def test_logprobs() -> None:
    """Log probabilities are told as Google tells them."""
    entry = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -2}, {"token": 1}]}

    assert {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -2}]}],
    } == candidate(TextPart(text="a"), logprobs=[entry, {"token": None}])["logprobsResult"]


def test_citations() -> None:
    """Sources on the web ground the answer, in whichever form the provider gave them."""
    nested = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}
    flat = {"type": "url_citation", "url": "https://b"}
    found = candidate(TextPart(text="a", citations=[nested, flat, {"type": "file_citation"}]))

    assert [
        {"web": {"uri": "https://a", "title": "A"}},
        {"web": {"uri": "https://b", "title": ""}},
    ] == found["groundingMetadata"]["groundingChunks"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            MediaPart(kind="image", media_type="image/png", data="aGk="),
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        ),
        (
            MediaPart(kind="image", media_type="image/png", url="https://a"),
            {"fileData": {"mimeType": "image/png", "fileUri": "https://a"}},
        ),
        (RefusalPart(text="no"), {"text": "no"}),
    ],
)
def test_other_parts(part: Any, expected: Json) -> None:
    """Media are data or an address, and words of refusal are text."""
    assert [expected] == parts_of(part)


@pytest.mark.parametrize(
    "part",
    [
        ReasoningPart(text="hm", signature="c2ln", origin="gemini"),
        ReasoningPart(text="hm", signature="s=", origin="anthropic"),
        ReasoningPart(sealed="x", origin="openai", item_id="rs_1"),
        ToolCallPart(id="c", name="f", arguments='{"a":1}', signature="c2ln"),
    ],
)
def test_what_a_client_gives_back(part: Any) -> None:
    """Thoughts and calls that a client replays are read as what they were, seals of any provider included."""
    content = {"role": "model", "parts": parts_of(part)}

    assert [part] == CLIENT.read_request(orjson.dumps({"contents": [content]}), Notes()).messages[0].parts


def test_free_text_of_a_call() -> None:
    """A call with free text has it as an object, which is all that a call can have here."""
    assert {"input": "x"} == parts_of(ToolCallPart(id="c", name="f", arguments="x", custom=True))[0][
        "functionCall"
    ]["args"]


def test_halves_of_surrogate_pairs() -> None:
    """Text that no JSON can hold is written with a stand-in for what is not there."""
    assert [{"text": "a?"}] == parts_of(TextPart(text="a\ud800"))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (413, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (502, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (520, "INTERNAL"),
        (529, "UNAVAILABLE"),
    ],
)
def test_errors(status: int, expected: str) -> None:
    """Errors have Google's shape, with the word that goes with the status."""
    assert {"error": {"code": status, "message": "no", "status": expected}} == orjson.loads(
        CLIENT.write_error(status, FailureClass.SERVER, "no")
    )
