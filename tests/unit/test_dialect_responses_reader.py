from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.events import (
    Ended,
    Event,
    Failed,
    Finished,
    KeepAlive,
    ReasoningClosed,
    ReasoningDelta,
    Started,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.neutral.fold import folded
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.sides import AnswerContext, InBandError
from services.providers.dialects.openai_responses.client_side import CLIENT
from services.providers.dialects.openai_responses.target_side import responses_target
from services.providers.dialects.usage import UsageCounts
from tests.fakes.neutral_answers import answers, batches
from tests.fakes.odd_json import bent

if TYPE_CHECKING:
    from tests.fakes.neutral_answers import MadeAnswer

Json = dict[str, Any]
TARGET = responses_target(openai_models=True)
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 15,
}
COUNTS = UsageCounts(input_tokens=10, output_tokens=5, cache_read_tokens=4, reasoning_tokens=3)
HEAD: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-5.4",
    "service_tier": "default",
}
CITATION = {"start_index": 0, "end_index": 2, "url": "https://e.com", "title": "E"}
FLAT = {"type": "url_citation", **CITATION}
NESTED = {"type": "url_citation", "url_citation": CITATION}
LOGPROB = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
REASONING: Json = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "A"}, {"type": "summary_text", "text": "B"}],
    "encrypted_content": "gA",
}
MESSAGE: Json = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [
        {"type": "output_text", "text": "Hi", "annotations": [FLAT], "logprobs": [LOGPROB]},
        {"type": "refusal", "refusal": "No"},
    ],
}
CALL: Json = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
CUSTOM: Json = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "g", "input": "free"}
IMAGE: Json = {
    "type": "image_generation_call",
    "id": "ig_1",
    "status": "completed",
    "result": "AAAA",
    "output_format": "webp",
}
SERVER: list[Json] = [
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "x"},
    },
    {"type": "mcp_call", "id": "mcp_1", "arguments": "{}", "name": "n", "server_label": "s", "error": None},
    {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "1",
        "container_id": "c",
        "outputs": None,
        "status": "completed",
    },
    {"type": "of_tomorrow"},
]
PARTS: list[Any] = [
    ReasoningPart(text="A\n\nB", sealed="gA", origin="openai", item_id="rs_1"),
    TextPart(text="Hi", citations=[NESTED]),
    RefusalPart(text="No"),
    ToolCallPart(id="c1", name="f", arguments='{"a":1}'),
    ToolCallPart(id="c2", name="g", arguments="free", custom=True),
    MediaPart(kind="image", media_type="image/webp", data="AAAA"),
]
ALL = [REASONING, *SERVER, MESSAGE, CALL, CUSTOM, IMAGE]


def response(*output: Any, status: Any = "completed", **members: Any) -> Json:
    return {**HEAD, "status": status, "error": None, "output": list(output), "usage": USAGE, **members}


def whole(document: Any) -> Completion:
    return TARGET.read_answer(orjson.dumps(document))


def sse(*events: Json) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (one["type"].encode(), orjson.dumps(one)) for one in events)


def event(kind: str, **members: Any) -> Json:
    return {"type": f"response.{kind}", "sequence_number": 0, **members}


def _message_events(place: int, item: Json) -> list[Json]:
    events = []
    for at, part in enumerate(item["content"]):
        where = {"output_index": place, "item_id": item["id"], "content_index": at}
        events.append(event("content_part.added", part=part, **where))
        if part["type"] == "refusal":
            events += [event("refusal.delta", delta=piece, **where) for piece in part["refusal"]]
            events.append(event("refusal.done", refusal=part["refusal"], **where))
        else:
            events.append(event("output_text.delta", delta=part["text"], logprobs=part["logprobs"], **where))
            events += [
                event("output_text.annotation.added", annotation=one, annotation_index=0, **where)
                for one in part["annotations"]
            ]
            events.append(event("output_text.done", text=part["text"], logprobs=part["logprobs"], **where))
        events.append(event("content_part.done", part=part, **where))
    return events


def _reasoning_events(place: int, item: Json) -> list[Json]:
    events = []
    for at, part in enumerate(item["summary"]):
        where = {"output_index": place, "item_id": item["id"], "summary_index": at}
        events.append(event("reasoning_summary_part.added", part={**part, "text": ""}, **where))
        events += [event("reasoning_summary_text.delta", delta=piece, **where) for piece in part["text"]]
        events.append(event("reasoning_summary_text.done", text=part["text"], **where))
        events.append(event("reasoning_summary_part.done", part=part, **where))
    return events


