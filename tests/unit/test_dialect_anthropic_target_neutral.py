from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.request_writer import write_request
from services.providers.dialects.neutral.conversation import (
    CacheMark,
    Conversation,
    FunctionTool,
    MediaPart,
    Message,
    Part,
    ReasoningOptions,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    Role,
    ServerTool,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes

ANCIENT = "claude-3-haiku-20240307"
OLD = "claude-sonnet-4-5"
ADAPTIVE = "claude-opus-4-6"
NEW = "claude-opus-4-8"
NEWEST = "claude-opus-5-5"
HI = TextPart(text="Hi")


def message(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=list(parts), path="messages[0]")


def sent(
    *messages: Message, model: str = OLD, notes: tuple[str, ...] = (), strict: bool = False, **members: Any
) -> dict[str, Any]:
    """Write a request, and see that exactly these notes were made."""
    taken = Notes(strict=strict)
    conversation = Conversation(messages=list(messages) or [message("user", HI)], **members)
    found = orjson.loads(write_request(conversation, model, False, taken).body)  # noqa: FBT003
    assert notes == taken.taken()
    assert isinstance(found, dict)
    return found


def refused(*messages: Message, model: str = OLD, strict: bool = False, **members: Any) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as caught:
        sent(*messages, model=model, strict=strict, **members)
    return caught.value.reason, caught.value.metadata["param"]


def content(part: Part) -> list[dict[str, Any]]:
    """Write one part of the user's."""
    blocks = sent(message("user", part))["messages"][0]["content"]
    assert isinstance(blocks, list)
    return blocks


@pytest.mark.parametrize(
    ("part", "blocks", "notes"),
    [
        (
            ReasoningPart(text="hm", signature="s", origin="anthropic"),
            [{"type": "thinking", "thinking": "hm", "signature": "s"}],
            (),
        ),
        (
            ReasoningPart(sealed="d", origin="anthropic"),
            [{"type": "redacted_thinking", "data": "d"}],
            (),
        ),
        (ReasoningPart(text="hm", signature="s", origin="gemini"), [], ("dropped=messages.reasoning",)),
        (ReasoningPart(sealed="d", origin="openai", item_id="rs_1"), [], ("dropped=messages.reasoning",)),
        (ReasoningPart(text="hm"), [], ("dropped=messages.reasoning",)),
        (ReasoningPart(), [], ()),
    ],
)
def test_thoughts_go_back_where_they_came_from(
    part: ReasoningPart, blocks: list[dict[str, Any]], notes: tuple[str, ...]
) -> None:
    """Case 29: thoughts go back with Anthropic's own signature or seal, others' are reported."""
    found = sent(message("user", HI), message("assistant", part, HI), message("user", HI), notes=notes)

    assert [*blocks, {"type": "text", "text": "Hi"}] == found["messages"][1]["content"]


def test_thoughts_of_others_are_refused_in_strict_mode() -> None:
    """Case 29: in strict mode thoughts that cannot go back are refused."""
    part = ReasoningPart(text="hm", signature="s", origin="gemini")

    assert (Reason.UNSUPPORTED, "messages.reasoning") == refused(message("assistant", part), strict=True)


def test_signature_of_a_call_is_reported() -> None:
    """Case 29: Gemini's signature of a call is of no use here, and that is reported."""
    call = ToolCallPart(id="c", name="f", arguments='{"a":1}', signature="sig")
    found = sent(
        message("user", HI),
        message("assistant", call),
        message("tool", ToolResultPart(call_id="c", content=[HI])),
        tools=[FunctionTool(name="f")],
        notes=("dropped=messages.tool_calls.signature",),
    )

    assert {"a": 1} == found["messages"][1]["content"][0]["input"]


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (
            MediaPart(kind="image", media_type="image/PNG", data="cG5n"),
            {"type": "base64", "media_type": "image/png", "data": "cG5n"},
        ),
        (MediaPart(kind="image", url="HTTPS://x.test/a"), {"type": "url", "url": "HTTPS://x.test/a"}),
        (
            MediaPart(kind="document", media_type="application/octet-stream", data="JVBERi0x"),
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"},
        ),
        (
            MediaPart(kind="document", media_type="text/plain; charset=utf-8", data="SGk="),
            {"type": "text", "media_type": "text/plain", "data": "Hi"},
        ),
        (MediaPart(kind="document", text="Hi"), {"type": "text", "media_type": "text/plain", "data": "Hi"}),
        (MediaPart(kind="document", url="https://x.test/a"), {"type": "url", "url": "https://x.test/a"}),
    ],
)
def test_media(part: MediaPart, source: dict[str, Any]) -> None:
    """Cases 32 and 33: images and documents of every reader go on in the form that Anthropic has."""
    assert [{"type": part.kind, "source": source}] == content(part)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (MediaPart(kind="image", media_type="image/tiff", data="AAAA"), Reason.UNSUPPORTED),
        (MediaPart(kind="image", url="gs://bucket/a.png"), Reason.UNSUPPORTED),
        (MediaPart(kind="image", file_id="file-1"), Reason.UNSUPPORTED),
        (MediaPart(kind="image"), Reason.INVALID_REQUEST),
        (MediaPart(kind="document", media_type="text/csv", url="https://x.test/a.csv"), Reason.UNSUPPORTED),
        (MediaPart(kind="document", media_type="text/csv", data="AAAA"), Reason.UNSUPPORTED),
        (MediaPart(kind="document", media_type="text/plain", data="/w=="), Reason.INVALID_REQUEST),
        (MediaPart(kind="document"), Reason.INVALID_REQUEST),
        (MediaPart(kind="audio", media_type="audio/wav", data="AAAA"), Reason.UNSUPPORTED),
        (MediaPart(kind="video", url="https://x.test/a.mp4"), Reason.UNSUPPORTED),
    ],
)
def test_other_media_are_refused(part: MediaPart, reason: Reason) -> None:
    """Cases 32, 33 and 34: every other medium is refused, wherever it stands, with its place named."""
    result = ToolResultPart(call_id="c", content=[part])

    assert (reason, "messages[0]") == refused(message("user", HI, part))
    assert (reason, "messages[0]") == refused(message("tool", result))
    part.path = "messages[0].content[1].file"
    assert (reason, part.path) == refused(message("user", HI, part))


