"""
Chat completions as a target: the request that a host gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
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
    ServerTool,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.openai_chat import hosts
from services.providers.dialects.openai_chat.quirks import ChatQuirks
from services.providers.dialects.openai_chat.target_side import chat_target

if TYPE_CHECKING:
    from services.providers.dialects.neutral.sides import Written

Json = dict[str, Any]
USER = Message(role="user", parts=[TextPart(text="Hello?")], path="messages.0")
TOOL = FunctionTool(name="look", parameters={"type": "object", "properties": {}}, path="tools[0]")
EVERYTHING = ChatQuirks(lacks=frozenset(), json_schema=True, strict=True)


def written(
    conversation: Conversation,
    quirks: ChatQuirks = hosts.USUAL,
    *,
    model: str = "m",
    stream: bool = False,
    strict: bool = False,
) -> tuple[Json, tuple[str, ...], Written]:
    notes = Notes(strict=strict)
    found = chat_target(quirks).write_request(conversation, model, stream, notes)
    return orjson.loads(found.body), notes.taken(), found


def asked(**members: Any) -> Conversation:
    return Conversation(messages=members.pop("messages", [USER]), **members)


def message_of(parts: list[Part], quirks: ChatQuirks = hosts.USUAL, *, role: Any = "user") -> Json:
    conversation = asked(messages=[Message(role=role, parts=parts, path="messages.0"), USER])
    body, _, _ = written(conversation, quirks)
    found: Json = body["messages"][0]
    return found


def test_usage_is_asked_for_in_streams() -> None:
    """Case 61: a streamed request asks for usage, whether or not the client did."""
    body, _, _ = written(asked(include_usage=False), stream=True)

    assert (True, {"include_usage": True}) == (body["stream"], body["stream_options"])


def test_usage_is_not_asked_for_where_it_is_refused() -> None:
    """Case 61: a host that refuses `stream_options` gets none, and a whole answer needs none."""
    body, _, _ = written(asked(), ChatQuirks(stream_usage=False), stream=True)

    assert ["model", "messages", "stream"] == list(body)
    assert "stream" not in written(asked())[0]


@pytest.mark.parametrize(
    ("model", "reasoning", "sent", "notes"),
    [
        ("gpt-5.4", ReasoningOptions(effort="high"), "none", ("dropped=reasoning",)),
        ("gpt-5.6-terra", ReasoningOptions(budget_tokens=9000), "none", ("dropped=reasoning",)),
        ("gpt-5.6", None, "none", ()),
        ("gpt-5.6", ReasoningOptions(effort="none"), "none", ()),
        ("gpt-5.4", None, None, ()),
        ("gpt-5.1", ReasoningOptions(effort="high"), "high", ()),
        ("gpt-5-mini", ReasoningOptions(effort="low"), "low", ()),
        ("o3", ReasoningOptions(effort="high"), "high", ()),
    ],
)
def test_thinking_beside_tools(
    model: str, reasoning: ReasoningOptions | None, sent: str | None, notes: tuple[str, ...]
) -> None:
    """Case 65: where chat completions refuse thinking beside tools, it is switched off and reported."""
    conversation = asked(tools=[TOOL], reasoning=reasoning)
    body, taken, _ = written(conversation, hosts.OPENAI, model=model)

    assert (sent, notes) == (body.get("reasoning_effort"), taken)


def test_thinking_without_tools_is_kept() -> None:
    """Case 65: without tools the same model thinks as asked."""
    body, notes, _ = written(asked(reasoning=ReasoningOptions(effort="max")), hosts.OPENAI, model="gpt-5.4")

    assert ("xhigh", ("clamped=reasoning:xhigh",)) == (body["reasoning_effort"], notes)


def test_thinking_models_get_no_sampling() -> None:
    """Models of OpenAI's that think get no sampling parameters, with a report, and the limit's new name."""
    conversation = asked(
        temperature=0.2,
        top_p=1,
        presence_penalty=0.5,
        logprobs=True,
        stop=["x"],
        max_tokens=10,
        verbosity="low",
    )
    body, notes, _ = written(conversation, hosts.OPENAI, model="gpt-5-mini")

    assert {"model", "messages", "max_completion_tokens", "verbosity"} == set(body)
    assert {
        "dropped=temperature",
        "dropped=presence_penalty",
        "dropped=logprobs",
        "dropped=stop",
    } == set(notes)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5.1", "ft:gpt-4.1-mini:acme::1"])
def test_others_keep_sampling(model: str) -> None:
    """Models that do not think, or not unless asked, sample as asked."""
    body, notes, _ = written(asked(temperature=0.2, top_p=0.5), hosts.OPENAI, model=model)

    assert (0.2, 0.5, ()) == (body["temperature"], body["top_p"], notes)


@pytest.mark.parametrize(
    ("quirks", "reasoning", "expected", "notes"),
    [
        (
            hosts.USUAL,
            ReasoningOptions(effort="xhigh"),
            {"reasoning_effort": "high"},
            ("clamped=reasoning:high",),
        ),
        (hosts.USUAL, ReasoningOptions(budget_tokens=1024), {"reasoning_effort": "low"}, ()),
        (hosts.USUAL, ReasoningOptions(budget_tokens=8000), {"reasoning_effort": "medium"}, ()),
        (hosts.USUAL, ReasoningOptions(budget_tokens=32000), {"reasoning_effort": "high"}, ()),
        (hosts.USUAL, ReasoningOptions(adaptive=True), {"reasoning_effort": "high"}, ()),
        (hosts.USUAL, ReasoningOptions(budget_tokens=0), {"reasoning_effort": "none"}, ()),
        (hosts.PARALLEL, ReasoningOptions(effort="low"), {}, ("dropped=reasoning",)),
        (hosts.DEEPSEEK, ReasoningOptions(budget_tokens=0), {"thinking": {"type": "disabled"}}, ()),
        (hosts.DEEPSEEK, ReasoningOptions(adaptive=True), {"thinking": {"type": "enabled"}}, ()),
        (
            hosts.DEEPSEEK,
            ReasoningOptions(effort="max"),
            {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
            (),
        ),
        (hosts.OPENROUTER, ReasoningOptions(budget_tokens=2000), {"reasoning": {"max_tokens": 2000}}, ()),
        (
            hosts.OPENROUTER,
            ReasoningOptions(effort="max", show=False),
            {"reasoning": {"effort": "xhigh", "exclude": True}},
            ("clamped=reasoning:xhigh",),
        ),
        (hosts.OPENROUTER, ReasoningOptions(adaptive=True), {"reasoning": {"enabled": True}}, ()),
    ],
)
def test_thinking_in_each_hosts_words(
    quirks: ChatQuirks, reasoning: ReasoningOptions, expected: Json, notes: tuple[str, ...]
) -> None:
    """How much to think is told to each host in its own words."""
    body, taken, _ = written(asked(reasoning=reasoning), quirks)

    assert expected == {name: body[name] for name in body if name not in {"model", "messages"}}
    assert notes == taken


def test_what_a_host_lacks_is_reported() -> None:
    """Options that a host refuses are dropped with a report, and take its names and bounds."""
    conversation = asked(
        temperature=2, seed=7, stop=["a"], logit_bias={"1": 1}, user="u", service_tier="auto", top_k=3
    )
    body, notes, _ = written(conversation, hosts.MISTRAL)

    assert {"temperature": 1.5, "random_seed": 7, "stop": ["a"], "top_k": 3} == {
        name: body[name] for name in body if name not in {"model", "messages"}
    }
    assert {
        "clamped=temperature:1.5",
        "dropped=logit_bias",
        "dropped=user",
        "dropped=service_tier",
    } == set(notes)


def test_strict_refuses_what_would_be_dropped() -> None:
    """In strict mode the same request is refused, naming the parameter."""
    with pytest.raises(GatewayError) as raised:
        written(asked(logit_bias={"1": 1}), hosts.MISTRAL, strict=True)

    assert (Reason.UNSUPPORTED, "logit_bias") == (raised.value.reason, raised.value.metadata["param"])


def test_several_answers_are_never_silently_one() -> None:
    """A host that gives one answer refuses several."""
    with pytest.raises(GatewayError) as raised:
        written(asked(n=2), hosts.GROQ)

    assert "n" == raised.value.metadata["param"]
    assert 2 == written(asked(n=2), hosts.OPENAI, model="gpt-4o")[0]["n"]


def test_members_that_only_the_host_knows() -> None:
    """Case 140: members that conversations lack reach the host that knows them, and stay behind else."""
    conversation = asked(extra={"prompt_cache_key": "k", "container": "c"})
    body, _, _ = written(conversation, hosts.OPENAI, model="gpt-4o")

    assert ("k", {"container": "c"}) == (body["prompt_cache_key"], conversation.extra)


def test_same_request_same_bytes() -> None:
    """Case 139: members come in one order, so that the same conversation always gives the same bytes."""
    first = asked(temperature=1, tools=[TOOL], extra={"store": True, "prompt_cache_key": "k"})
    second = asked(extra={"prompt_cache_key": "k", "store": True}, tools=[TOOL], temperature=1)

    assert written(first, hosts.OPENAI)[2].body == written(second, hosts.OPENAI)[2].body


def test_labels_need_to_be_kept() -> None:
    """OpenAI takes labels only for what it stores."""
    stored = asked(metadata={"a": "b"}, extra={"store": True})

    assert {"a": "b"} == written(stored, hosts.OPENAI, model="gpt-4o")[0]["metadata"]
    assert ("dropped=metadata",) == written(asked(metadata={"a": "b"}), hosts.OPENAI, model="gpt-4o")[1]


def test_refusal_in_history() -> None:
    """Case 36: an earlier refusal is the message's own member at OpenAI, and text at hosts without one."""
    parts: list[Part] = [RefusalPart(text="No.")]

    assert {"role": "assistant", "content": None, "refusal": "No."} == message_of(
        parts, hosts.OPENAI, role="assistant"
    )
    assert {"role": "assistant", "content": "No."} == message_of(parts, role="assistant")