def _call_events(place: int, item: Json) -> list[Json]:
    where = {"output_index": place, "item_id": item["id"]}
    kind, member = (
        ("custom_tool_call_input", "input") if "input" in item else ("function_call_arguments", "arguments")
    )
    return [
        *(event(f"{kind}.delta", delta=piece, **where) for piece in item[member]),
        event(f"{kind}.done", **{member: item[member]}, **where),
    ]


WRITERS = {
    "message": _message_events,
    "reasoning": _reasoning_events,
    "function_call": _call_events,
    "custom_tool_call": _call_events,
}


def streamed(document: Json, *, deltas: bool = True, items: bool = True) -> bytes:
    """Write the events of a response as OpenAI does, or as hosts do that leave some of them out."""
    begun = {**document, "status": "in_progress", "output": [], "usage": None}
    events = [event("created", response=begun), event("in_progress", response=begun)]
    for place, item in enumerate(document["output"] if items else ()):
        empty = {"content": [], "summary": [], "arguments": "", "input": "", "encrypted_content": "partial"}
        added = {name: empty.get(name, value) for name, value in item.items()}
        events.append(event("output_item.added", output_index=place, item=added))
        if deltas and item["type"] in WRITERS:
            events += WRITERS[item["type"]](place, item)
        events.append(event("output_item.done", output_index=place, item=item))
    return sse(*events, event(document["status"], response=document))


def read(data: bytes, size: int = 10**6) -> list[Event]:
    reader = TARGET.stream_reader(1 << 20)
    events = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
    return [one for one in [*events, *reader.finish()] if not isinstance(one, KeepAlive)]


def test_whole_answer() -> None:
    """Case 153: every kind of item is read, those of the provider's own tools are passed over."""
    choice = Choice(parts=PARTS, finish=Finish.TOOL_CALLS, logprobs=[LOGPROB])

    assert Completion(
        id="resp_1", model="gpt-5.4", choices=[choice], usage=COUNTS, service_tier="default"
    ) == whole(response(*ALL))