def test_images_of_the_model_are_reported() -> None:
    """Case 32: an image in the assistant's turn has no place there, and that is reported."""
    image = MediaPart(kind="image", media_type="image/png", data="cG5n")
    found = sent(
        message("user", HI),
        message("assistant", HI, image),
        message("user", HI),
        notes=("dropped=messages.media",),
    )

    assert [{"type": "text", "text": "Hi"}] == found["messages"][1]["content"]


def test_system_is_text() -> None:
    """Case 3: a system message holds text and nothing else."""
    image = MediaPart(kind="image", url="https://x.test/a.png")

    assert (Reason.UNSUPPORTED, "messages[0]") == refused(message("system", image))
    assert "No." == sent(message("system", RefusalPart(text="No.")), message("user", HI))["system"]


@pytest.mark.parametrize(
    ("mark", "control"),
    [
        (CacheMark(), {"type": "ephemeral"}),
        (CacheMark(ttl="1h"), {"type": "ephemeral", "ttl": "1h"}),
    ],
)
def test_cache_marks(mark: CacheMark, control: dict[str, str]) -> None:
    """Case 35: a mark stays on whatever it was put on, with its time."""
    inner = TextPart(text="r", cache=mark)
    found = sent(
        message("system", TextPart(text="S", cache=mark)),
        message("user", TextPart(text="Hi", cache=mark)),
        message("assistant", ToolCallPart(id="c", name="f", cache=mark)),
        message("tool", ToolResultPart(call_id="c", content=[inner], cache=mark)),
        tools=[FunctionTool(name="f", cache=mark)],
    )

    result = found["messages"][2]["content"][0]
    marked = [
        found["system"][0],
        found["tools"][0],
        found["messages"][0]["content"][0],
        found["messages"][1]["content"][0],
        result,
        result["content"][0],
    ]
    assert [control] * 6 == [block["cache_control"] for block in marked]


def test_mark_on_an_empty_text() -> None:
    """Case 35: a mark on a text that is left out goes to the block before it; with none it is reported."""
    blank = TextPart(text=" ", cache=CacheMark())

    assert [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}] == sent(
        message("user", HI, blank)
    )["messages"][0]["content"]
    sent(message("user", blank, HI), notes=("dropped=cache_control",))


