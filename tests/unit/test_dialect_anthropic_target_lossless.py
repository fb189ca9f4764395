from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.request_reader import read_request
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
    ServerTool,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes

if TYPE_CHECKING:
    from services.providers.dialects.neutral.sides import Written

MODEL = "claude-sonnet-4-5"
MODELS = ["claude-3-haiku-20240307", MODEL, "claude-opus-4-6", "claude-opus-5-5", "x"]

LETTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.sampled_from(["a", " b ", "c\n", "", "  "]) | st.text(LETTERS, max_size=6)
ID = st.sampled_from(["c1", "c.1", "c:1", "c_1"])
NAME = st.sampled_from(["f", "g.h", "g/h", "x" * 70, "json_answer"])
MARK = st.none() | st.sampled_from([CacheMark(), CacheMark(ttl="1h")])
TEXTS = st.builds(TextPart, text=TEXT, cache=MARK)
MEDIA = st.sampled_from(
    [
        MediaPart(kind="image", media_type="image/png", data="cG5n"),
        MediaPart(kind="image", url="https://x.test/a.png", detail="high"),
        MediaPart(kind="document", media_type="application/pdf", data="JVBERi0x", name="a.pdf"),
        MediaPart(kind="document", text="plain", name="b"),
    ]
)
ARGUMENTS = st.sampled_from(["", " ", "{}", '{"a":[1.5,null]}', '{"é":"ü"}'])
CALLS = st.builds(ToolCallPart, id=ID, name=NAME, arguments=ARGUMENTS, cache=MARK) | st.builds(
    ToolCallPart, id=ID, name=NAME, arguments=TEXT, custom=st.just(value=True)
)
RESULTS = st.builds(
    ToolResultPart,
    call_id=ID,
    content=st.lists(TEXTS | MEDIA, max_size=3),
    is_error=st.none() | st.booleans(),
    cache=MARK,
)
THOUGHTS = st.builds(
    ReasoningPart,
    text=TEXT,
    signature=st.sampled_from(["", "c2ln"]),
    sealed=st.sampled_from(["", "c2VhbA"]),
    origin=st.sampled_from(["", "anthropic", "gemini"]),
)
MESSAGES = st.one_of(
    st.builds(Message, role=st.sampled_from(["system", "developer"]), parts=st.lists(TEXTS, max_size=2)),
    st.builds(Message, role=st.just("user"), parts=st.lists(TEXTS | MEDIA, max_size=3)),
    st.builds(
        Message,
        role=st.just("assistant"),
        parts=st.lists(TEXTS | st.builds(RefusalPart, text=TEXT) | CALLS | THOUGHTS, max_size=4),
    ),
    st.builds(Message, role=st.just("tool"), parts=st.lists(RESULTS, min_size=1, max_size=3)),
)
SCHEMA = st.sampled_from(
    [None, {}, {"type": "object"}, {"properties": {"a": {"minimum": 1}}}, {"type": "array"}]
)
TOOLS = st.lists(
    st.builds(
        FunctionTool,
        name=NAME,
        description=TEXT,
        parameters=SCHEMA,
        strict=st.none() | st.booleans(),
        custom=st.booleans(),
        grammar=st.none() | st.just({"syntax": "lark", "definition": "start: X"}),
        cache=MARK,
    )
    | st.sampled_from(
        [
            ServerTool(kind="web_search_20250305", raw={"type": "web_search_20250305", "name": "web_search"}),
            ServerTool(kind="file_search", raw={"type": "file_search"}),
        ]
    ),
    max_size=3,
)
CONVERSATIONS = st.builds(
    Conversation,
    messages=st.lists(MESSAGES, max_size=6),
    tools=TOOLS,
    tool_choice=st.none() | st.builds(ToolChoice, mode=st.sampled_from(["auto", "none", "required"])),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none()
    | st.builds(ResponseFormat, kind=st.sampled_from(["text", "json_object", "json_schema"]), schema=SCHEMA),
    reasoning=st.none()
    | st.builds(
        ReasoningOptions,
        effort=st.sampled_from(["", "none", "low", "max"]),
        budget_tokens=st.none() | st.integers(-1, 5000),
        adaptive=st.booleans(),
        show=st.none() | st.booleans(),
    ),
    max_tokens=st.none() | st.integers(1, 5000),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(-1, 50),
    stop=st.lists(TEXT, max_size=2),
    user=TEXT,
)


def write(conversation: Conversation, model: str = MODEL) -> Written:
    return write_request(conversation, model, False, Notes())  # noqa: FBT003