@pytest.mark.parametrize(
    ("document", "finish"),
    [
        (response(MESSAGE), Finish.STOP),
        (response(CALL), Finish.TOOL_CALLS),
        (response(CALL, MESSAGE), Finish.TOOL_CALLS),
        (
            response(MESSAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            Finish.LENGTH,
        ),
        (
            response(MESSAGE, status="incomplete", incomplete_details={"reason": "content_filter"}),
            Finish.CONTENT_FILTER,
        ),
        (response(MESSAGE, status="incomplete"), Finish.LENGTH),
        (response(), Finish.STOP),
    ],
)
def test_finish(document: Json, finish: Finish) -> None:
    """Why the model stopped is told from the status and from what it called, whole and streamed."""
    found = folded(read(streamed(document)))

    assert (finish, finish) == (whole(document).choices[0].finish, found.choices[0].finish)


@pytest.mark.parametrize(
    ("document", "failure"),
    [
        (
            response(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow"}),
            FailureClass.RATE_LIMIT,
        ),
        (response(status="failed", error={"code": "server_error", "message": "Oh"}), FailureClass.SERVER),
        (response(status="failed"), FailureClass.SERVER),
        (response(status="cancelled"), FailureClass.SERVER),
        (
            {"error": {"message": "The maximum context length is 1", "code": None}},
            FailureClass.CONTEXT_LENGTH,
        ),
    ],
)
def test_failed_answer(document: Json, failure: FailureClass) -> None:
    """A success that holds a failed response is an error."""
    with pytest.raises(InBandError) as caught:
        whole(document)

    assert (failure, True) == (caught.value.failure_class, bool(caught.value.message))


@pytest.mark.parametrize(
    "document",
    [[], 1, {}, {"output": {}}, response(output=None), response(status="in_progress"), response(status=1)],
)
def test_no_answer(document: Any) -> None:
    """What is no whole response is malformed."""
    with pytest.raises(GatewayError) as caught:
        whole(document)

    assert Reason.UPSTREAM_MALFORMED is caught.value.reason


def test_parts_that_say_nothing() -> None:
    """Items that are empty or broken leave nothing behind."""
    odd = [
        {"type": "reasoning", "id": "rs_1", "summary": None},
        {"type": "message", "content": [1, {"type": "output_text"}, {"type": "refusal"}, {"type": "x"}]},
        {"type": "message"},
        {"type": "function_call", "call_id": "c"},
        {"type": "image_generation_call", "result": None},
        None,
    ]

    assert [] == whole(response(*odd)).choices[0].parts


@pytest.mark.parametrize(("deltas", "items"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_stream(deltas: bool, items: bool, size: int) -> None:  # noqa: FBT001
    """Case 54: the stream of a response is that response, however split and whatever a host leaves out."""
    events = read(streamed(response(*ALL), deltas=deltas, items=items), size)

    assert (whole(response(*ALL)), Ended()) == (folded(events), events[-1])


def test_order_of_events() -> None:
    """Calls are told as they are made, and thoughts are sealed where they end."""
    events = read(streamed(response(REASONING, CALL)))

    assert [
        Started("resp_1", "gpt-5.4", "default"),
        ReasoningDelta("A"),
        ReasoningDelta("\n\n"),
        ReasoningDelta("B"),
        ReasoningClosed(sealed="gA", origin="openai", item_id="rs_1"),
        ToolCallStarted(0, "c1", "f"),
        *[ToolCallDelta(0, piece) for piece in '{"a":1}'],
        ToolCallClosed(0),
        UsageReport(COUNTS),
        Finished(Finish.TOOL_CALLS),
        Ended(),
    ] == events


def test_raw_thoughts() -> None:
    """Thoughts of models that show them whole are thoughts, and no text."""
    events = read(
        sse(
            event("created", response=HEAD),
            event("reasoning_text.delta", output_index=0, content_index=0, delta="Hm"),
            event("reasoning_text.done", output_index=0, content_index=0, text="Hm"),
            event("completed", response=response()),
        )
    )

    assert [ReasoningDelta("Hm")] == events[1:2]
    assert isinstance(events[2], UsageReport)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (
            event(
                "failed", response=response(status="failed", error={"code": "server_error", "message": "Oh"})
            ),
            Failed(FailureClass.SERVER, "Oh"),
        ),
        (
            event("failed", response={"error": None}),
            Failed(FailureClass.SERVER, "The provider reported that its answer failed."),
        ),
        (event("cancelled", response={}), Failed(FailureClass.SERVER, "The provider cancelled its answer.")),
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "Slow", "param": None},
            Failed(FailureClass.RATE_LIMIT, "Slow"),
        ),
        (
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "code": "context_length_exceeded",
                    "message": "Long",
                },
            },
            Failed(FailureClass.CONTEXT_LENGTH, "Long"),
        ),
        (
            {"type": "", "error": {"message": "Bare", "code": "server_error"}},
            Failed(FailureClass.SERVER, "Bare"),
        ),
    ],
)
def test_failures(last: Json, expected: Failed) -> None:
    """Case 145: every way in which a response can fail ends the stream as a failure, first event or not."""
    started = streamed(response(CALL)).rpartition(b"event: ")[0]

    assert expected == read(started + sse(last))[-1]
    assert expected == read(sse(last))[-1]


def test_usage_of_a_failed_response() -> None:
    """What a failed response used is told before its failure."""
    document = response(status="failed", error={"code": "server_error", "message": "Oh"})

    assert UsageReport(COUNTS) == read(sse(event("failed", response=document)))[-2]


def test_cut_anywhere() -> None:
    """Case 144: a stream that ends before its last event is cut, wherever that is."""
    data = streamed(response(*ALL))
    before_last = data.rindex(b"event: ")

    for end in range(0, before_last, 11):
        last = read(data[:end])[-1]
        assert isinstance(last, Failed)
        assert FailureClass.CUT is last.failure_class


def test_last_event_without_its_blank_line() -> None:
    """Case 54: the last event may lack its blank line."""
    assert Ended() == read(streamed(response(MESSAGE)).rstrip(b"\n"))[-1]


def test_malformed_event() -> None:
    """Case 146: an event that is no JSON is a failure, and ends the stream."""
    events = read(sse(event("created", response=HEAD)) + b"data: {\n\n" + streamed(response()))

    assert isinstance(events[-1], Failed)
    assert (FailureClass.MALFORMED, 2) == (events[-1].failure_class, len(events))