def test_citations_go_back() -> None:
    """A source that Anthropic found goes back with the text that cites it; another's is reported."""
    cited = {"url": "https://x.test", "title": "T", "cited_text": "w", "encrypted_index": "E"}
    own = TextPart(text="A", citations=[{"type": "url_citation", "url_citation": cited}])
    other = TextPart(
        text="B", citations=[{"type": "url_citation", "url_citation": {"url": "https://y.test"}}]
    )
    found = sent(
        message("user", HI),
        message("assistant", own, other),
        message("user", HI),
        notes=("dropped=messages.citations",),
    )

    assert [
        {"type": "text", "text": "A", "citations": [{"type": "web_search_result_location", **cited}]},
        {"type": "text", "text": "B"},
    ] == found["messages"][1]["content"]


def test_calls_with_ids_of_others() -> None:
    """Ids that become alike when they are fitted to Anthropic's alphabet stay two."""
    found = sent(
        message("user", HI),
        message("assistant", ToolCallPart(id="a.1", name="f"), ToolCallPart(id="a:1", name="f")),
        message("tool", ToolResultPart(call_id="a:1"), ToolResultPart(call_id="a.1")),
        tools=[FunctionTool(name="f")],
    )

    calls = [block["id"] for block in found["messages"][1]["content"]]
    assert 2 == len(set(calls))
    assert calls[::-1] == [block["tool_use_id"] for block in found["messages"][2]["content"]]


@pytest.mark.parametrize("arguments", ["{", "[1]", "7"])
def test_broken_arguments(arguments: str) -> None:
    """Case 11: arguments that are no JSON object name their message, whichever dialect they came in."""
    call = ToolCallPart(id="c", name="f", arguments=arguments)

    assert (Reason.INVALID_REQUEST, "messages[0]") == refused(message("user", HI), message("assistant", call))


def test_built_in_tool_of_an_anthropic_client() -> None:
    """Case 18: a tool that Anthropic runs itself goes on as it is, and may be forced by its name."""
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    found = sent(
        tools=[ServerTool(kind="web_search_20250305", raw=search)],
        tool_choice=ToolChoice(mode="required", name="web_search"),
    )

    assert ([search], {"type": "tool", "name": "web_search"}) == (found["tools"], found["tool_choice"])


def test_server_tool_of_another_provider() -> None:
    """Case 18: a tool that another provider runs is reported, and a choice that is left without tools too."""
    tool = ServerTool(kind="file_search", raw={"type": "file_search"}, path="tools.0")
    notes = ("dropped=tools.0.file_search", "dropped=tool_choice")

    found = sent(tools=[tool], tool_choice=ToolChoice(mode="required"), notes=notes)

    assert not {"tools", "tool_choice"} & found.keys()


@pytest.mark.parametrize(
    "choice", [ToolChoice(mode="required", name="g"), ToolChoice(mode="auto", allowed=("g",))]
)
def test_choice_of_no_tool(choice: ToolChoice) -> None:
    """Case 15: a choice that names none of the tools is the client's error."""
    assert (Reason.INVALID_REQUEST, "tool_choice") == refused(
        tools=[FunctionTool(name="f")], tool_choice=choice
    )


def test_list_for_an_answer() -> None:
    """Case 30: a schema that is not an object's cannot be a tool's input, so the model is told."""
    wanted = ResponseFormat(kind="json_schema", schema={"type": "array", "items": {"type": "string"}})
    found = sent(model=ANCIENT, response_format=wanted, notes=("emulated=response_format",))

    assert "tools" not in found
    assert '{"type":"array","items":{"type":"string"}}' in found["system"]


def test_json_object_with_a_schema() -> None:
    """Case 31: an object whose schema is known is held to it where the model can."""
    wanted = ResponseFormat(kind="json_object", schema={"properties": {"a": {}}})

    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}
    assert {"type": "json_schema", "schema": schema} == sent(response_format=wanted)["output_config"][
        "format"
    ]


def budget(tokens: int, **members: Any) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens, **members}


def adaptive(**members: Any) -> dict[str, Any]:
    return {"type": "adaptive", **members}


