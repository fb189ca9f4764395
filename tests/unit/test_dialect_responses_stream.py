from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Completion, Finish
from services.providers.dialects.neutral.conversation import TextPart
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Event,
    Finished,
    KeepAlive,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.sides import AnswerContext
from services.providers.dialects.openai_responses.client_side import CLIENT
from services.providers.dialects.openai_responses.seals import Seal, carried
from services.providers.dialects.usage import UsageCounts
from tests.fakes.neutral_answers import answers, batches
from tests.fakes.responses_events import checked_events, checked_response, sdk_client

if TYPE_CHECKING:
    from tests.fakes.neutral_answers import MadeAnswer

Json = dict[str, Any]
START = Started("up_1", "served")
USAGE = UsageReport(UsageCounts(input_tokens=10, output_tokens=5))
STOP = Finished(Finish.STOP)
CUT = Finished(Finish.LENGTH)
CITATION = {"start_index": 0, "end_index": 2, "url": "https://e.com", "title": "E"}
LOGPROB = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}


def context(**members: Any) -> AnswerContext:
    """Return the context of a request."""
    request = CLIENT.read_request(orjson.dumps({"model": "asked", "input": "Hello", **members}), Notes())
    return AnswerContext(
        model="asked", created_s=7, answer_id="0" * 24, include_usage=True, echo=request.echo
    )


def run(*events: Event, of: AnswerContext | None = None) -> bytes:
    writer = CLIENT.stream_writer(of or context())
    return writer.write([START, *events]) + writer.end()


def told(*events: Event, of: AnswerContext | None = None) -> list[Json]:
    return checked_events(run(*events, of=of))


def kinds(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def items(*events: Event, of: AnswerContext | None = None) -> list[Json]:
    """Return the items of the response in the last event."""
    found: list[Json] = told(*events, of=of)[-1]["response"]["output"]
    return found


def test_order_of_events() -> None:
    """Case 153: the events of a text come in OpenAI's order, numbered densely, the whole response last."""
    events = told(TextDelta("Hel"), TextDelta("lo"), STOP, USAGE)

    assert [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ] == kinds(events)
    assert list(range(10)) == [event["sequence_number"] for event in events]
    assert [("in_progress", None, [])] * 2 == [
        (event["response"]["status"], event["response"]["usage"], event["response"]["output"])
        for event in events[:2]
    ]
    last = events[-1]["response"]
    assert ("completed", "resp_up_1", "served", 15, "Hello") == (
        last["status"],
        last["id"],
        last["model"],
        last["usage"]["total_tokens"],
        last["output"][0]["content"][0]["text"],
    )


def test_tool_events() -> None:
    """Case 153: a call's arguments are told in pieces, then whole; one without any has an empty object."""
    events = told(
        ToolCallStarted(0, "c1", "f"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ":1}"),
        ToolCallClosed(0),
        ToolCallStarted(1, "c2", "f"),
        Finished(Finish.TOOL_CALLS),
    )
    call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]

    assert ["created", "in_progress", *call[:2], *call[1:], *call, "completed"] == kinds(events)
    assert [("c1", '{"a":1}', "completed"), ("c2", "{}", "completed")] == [
        (item["call_id"], item["arguments"], item["status"]) for item in events[-1]["response"]["output"]
    ]


def test_parallel_calls() -> None:
    """Calls that are written at the same time each keep their place, whatever ends first."""
    found = told(
        ToolCallStarted(0, "c1", "f"),
        ToolCallStarted(1, "c2", "g"),
        ToolCallDelta(1, '{"b":2}'),
        ToolCallDelta(0, '{"a":1}'),
        ToolCallClosed(1),
        ToolCallClosed(0),
        TextDelta("Done"),
        Finished(Finish.TOOL_CALLS),
    )

    assert [("c1", '{"a":1}'), ("c2", '{"b":2}')] == [
        (item["call_id"], item["arguments"]) for item in found[-1]["response"]["output"][:2]
    ]
    assert [0, 1, 2] == [event["output_index"] for event in found if event["type"].endswith("item.added")]


@pytest.mark.parametrize(
    ("events", "of", "deltas"),
    [
        ([ToolCallStarted(0, "c", "g", custom=True), ToolCallDelta(0, "fr"), ToolCallDelta(0, "ee")], {}, 2),
        (
            [ToolCallStarted(0, "c", "g"), ToolCallDelta(0, '{"input":'), ToolCallDelta(0, '"free"}')],
            {"tools": [{"type": "custom", "name": "g"}]},
            1,
        ),
    ],
)
def test_custom_tool_events(events: list[Event], of: Json, deltas: int) -> None:
    """Case 153: custom tools stream free text, also where the provider could only give JSON."""
    found = told(*events, Finished(Finish.TOOL_CALLS), of=context(**of))

    assert [
        "output_item.added",
        *["custom_tool_call_input.delta"] * deltas,
        "custom_tool_call_input.done",
        "output_item.done",
    ] == kinds(found)[2:-1]
    assert ("custom_tool_call", "free") == (
        found[-1]["response"]["output"][0]["type"],
        found[-1]["response"]["output"][0]["input"],
    )