def test_events_without_places() -> None:
    """Hosts that do not number items are read by the items' ids."""
    data = streamed(response(REASONING, MESSAGE, CALL, CUSTOM))
    for place in range(4):
        data = data.replace(b'"output_index":%d,' % place, b"").replace(b',"output_index":%d' % place, b"")

    assert b"output_index" not in data
    assert whole(response(REASONING, MESSAGE, CALL, CUSTOM)) == folded(read(data))


def test_parallel_items_without_places() -> None:
    """Hosts that do not number items may still write several at the same time."""
    calls = [{**CALL, "id": f"fc_{name}", "call_id": name} for name in "ab"]
    begun = [event("output_item.added", item={**call, "arguments": ""}) for call in calls]
    pieces = [event("function_call_arguments.delta", item_id=f"fc_{name}", delta=name) for name in "ab"]

    assert [ToolCallDelta(0, "a"), ToolCallDelta(1, "b")] == read(sse(*begun, *pieces))[3:5]


def test_whole() -> None:
    """A reader says whether what came is a whole answer."""
    reader = TARGET.stream_reader(1 << 20)
    data = streamed(response(MESSAGE))
    reader.feed(data[:-2])
    assert not reader.whole

    reader.feed(data[-2:])
    assert reader.whole


def test_odd_order() -> None:
    """Arguments of a call that nobody began are left, and told with the whole item."""
    events = read(
        sse(
            event("function_call_arguments.delta", output_index=0, delta="{"),
            event("output_item.done", output_index=0, item=CALL),
            event("completed", response=response()),
        )
    )

    assert [ToolCallStarted(0, "c1", "f"), ToolCallDelta(0, '{"a":1}'), ToolCallClosed(0)] == events[1:4]


@given(answers(), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 400))
def test_what_is_written_is_read(made: MadeAnswer, sizes: list[int], size: int) -> None:
    """Case 153: a stream as we write it is read as the whole response that it ends with."""
    context = AnswerContext(model="m", created_s=1, answer_id="0" * 24)
    writer = CLIENT.stream_writer(context)
    out = b"".join(writer.write(batch) for batch in batches(made.events, sizes)) + writer.end()
    last = orjson.loads(out[: out.rindex(b"\n\n")].rpartition(b"data: ")[2])["response"]

    assert whole(last) == folded(read(out, size))


WORDS = [
    *(
        "type",
        "text",
        "id",
        "status",
        "output",
        "content",
        "summary",
        "error",
        "message",
        "code",
        "delta",
        "item",
    ),
    *("response.completed", "response.output_item.done", "function_call", "reasoning", "completed", "failed"),
]
EVENTS = [
    orjson.loads(piece.partition(b"data: ")[2]) for piece in streamed(response(*ALL)).split(b"\n\n")[:-1]
]
EVENTS += [{"type": "error", "code": "x", "message": "y"}, {"error": {"message": "z"}}]


@settings(max_examples=50)
@given(bent(response(*ALL), WORDS))
def test_any_json(document: Any) -> None:
    """No JSON makes the reader of answers crash."""
    try:
        completion = whole(document)
    except (GatewayError, InBandError):
        return

    assert 1 == len(completion.choices)


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(EVENTS), max_size=5),
    st.sampled_from(EVENTS).flatmap(lambda one: bent(one, WORDS)),
    st.integers(1, 50),
)
def test_any_events(others: list[Json], odd: Json, size: int) -> None:
    """Case 146: no events make the reader of streams crash, and how they are split makes no difference."""
    documents = [*others, odd, *others]
    data = b"".join(b"data: %s\n\n" % orjson.dumps(document) for document in documents)
    events = read(data)

    assert events == read(data, size)
    assert isinstance(events[-1], Ended | Failed)
    assert not any(isinstance(one, Ended | Failed) for one in events[:-1])


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Case 146: no bytes make the reader of streams crash."""
    assert isinstance(read(data)[-1], Failed)


def test_notes_are_not_needed() -> None:
    """A conversation that a Responses client begins is one that the target writes without loss."""
    request = {"model": "m", "input": [{"role": "user", "content": "Hi"}, REASONING, CALL]}
    conversation = CLIENT.read_request(orjson.dumps(request), Notes(strict=True))
    written = TARGET.write_request(conversation, "gpt-5.4", True, Notes(strict=True))  # noqa: FBT003

    assert ["message", "reasoning", "function_call"] == [
        one["type"] for one in orjson.loads(written.body)["input"]
    ]