@pytest.mark.parametrize(
    ("model", "asked", "thinking", "note"),
    [
        (OLD, ReasoningOptions(budget_tokens=512), budget(1024), "clamped=reasoning.budget_tokens:1024"),
        (OLD, ReasoningOptions(budget_tokens=-1), budget(16_384), "clamped=reasoning:16384"),
        (OLD, ReasoningOptions(adaptive=True), budget(16_384), "clamped=reasoning:16384"),
        (OLD, ReasoningOptions(effort="low", show=False), budget(2048, display="omitted"), ""),
        (OLD, ReasoningOptions(budget_tokens=0), None, ""),
        (OLD, ReasoningOptions(show=True), None, ""),
        (ADAPTIVE, ReasoningOptions(budget_tokens=2000), budget(2000), ""),
        (ADAPTIVE, ReasoningOptions(budget_tokens=-1), adaptive(), ""),
        (NEW, ReasoningOptions(adaptive=True, show=True), adaptive(display="summarized"), ""),
        (NEW, ReasoningOptions(budget_tokens=2000), adaptive(), "clamped=reasoning.budget_tokens:adaptive"),
        (NEWEST, ReasoningOptions(show=False), adaptive(display="omitted"), ""),
        (NEWEST, ReasoningOptions(budget_tokens=0), None, "clamped=reasoning:low"),
        (ANCIENT, ReasoningOptions(adaptive=True), None, "dropped=reasoning"),
        (ANCIENT, ReasoningOptions(budget_tokens=0), None, ""),
        (ANCIENT, ReasoningOptions(summary="auto"), None, ""),
    ],
)
def test_reasoning(model: str, asked: ReasoningOptions, thinking: Any, note: str) -> None:
    """Cases 25 and 26: budgets, adaptive thinking and its display, as the model has them."""
    found = sent(model=model, reasoning=asked, notes=(note,) if note else ())

    assert thinking == found.get("thinking")


def test_effort_beside_adaptive_thinking() -> None:
    """Case 25: an effort goes along with thinking that the model decides on."""
    found = sent(model=NEW, reasoning=ReasoningOptions(adaptive=True, effort="low"))

    assert ({"type": "adaptive"}, {"effort": "low"}) == (found["thinking"], found["output_config"])


def test_unknown_effort() -> None:
    """Case 25: an effort that there is not is the client's error, whichever dialect it came in."""
    assert (Reason.INVALID_REQUEST, "reasoning") == refused(reasoning=ReasoningOptions(effort="huge"))


@pytest.mark.parametrize(
    ("members", "expected", "notes"),
    [
        ({"top_k": 5}, {"top_k": 5}, ()),
        ({"top_k": 0}, {}, ()),
        ({"top_k": -1}, {}, ()),
        ({"service_tier": "standard_only"}, {"service_tier": "standard_only"}, ()),
        ({"service_tier": "flex"}, {}, ("dropped=service_tier",)),
        ({"metadata": {"a": "b"}, "user": "u"}, {"metadata": {"user_id": "u"}}, ("dropped=metadata",)),
        ({"seed": 0}, {}, ("dropped=seed",)),
        ({"stop": ["", "a"]}, {"stop_sequences": ["a"]}, ("dropped=stop",)),
        ({"extra": {"safety_identifier": "s"}}, {"metadata": {"user_id": "s"}}, ()),
    ],
)
def test_options(members: dict[str, Any], expected: dict[str, Any], notes: tuple[str, ...]) -> None:
    """Cases 19, 23 and 24: what stands by itself goes on where it has a place, else it is reported."""
    found = sent(notes=notes, **members)

    assert expected == {
        name: value for name, value in found.items() if name not in {"model", "max_tokens", "messages"}
    }


@pytest.mark.parametrize(
    ("temperature", "model", "expected", "notes"),
    [
        (1.7, ANCIENT, 1, ("clamped=temperature:1",)),
        (2, OLD, None, ("clamped=temperature:1",)),
        (0.3, ANCIENT, 0.3, ()),
    ],
)
def test_temperature(temperature: float, model: str, expected: Any, notes: tuple[str, ...]) -> None:
    """Case 20: a temperature above 1 never goes on, from whatever dialect; in strict mode it is refused."""
    assert expected == sent(model=model, temperature=temperature, notes=notes).get("temperature")
    if notes:
        assert (Reason.UNSUPPORTED, "temperature") == refused(
            model=model, temperature=temperature, strict=True
        )


@pytest.mark.parametrize(("n", "reason"), [(2, Reason.UNSUPPORTED), (0, Reason.INVALID_REQUEST)])
def test_number_of_answers(n: int, reason: Reason) -> None:
    """Case 22: any number of answers but one is refused."""
    assert (reason, "n") == refused(n=n)


def test_no_room_for_an_answer() -> None:
    """Case 1: a limit below 1 is the client's error."""
    assert (Reason.INVALID_REQUEST, "max_tokens") == refused(max_tokens=0)