def test_refusal_stream() -> None:
    """Case 153: a refusal streams as a part of its own, and the response is completed."""
    events = told(RefusalDelta("I can"), RefusalDelta("not."), Finished(Finish.CONTENT_FILTER))

    assert [
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ] == kinds(events)[2:]
    assert [{"type": "refusal", "refusal": "I cannot."}] == events[-1]["response"]["output"][0]["content"]


def test_text_then_refusal() -> None:
    """Words of two kinds are two parts of one message."""
    events = told(TextDelta("Well"), RefusalDelta("no"), TextDelta("yes"), STOP)

    assert [0, 1, 2] == [event["content_index"] for event in events if event["type"].endswith("part.added")]
    assert 1 == len(events[-1]["response"]["output"])


def test_reasoning_stream() -> None:
    """Case 153: thoughts are a summary, and their seal comes with the item that is whole."""
    events = told(
        ReasoningDelta("H"), ReasoningDelta("m"), ReasoningClosed("s", "", "anthropic"), TextDelta("Hi"), STOP
    )

    assert [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ] == kinds(events)[2:9]
    assert {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": carried(Seal(signature="s", origin="anthropic")),
    }.items() <= events[8]["item"].items()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([ReasoningClosed(sealed="x", origin="openai", item_id="rs_9"), STOP], [("rs_9", "x")]),
        ([ReasoningClosed(), TextDelta("Hi"), STOP], []),
        ([ReasoningDelta("Hm"), TextDelta("Hi"), STOP], [("rs_up_1000", None)]),
        (
            [ToolCallStarted(0, "c", "f", signature="t"), STOP],
            [("rs_up_1000", carried(Seal(signature="t", origin="gemini", call_id="c")))],
        ),
    ],
)
def test_seals_in_a_stream(events: list[Event], expected: list[tuple[str, str | None]]) -> None:
    """Case 153: sealed thoughts stand alone, a call's signature stands before it, nothing makes no item."""
    found = items(*events, of=context(include=["reasoning.encrypted_content"]))

    assert expected == [
        (item["id"], item["encrypted_content"]) for item in found if item["type"] == "reasoning"
    ]


def test_annotations_and_logprobs() -> None:
    """Case 149: sources and probabilities stream with the text that they belong to."""
    citation = {"type": "url_citation", "url_citation": CITATION}
    events = told(
        CitationAdded({"type": "odd"}),
        TextDelta("Hi", logprobs=[LOGPROB]),
        CitationAdded(citation),
        CitationAdded(citation),
        STOP,
    )
    added = [event for event in events if event["type"].endswith("annotation.added")]

    assert [(0, {"type": "url_citation", **CITATION}), (1, {"type": "url_citation", **CITATION})] == [
        (event["annotation_index"], event["annotation"]) for event in added
    ]
    assert [[LOGPROB], [LOGPROB]] == [
        event["logprobs"] for event in events if "output_text.d" in event["type"]
    ]
    assert (2, [LOGPROB]) == (
        len(events[-1]["response"]["output"][0]["content"][0]["annotations"]),
        events[-1]["response"]["output"][0]["content"][0]["logprobs"],
    )


def test_images() -> None:
    """An image is an item with its data; other media has no place."""
    events = told(MediaDelta("audio/wav", "AA=="), TextDelta("Look"), MediaDelta("image/png", "AAAA"), STOP)

    assert ["output_item.added", "image_generation_call.completed", "output_item.done"] == kinds(events)[
        -4:-1
    ]
    assert ("AAAA", "png") == (
        events[-1]["response"]["output"][1]["result"],
        events[-1]["response"]["output"][1]["output_format"],
    )


@pytest.mark.parametrize(
    ("events", "reason", "statuses"),
    [
        ([TextDelta("Hi"), CUT], "max_output_tokens", ["incomplete"]),
        ([TextDelta("Hi"), Finished(Finish.CONTENT_FILTER)], "content_filter", ["incomplete"]),
        (
            [TextDelta("Hi"), ToolCallStarted(0, "c", "f"), ToolCallClosed(0), CUT],
            "max_output_tokens",
            ["completed", "incomplete"],
        ),
        (
            [ToolCallStarted(0, "c", "f"), ToolCallStarted(1, "d", "f"), CUT],
            "max_output_tokens",
            ["completed", "incomplete"],
        ),
    ],
)
def test_incomplete(events: list[Event], reason: str, statuses: list[str]) -> None:
    """Case 153: an answer that was cut ends with `response.incomplete`, which says why."""
    last = told(*events, USAGE)[-1]

    assert ("response.incomplete", "incomplete", {"reason": reason}, statuses) == (
        last["type"],
        last["response"]["status"],
        last["response"]["incomplete_details"],
        [item["status"] for item in last["response"]["output"]],
    )


def test_empty_answer() -> None:
    """An answer without content is a whole response all the same, its unknown usage zero."""
    events = told(STOP)

    assert ["created", "in_progress", "completed"] == kinds(events)
    assert 0 == events[-1]["response"]["usage"]["total_tokens"]