@pytest.mark.parametrize(
    ("quirks", "prefix", "notes"),
    [
        (hosts.OPENAI, None, ("emulated=messages.1",)),
        (hosts.MISTRAL, True, ()),
        (hosts.OPENROUTER, None, ()),
    ],
)
def test_begun_answer(quirks: ChatQuirks, prefix: object, notes: tuple[str, ...]) -> None:
    """A begun answer goes on at hosts that can; at others the client is told that it does not."""
    begun = Message(role="assistant", parts=[TextPart(text="{")], path="messages.1")
    body, taken, _ = written(asked(messages=[USER, begun]), quirks, model="gpt-4o")

    assert ("{", prefix, notes) == (
        body["messages"][1]["content"],
        body["messages"][1].get("prefix"),
        taken,
    )


def test_tool_results_with_images() -> None:
    """Images from tools follow the round's results, together with what the user says next."""
    image = MediaPart(kind="image", media_type="image/png", data="aGk=")
    messages = [
        USER,
        Message(
            role="assistant", parts=[ToolCallPart(id="a", name="look"), ToolCallPart(id="b", name="look")]
        ),
        Message(role="tool", parts=[ToolResultPart(call_id="a", content=[TextPart(text="one"), image])]),
        Message(
            role="user",
            parts=[ToolResultPart(call_id="b", content=[image], is_error=True), TextPart(text="And?")],
        ),
    ]
    body, notes, _ = written(asked(messages=messages))

    assert ["user", "assistant", "tool", "tool", "user"] == [entry["role"] for entry in body["messages"]]
    assert ("one", '{"error":""}') == (body["messages"][2]["content"], body["messages"][3]["content"])
    assert ["image_url", "image_url", "text"] == [part["type"] for part in body["messages"][4]["content"]]
    assert ("emulated=messages.is_error", "emulated=messages.content") == notes