def said(value: str) -> list[str]:
    """Return a text as it has to arrive; what is blank says nothing, and Anthropic takes no blank texts."""
    return [value.strip()] if value.strip() else []


def parts_of(conversation: Conversation, *kinds: type) -> list[Any]:
    return [part for message in conversation.messages for part in message.parts if isinstance(part, kinds)]


def blocks_of(request: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    return [block for turn in request["messages"] for block in turn["content"] if block["type"] in kinds]


def texts_of_result(part: ToolResultPart) -> list[str]:
    return [text for entry in part.content if isinstance(entry, TextPart) for text in said(entry.text)]


def texts_of_block(block: dict[str, Any]) -> list[str]:
    content = block.get("content", [])
    if isinstance(content, str):
        return said(content)
    return [text for entry in content if entry["type"] == "text" for text in said(entry["text"])]


def pattern(ids: list[str]) -> list[int]:
    """Number ids by their first appearance: two lists with the same pattern differ in naming only."""
    order = list(dict.fromkeys(ids))
    return [order.index(one) for one in ids]


@given(conversation=CONVERSATIONS)
def test_no_text_is_lost(conversation: Conversation) -> None:
    """Cases 3, 5 and 36: every text arrives, those of the system in order at the top."""
    spoken = [m for m in conversation.messages if m.role not in {"system", "developer"}]
    expected = [
        t for p in parts_of(Conversation(messages=spoken), TextPart, RefusalPart) for t in said(p.text)
    ]
    told = [m for m in conversation.messages if m.role in {"system", "developer"}]
    top = [t for p in parts_of(Conversation(messages=told), TextPart) for t in said(p.text)]
    request = orjson.loads(write(conversation).body)

    found = [t for block in blocks_of(request, "text") for t in said(block["text"])]
    system = request.get("system", "")
    joined = system if isinstance(system, str) else "\n\n".join(block["text"] for block in system)
    # A turn that was put in where the user said nothing stands before everything else.
    added = ["."] if len(found) > len(expected) else []
    assert sorted(added + expected) == sorted(found)
    at = 0
    for text in top:
        at = joined.index(text, at) + len(text)


@given(conversation=CONVERSATIONS)
def test_no_call_and_no_result_is_lost(conversation: Conversation) -> None:
    """Cases 6, 7, 8, 11 and 12: calls and results arrive in order, with names, input, texts and media."""
    calls = parts_of(conversation, ToolCallPart)
    results = parts_of(conversation, ToolResultPart)
    written = write(conversation)
    request = orjson.loads(written.body)

    sent_calls, sent_results = blocks_of(request, "tool_use"), blocks_of(request, "tool_result")
    names = written.restore.tool_names
    assert [call.name for call in calls] == [names.get(b["name"], b["name"]) for b in sent_calls]
    assert [
        {"input": c.arguments} if c.custom else orjson.loads(c.arguments.strip() or "{}") for c in calls
    ] == [block["input"] for block in sent_calls]
    assert [texts_of_result(part) for part in results] == [texts_of_block(block) for block in sent_results]
    assert [bool(part.is_error) for part in results] == [b.get("is_error", False) for b in sent_results]
    ids = [block["id"] for block in sent_calls] + [block["tool_use_id"] for block in sent_results]
    assert pattern([c.id for c in calls] + [r.call_id for r in results]) == pattern(ids)


@given(conversation=CONVERSATIONS)
def test_no_thought_is_lost(conversation: Conversation) -> None:
    """Case 29: what Anthropic signed or sealed goes back to the letter, in order, and nothing else does."""
    expected = []
    for part in parts_of(conversation, ReasoningPart):
        if part.origin == "anthropic" and part.signature:
            expected.append((part.text, part.signature))
        if part.origin == "anthropic" and part.sealed:
            expected.append(("", part.sealed))
    request = orjson.loads(write(conversation).body)

    found = blocks_of(request, "thinking", "redacted_thinking")
    assert expected == [(b.get("thinking", ""), b.get("signature") or b["data"]) for b in found]


@given(conversation=CONVERSATIONS)
def test_media_are_not_lost(conversation: Conversation) -> None:
    """Cases 32 and 33: every image and document arrives, within results of tools too."""
    parts: list[Part] = parts_of(conversation, MediaPart)
    for result in parts_of(conversation, ToolResultPart):
        parts += [part for part in result.content if isinstance(part, MediaPart)]
    request = orjson.loads(write(conversation).body)

    found = blocks_of(request, "image", "document")
    for block in blocks_of(request, "tool_result"):
        content = block.get("content", [])
        found += [entry for entry in content if isinstance(entry, dict) and entry["type"] != "text"]
    assert sorted(part.kind for part in parts if isinstance(part, MediaPart)) == sorted(
        block["type"] for block in found
    )


@given(conversation=CONVERSATIONS)
def test_what_is_written_can_be_read(conversation: Conversation) -> None:
    """Cases 4, 9 and 10: a request that is written is one of this dialect, with the user's turn first."""
    body = write(conversation).body
    found = read_request(body, Notes())

    assert found.messages
    assert "user" == orjson.loads(body)["messages"][0]["role"]
    assert len(parts_of(conversation, ToolCallPart)) == len(parts_of(found, ToolCallPart))
    assert len(parts_of(conversation, ToolResultPart)) == len(parts_of(found, ToolResultPart))


ODD_TEXT = st.text(max_size=4) | st.sampled_from(["\ud800", "{" * 5, '{"a":' * 300 + "1" + "}" * 300])
ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "url", "url_citation", "encrypted_index", "definition"]), children
        )
    ),
    max_leaves=8,
)
ODD_OBJECT = st.dictionaries(
    ODD_TEXT | st.sampled_from(["type", "grammar", "properties", "$ref"]), ODD_JSON, max_size=3
)
ODD_PARTS = st.one_of(
    st.builds(TextPart, text=ODD_TEXT, citations=st.lists(ODD_OBJECT, max_size=2)),
    st.builds(
        MediaPart,
        kind=st.sampled_from(["image", "document", "audio", "video"]),
        media_type=ODD_TEXT | st.sampled_from(["image/png", "text/plain"]),
        data=ODD_TEXT,
        url=ODD_TEXT | st.just("https://x.test"),
        file_id=ODD_TEXT,
        text=ODD_TEXT,
    ),
    st.builds(ReasoningPart, text=ODD_TEXT, signature=ODD_TEXT, origin=ODD_TEXT | st.just("anthropic")),
    st.builds(ToolCallPart, id=ODD_TEXT, name=ODD_TEXT, arguments=ODD_TEXT, custom=st.booleans()),
    st.builds(ToolResultPart, call_id=ODD_TEXT, content=st.lists(TEXTS | MEDIA, max_size=2)),
)
ODD_CONVERSATIONS = st.builds(
    Conversation,
    messages=st.lists(
        st.builds(
            Message,
            role=st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
            parts=st.lists(ODD_PARTS, max_size=4),
            name=ODD_TEXT,
        ),
        max_size=4,
    ),
    tools=st.lists(
        st.builds(
            FunctionTool,
            name=ODD_TEXT,
            description=ODD_TEXT,
            parameters=ODD_OBJECT,
            custom=st.booleans(),
            grammar=ODD_OBJECT,
        )
        | st.builds(ServerTool, kind=ODD_TEXT | st.just("a_20250101"), raw=ODD_OBJECT),
        max_size=2,
    ),
    tool_choice=st.none()
    | st.builds(
        ToolChoice,
        mode=st.sampled_from(["auto", "none", "required"]),
        name=ODD_TEXT,
        allowed=st.lists(ODD_TEXT, max_size=2).map(tuple),
    ),
    response_format=st.none()
    | st.builds(ResponseFormat, kind=st.sampled_from(["json_object", "json_schema"]), schema=ODD_OBJECT),
    reasoning=st.none()
    | st.builds(ReasoningOptions, effort=ODD_TEXT, budget_tokens=st.none() | st.integers()),
    max_tokens=st.none() | st.integers(),
    temperature=st.none() | st.floats(),
    top_k=st.none() | st.integers(),
    n=st.none() | st.integers(-1, 2),
    stop=st.lists(ODD_TEXT, max_size=2),
    user=ODD_TEXT,
    service_tier=ODD_TEXT,
    extra=ODD_OBJECT,
)


@given(conversation=ODD_CONVERSATIONS, model=st.sampled_from(MODELS), strict=st.booleans())
def test_no_conversation_is_too_strange(conversation: Conversation, model: str, strict: bool) -> None:  # noqa: FBT001
    """Case 146: whatever a conversation holds, a request or a refusal by name comes of it."""
    outcome = attempt(conversation, model, Notes(strict=strict))

    if isinstance(outcome, GatewayError):
        assert outcome.reason in {Reason.INVALID_REQUEST, Reason.UNSUPPORTED}
        assert outcome.metadata["param"]
    else:
        assert isinstance(orjson.loads(outcome.body)["messages"], list)


def attempt(conversation: Conversation, model: str, notes: Notes) -> Written | GatewayError:
    """Write, and take a refusal for an outcome."""
    try:
        return write_request(conversation, model, False, notes)  # noqa: FBT003
    except GatewayError as error:
        return error