def test_failure() -> None:
    """Case 153: a stream that breaks ends with `error` and `response.failed`, never `response.completed`."""
    writer = CLIENT.stream_writer(context())
    out = writer.write([START, TextDelta("Hi"), USAGE]) + writer.fail(502, FailureClass.CUT, "It stopped.")
    events = checked_events(out, clean=False)

    assert ["error", "failed"] == kinds(events)[-2:]
    assert ("upstream_cut", "It stopped.", None) == tuple(
        events[-2][name] for name in ("code", "message", "param")
    )
    assert ("failed", {"code": "server_error", "message": "It stopped."}, 15) == (
        events[-1]["response"]["status"],
        events[-1]["response"]["error"],
        events[-1]["response"]["usage"]["total_tokens"],
    )
    assert b"response.completed" not in out


@pytest.mark.parametrize("failure", list(FailureClass))
def test_failure_before_the_answer(failure: FailureClass) -> None:
    """Case 145: before anything was written there is only the error, and the writer says so."""
    writer = CLIENT.stream_writer(context())
    assert b": keep-alive\n\n" == writer.write([START, KeepAlive()])
    assert not writer.started

    events = checked_events(writer.fail(500, failure, "No"), clean=False)

    assert [("error", 0, "No")] == [(one["type"], one["sequence_number"], one["message"]) for one in events]
    assert events[0]["code"]


@pytest.mark.parametrize("failure", list(FailureClass))
def test_codes_of_failed_responses(failure: FailureClass) -> None:
    """A failed response has one of the few codes that OpenAI's has."""
    writer = CLIENT.stream_writer(context())
    out = writer.write([TextDelta("Hi")]) + writer.fail(500, failure, "No")

    assert "failed" == checked_events(out, clean=False)[-1]["response"]["status"]


def test_other_choices_are_not_shown() -> None:
    """A response has one answer, the first."""
    assert [] == items(TextDelta("B", choice=1), Finished(Finish.STOP, choice=1), STOP)


def test_sdk_reads_a_stream() -> None:
    """Case 153: OpenAI's SDK puts the events together to the response that they end with."""
    out = run(
        ReasoningDelta("Hm"),
        TextDelta("Hel"),
        TextDelta("lo"),
        ToolCallStarted(0, "c1", "f"),
        ToolCallDelta(0, '{"a":1}'),
        Finished(Finish.TOOL_CALLS),
        USAGE,
    )
    with sdk_client(out, "text/event-stream").responses.stream(model="m", input="x") as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()

    assert (["Hel", "Hello"], "Hello", ["reasoning", "message", "function_call"]) == (
        snapshots,
        final.output_text,
        [item.type for item in final.output],
    )


def _split(made: MadeAnswer, sizes: list[int]) -> bytes:
    writer = CLIENT.stream_writer(context())
    return b"".join(writer.write(batch) for batch in batches(made.events, sizes)) + writer.end()


@settings(max_examples=50)
@given(answers(), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_any_answer_nests(made: MadeAnswer, sizes: list[int]) -> None:
    """Case 153: whatever the answer and however its events come, they nest, and OpenAI's SDK reads them."""
    out = _split(made, sizes)
    checked_events(out)
    with sdk_client(out, "text/event-stream").responses.stream(model="m", input="x") as stream:
        last = [event.type for event in stream][-1]

    assert last in {"response.completed", "response.incomplete"}


def _joined(completion: Completion) -> Completion:
    """Put texts together that a stream cannot tell apart."""
    parts = completion.choices[0].parts
    for at in range(len(parts) - 1, 0, -1):
        before, after = parts[at - 1], parts[at]
        if isinstance(before, TextPart) and isinstance(after, TextPart):
            before.text += after.text
            del parts[at]
    return completion


def _without_ids(response: Json) -> Json:
    return {**response, "output": [{**item, "id": ""} for item in response["output"]]}


@given(answers(), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_whole_and_stream_agree(made: MadeAnswer, sizes: list[int]) -> None:
    """A streamed answer ends with the response that the same answer makes as a whole."""
    last = checked_events(_split(made, sizes))[-1]["response"]
    whole = checked_response(orjson.loads(CLIENT.write_answer(_joined(made.completion), context())))

    assert _without_ids(whole) == _without_ids(last)


EVENTS: list[Event] = [
    START,
    USAGE,
    STOP,
    CUT,
    KeepAlive(),
    TextDelta("a"),
    TextDelta(""),
    RefusalDelta("b"),
    ReasoningDelta("c"),
    ReasoningClosed(),
    ReasoningClosed("s", "", "gemini"),
    CitationAdded({"type": "url_citation", "url_citation": CITATION}),
    MediaDelta("image/png", "AAAA"),
    *[ToolCallStarted(index, f"c{index}", "f") for index in (0, 1)],
    *[ToolCallDelta(index, "{}") for index in (0, 1, 2)],
    *[ToolCallClosed(index) for index in (0, 1, 2)],
]


@given(st.lists(st.sampled_from(EVENTS), max_size=20))
def test_any_order_of_events(events: list[Event]) -> None:
    """Whatever a reader gives, in any order, what is written nests."""
    assert kinds(told(*events))[-1] in {"completed", "incomplete"}