@pytest.mark.parametrize(
    ("part", "quirks", "expected"),
    [
        (
            MediaPart(kind="image", url="https://x/y.png", detail="low"),
            hosts.USUAL,
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        ),
        (
            MediaPart(kind="document", media_type="application/pdf", data="aGk=", name="a.pdf"),
            hosts.OPENAI,
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        ),
        (MediaPart(kind="document", file_id="f"), hosts.OPENAI, {"type": "file", "file": {"file_id": "f"}}),
        (
            MediaPart(kind="document", url="https://x/y.pdf"),
            hosts.OPENROUTER,
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "https://x/y.pdf"}},
        ),
        (
            MediaPart(kind="document", url="https://x/y.pdf", name="y"),
            hosts.MISTRAL,
            {"type": "document_url", "document_url": "https://x/y.pdf", "document_name": "y"},
        ),
        (
            MediaPart(kind="audio", media_type="audio/mpeg", data="aGk="),
            hosts.OPENAI,
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        ),
        (
            MediaPart(kind="audio", media_type="audio/wav", data="aGk="),
            hosts.MISTRAL,
            {"type": "input_audio", "input_audio": "aGk="},
        ),
        (
            MediaPart(kind="video", url="https://x/y.mp4"),
            hosts.VLLM,
            {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
        ),
        (
            TextPart(text="hi", cache=CacheMark(ttl="1h")),
            hosts.OPENROUTER,
            {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ),
    ],
)
def test_parts(part: Part, quirks: ChatQuirks, expected: Json) -> None:
    """Media go in the form that the host takes, marks where it keeps them."""
    assert [expected] == message_of([part], quirks)["content"]


@pytest.mark.parametrize(
    ("part", "quirks"),
    [
        (MediaPart(kind="image", url="gs://x/y.png"), hosts.OPENAI),
        (MediaPart(kind="image", url="https://x/y.png"), hosts.DEEPSEEK),
        (MediaPart(kind="document", url="https://x/y.pdf"), hosts.OPENAI),
        (MediaPart(kind="document", media_type="application/pdf", data="aGk="), hosts.USUAL),
        (MediaPart(kind="document", file_id="f"), hosts.OPENROUTER),
        (MediaPart(kind="audio", media_type="audio/wav", data="aGk="), hosts.USUAL),
        (MediaPart(kind="video", url="https://x/y.mp4"), hosts.OPENAI),
    ],
)
def test_media_that_a_host_cannot_take(part: Part, quirks: ChatQuirks) -> None:
    """What a host cannot read is refused with the place where it stands."""
    with pytest.raises(GatewayError) as raised:
        message_of([part], quirks)

    assert (Reason.UNSUPPORTED, "messages.0") == (raised.value.reason, raised.value.metadata["param"])


def test_plain_documents_are_text() -> None:
    """A document of plain text is told as text."""
    document = MediaPart(kind="document", media_type="text/plain", text="body", name="a.txt")

    assert "a.txt\n\nbody" == message_of([document])["content"]


@pytest.mark.parametrize(
    ("quirks", "expected"),
    [
        (hosts.USUAL, {"content": "So."}),
        (hosts.DEEPSEEK, {"content": "So.", "reasoning_content": "Hm."}),
        (hosts.GROQ, {"content": "So.", "reasoning": "Hm."}),
        (
            hosts.MISTRAL,
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "So."},
                ]
            },
        ),
        (
            hosts.OPENROUTER,
            {
                "content": "So.",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "Hm.",
                        "signature": "s",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    }
                ],
            },
        ),
    ],
)
def test_thoughts_go_back(quirks: ChatQuirks, expected: Json) -> None:
    """Earlier thoughts go back to hosts that want them, with their signature where it means something."""
    parts: list[Part] = [
        ReasoningPart(text="Hm.", signature="s", origin="anthropic"),
        TextPart(text="So."),
    ]

    assert {"role": "assistant", **expected} == message_of(parts, quirks, role="assistant")


def test_sealed_thoughts_go_back() -> None:
    """Sealed thoughts go back to OpenRouter as what they were, under the name of whose seal it is."""
    sealed = ReasoningPart(text="Hm.", sealed="x", origin="openai", item_id="rs_1")
    common = {"format": "openai-responses-v1", "id": "rs_1"}

    assert [
        {"type": "reasoning.summary", "summary": "Hm.", **common, "index": 0},
        {"type": "reasoning.encrypted", "data": "x", **common, "index": 1},
    ] == message_of([sealed, TextPart(text="a")], hosts.OPENROUTER, role="assistant")["reasoning_details"]


def test_lost_thoughts_are_reported() -> None:
    """Thoughts that a host does not take are dropped with a report."""
    thought = Message(role="assistant", parts=[ReasoningPart(text="Hm."), TextPart(text="a")])

    assert ("dropped=messages.reasoning",) == written(asked(messages=[USER, thought, USER]))[1]


def test_tools_and_choice() -> None:
    """Tools are written with what the host takes; a name that does not fit is changed in every place."""
    tool = FunctionTool(name="look.up", description="d", strict=True, path="tools[0]")
    server = ServerTool(kind="web_search_20250305", raw={}, path="tools[1]")
    call = ToolCallPart(id="a", name="look.up", arguments='{"q":1}')
    conversation = asked(
        messages=[USER, Message(role="assistant", parts=[call]), USER],
        tools=[tool, server],
        tool_choice=ToolChoice(mode="required", name="look.up"),
        parallel_tool_calls=False,
    )
    body, notes, found = written(conversation)
    (name,) = found.restore.tool_names

    assert "look.up" == found.restore.tool_names[name]
    assert [{"type": "function", "function": {"name": name, "description": "d"}}] == body["tools"]
    assert {"type": "function", "function": {"name": name}} == body["tool_choice"]
    assert name == body["messages"][1]["tool_calls"][0]["function"]["name"]
    assert body["parallel_tool_calls"] is False
    assert ("dropped=tools[1]", "dropped=tools.strict") == notes


def test_choice_without_tools_is_left_out() -> None:
    """Without tools there is nothing to choose among."""
    conversation = asked(tool_choice=ToolChoice(mode="auto"), parallel_tool_calls=True)

    assert {"model", "messages"} == set(written(conversation)[0])


def test_choice_among_some() -> None:
    """A choice among some tools is OpenAI's own, and elsewhere leaves the other tools out."""
    tools: list[FunctionTool | ServerTool] = [FunctionTool(name="a"), FunctionTool(name="b")]
    conversation = asked(tools=tools, tool_choice=ToolChoice(mode="required", allowed=("b",)))
    at_openai, _, _ = written(conversation, hosts.OPENAI)
    elsewhere, _, _ = written(conversation)

    assert {"mode": "required", "tools": [{"type": "function", "function": {"name": "b"}}]} == at_openai[
        "tool_choice"
    ]["allowed_tools"]
    assert (["b"], "required") == (
        [tool["function"]["name"] for tool in elsewhere["tools"]],
        elsewhere["tool_choice"],
    )


def test_free_text_tools() -> None:
    """A tool with free text is OpenAI's own, and elsewhere gives its text in an object."""
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}
    tool = FunctionTool(name="patch", custom=True, grammar=grammar, path="tools[0]")
    call = ToolCallPart(id="a", name="patch", arguments="*** x", custom=True)
    conversation = asked(messages=[USER, Message(role="assistant", parts=[call]), USER], tools=[tool])
    at_openai, _, _ = written(conversation, hosts.OPENAI)
    elsewhere, notes, found = written(conversation)

    assert [{"type": "custom", "custom": {"name": "patch", "format": grammar}}] == at_openai["tools"]
    assert {"name": "patch", "input": "*** x"} == at_openai["messages"][1]["tool_calls"][0]["custom"]
    assert "start: /x/" in elsewhere["tools"][0]["function"]["description"]
    assert '{"input":"*** x"}' == elsewhere["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert frozenset({"patch"}) == found.restore.custom_tools
    assert "emulated=tools[0]" in notes


def test_ids_of_calls_at_mistral() -> None:
    """Mistral takes ids of nine letters and digits: others are changed, alike in call and result."""
    messages = [
        USER,
        Message(
            role="assistant",
            parts=[ToolCallPart(id="call_1", name="a"), ToolCallPart(id="abcdefgh1", name="a")],
        ),
        Message(role="tool", parts=[ToolResultPart(call_id="call_1", content=[TextPart(text="x")])]),
    ]
    body, _, _ = written(asked(messages=messages), hosts.MISTRAL)
    ids = [call["id"] for call in body["messages"][1]["tool_calls"]]

    assert (9, "abcdefgh1") == (len(ids[0]), ids[1])
    assert ids[0] == body["messages"][2]["tool_call_id"]


@pytest.mark.parametrize(
    ("wanted", "quirks", "expected", "notes"),
    [
        (
            ResponseFormat(kind="json_schema", schema={"type": "object"}, strict=True),
            hosts.OPENAI,
            {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
            },
            (),
        ),
        (
            ResponseFormat(kind="json_schema", schema={"type": "object"}),
            hosts.DEEPSEEK,
            {"type": "json_object"},
            ("emulated=response_format",),
        ),
        (ResponseFormat(kind="json_object"), hosts.USUAL, {"type": "json_object"}, ()),
        (ResponseFormat(kind="json_object"), hosts.PERPLEXITY, None, ("emulated=response_format",)),
    ],
)
def test_shape_of_the_answer(
    wanted: ResponseFormat, quirks: ChatQuirks, expected: Json | None, notes: tuple[str, ...]
) -> None:
    """The shape of the answer is asked for as the host has it, and told in words where it has none."""
    body, taken, _ = written(asked(response_format=wanted), quirks, model="gpt-4o")
    told = body["messages"][0]["role"] == "system"

    assert (expected, notes) == (body.get("response_format"), taken)
    assert told == (quirks is not hosts.OPENAI)
