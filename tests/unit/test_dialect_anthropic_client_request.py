"""
Requests of Anthropic messages, as clients send them, read into a conversation.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.adapters.adapter import outgoing_headers
from services.providers.adapters.translated import CLIENTS
from services.providers.call import Call, ClientDialect
from services.providers.dialects.anthropic.client_side import CLIENT
from services.providers.dialects.neutral.conversation import (
    CacheMark,
    Conversation,
    FunctionTool,
    MediaPart,
    Message,
    ReasoningOptions,
    ReasoningPart,
    ResponseFormat,
    ServerTool,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.registry import PROVIDERS

HELLO = [{"role": "user", "content": "hello"}]
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PDF = "application/pdf"


def read(notes: Notes | None = None, **members: Any) -> Conversation:
    body = {"model": "m", "max_tokens": 100, "messages": HELLO, **members}
    return CLIENT.read_request(orjson.dumps(body), notes if notes is not None else Notes())


def user(*blocks: dict[str, Any]) -> Conversation:
    return read(messages=[{"role": "user", "content": list(blocks)}])


def assistant(*blocks: dict[str, Any]) -> list[Any]:
    return read(messages=[{"role": "assistant", "content": list(blocks)}]).messages[0].parts


def refusal(**members: Any) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as raised:
        read(**members)
    return raised.value.reason, raised.value.metadata["param"]


def test_registered() -> None:
    """Calls in this dialect find their reader."""
    assert CLIENT is CLIENTS[ClientDialect.ANTHROPIC_MESSAGES]


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", [TextPart(text="Be brief.")]),
        (
            [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "text", "text": "b"},
            ],
            [TextPart(text="a", cache=CacheMark(ttl="1h")), TextPart(text="b")],
        ),
    ],
)
def test_system(system: Any, expected: list[TextPart]) -> None:
    """Case 58: a system prompt, as text or as blocks, is a message before all others, with marks aside."""
    messages = read(system=system).messages

    assert ["system", "user"] == [message.role for message in messages]
    assert expected == messages[0].parts


def test_system_messages_between_others() -> None:
    """Case 58: instructions that stand among the messages stay where they are."""
    found = read(messages=[*HELLO, {"role": "system", "content": "now in French"}, *HELLO])

    assert ["user", "system", "user"] == [message.role for message in found.messages]


def test_results_of_tools_come_first() -> None:
    """Case 59: results are messages of their own before the user's words, and images stay in both."""
    image = {"type": "image", "source": PNG}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "4"}, image]}
    found = user({"type": "text", "text": "and now?"}, image, result).messages
    picture = MediaPart(kind="image", media_type="image/png", data="aGk=")

    assert [
        Message(
            role="tool",
            parts=[ToolResultPart(call_id="t1", content=[TextPart(text="4"), picture])],
            path="messages.0",
        ),
        Message(role="user", parts=[TextPart(text="and now?"), picture], path="messages.0"),
    ] == found


def test_results_alone() -> None:
    """Case 59: results without words beside them make no message of the user's."""
    results = [{"type": "tool_result", "tool_use_id": name, "content": name} for name in ("a", "b")]

    assert ["tool"] == [message.role for message in user(*results).messages]
    assert ["a", "b"] == [part.call_id for part in user(*results).messages[0].parts]  # type: ignore[union-attr]  # all are results


def call(*headers: tuple[str, bytes]) -> dict[str, str]:
    made = Call(
        model="m",
        dialect=ClientDialect.ANTHROPIC_MESSAGES,
        body=b"{}",
        stream=False,
        headers=headers,
    )
    return dict(outgoing_headers(made, PROVIDERS["openai"], None))


def test_headers_for_a_provider_of_another_dialect() -> None:
    """Case 60: the key moves to where OpenAI reads it, and Anthropic's own headers stay behind."""
    found = call(
        ("x-api-key", b"sk-1"), ("anthropic-version", b"2023-06-01"), ("anthropic-beta", b"x"), ("x-a", b"1")
    )

    assert "Bearer sk-1" == found["authorization"]
    assert "1" == found["x-a"]
    assert not [name for name in found if name.startswith("anthropic-") or name == "x-api-key"]


def test_an_authorization_is_not_overwritten() -> None:
    """Case 60: a key in the header that OpenAI reads counts for more than one in Anthropic's."""
    found = call(("x-api-key", b"sk-1"), ("authorization", b"Bearer sk-2"))

    assert "Bearer sk-2" == found["authorization"]


def test_user_and_other_metadata() -> None:
    """Case 62: the end user goes on; what else stands in `metadata` is reported and not forwarded."""
    found = read(metadata={"user_id": "u-1", "team": "blue"})

    assert ("u-1", {}, {"metadata.team": "blue"}) == (found.user, found.metadata, found.extra)


def test_built_in_tools() -> None:
    """Case 63: tools that Anthropic defines are told apart from the client's, so that a target skips them."""
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    choice = {"type": "tool", "name": "web_search"}
    found = read(tools=[search], tool_choice=choice)

    assert [ServerTool(kind="web_search_20250305", raw=search, path="tools.0")] == found.tools
    assert ToolChoice(mode="required", name="web_search") == found.tool_choice


def test_own_tools() -> None:
    """The client's own tools are read with schema, strictness and mark; their type may be left out."""
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    tool = {"name": "f", "description": "d", "input_schema": schema, "cache_control": {"type": "ephemeral"}}
    found = read(tools=[tool, {"type": "custom", "name": "g", "input_schema": {}, "strict": True}]).tools

    assert [
        FunctionTool(name="f", description="d", parameters=schema, cache=CacheMark(), path="tools.0"),
        FunctionTool(name="g", parameters={}, strict=True, path="tools.1"),
    ] == found


def test_members_of_tools_that_nobody_else_has() -> None:
    """What says how Anthropic is to handle a tool is reported, unless it asks for nothing."""
    notes = Notes()
    read(
        notes, tools=[{"name": "f", "input_schema": {}, "defer_loading": True, "allowed_callers": ["direct"]}]
    )

    assert ("dropped=tools.defer_loading",) == notes.taken()


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(mode="auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(mode="required"), False),
        ({"type": "none"}, ToolChoice(mode="none"), None),
        (
            {"type": "tool", "name": "f", "disable_parallel_tool_use": False},
            ToolChoice(mode="required", name="f"),
            True,
        ),
    ],
)
def test_tool_choice(choice: dict[str, Any], expected: ToolChoice, parallel: bool | None) -> None:  # noqa: FBT001
    """Every choice among tools is read, and with it whether several calls may come at a time."""
    found = read(tools=[{"name": "f", "input_schema": {}}], tool_choice=choice)

    assert (expected, parallel) == (found.tool_choice, found.parallel_tool_calls)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, ReasoningOptions(budget_tokens=4096)),
        ({"thinking": {"type": "disabled"}}, ReasoningOptions(budget_tokens=0)),
        ({"thinking": {"type": "between_tools"}}, ReasoningOptions(budget_tokens=0)),
        ({"thinking": {"type": "adaptive"}}, ReasoningOptions(adaptive=True, effort="high")),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
            ReasoningOptions(adaptive=True, effort="low", show=False),
        ),
        ({"output_config": {"effort": "max"}}, ReasoningOptions(effort="max")),
    ],
)
def test_thinking(members: dict[str, Any], expected: ReasoningOptions | None) -> None:
    """Case 64: a budget stays one for the target to weigh; adaptive thinking has its effort, or high."""
    assert expected == read(**members).reasoning


@pytest.mark.parametrize("name", ["output_format", "output_config"])
def test_shape_of_the_answer(name: str) -> None:
    """Case 77: a JSON schema is taken from where it stands now and from where it stood before."""
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    members: dict[str, Any] = {name: wanted if name == "output_format" else {"format": wanted}}
    found = read(**members)

    assert ResponseFormat(kind="json_schema", schema={"type": "object"}) == found.response_format


def test_other_shapes() -> None:
    """Case 77: a format that is no JSON schema is reported and asks for nothing."""
    notes = Notes()

    assert None is read(notes, output_config={"format": {"type": "grammar"}}).response_format
    assert ("dropped=output_config.format",) == notes.taken()


@pytest.mark.parametrize(
    ("tier", "expected"), [("auto", "auto"), ("standard_only", "default"), ("flex", "flex")]
)
def test_service_tier(tier: str, expected: str) -> None:
    """Case 78: the tier goes on, under the name that others know it by."""
    assert expected == read(service_tier=tier).service_tier


BILLING = "x-anthropic-billing-header: cc_version=2.1.37.0d9; cc_entrypoint=cli; cch=fa690;"


@pytest.mark.parametrize(
    "system",
    [
        f"{BILLING}\nYou are a coder.",
        [{"type": "text", "text": BILLING}, {"type": "text", "text": "You are a coder."}],
    ],
)
def test_accounting_line_of_claude_code(system: Any) -> None:
    """Case 79: the line that changes with each request is taken out, so that prompt caches can hold."""
    notes = Notes(strict=True)

    assert [TextPart(text="You are a coder.")] == read(notes, system=system).messages[0].parts
    assert ["user"] == [message.role for message in read(system=BILLING).messages]


def test_accounting_line_elsewhere() -> None:
    """Case 79: the same words in what the user says are the user's, and within a prompt they are its own."""
    assert [TextPart(text=f"Never say {BILLING}")] == read(system=f"Never say {BILLING}").messages[0].parts
    assert [TextPart(text=BILLING)] == read(messages=[{"role": "user", "content": BILLING}]).messages[0].parts


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "image", "source": PNG}, MediaPart(kind="image", media_type="image/png", data="aGk=")),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
            MediaPart(kind="image", url="https://a/b.png"),
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "data:image/png;base64,aGk="}},
            MediaPart(kind="image", media_type="image/png", data="aGk="),
        ),
        (
            {"type": "image", "source": {"type": "file", "file_id": "f1"}},
            MediaPart(kind="image", file_id="f1"),
        ),
        (
            {
                "type": "document",
                "title": "T",
                "source": {"type": "base64", "media_type": PDF, "data": "aGk="},
                "cache_control": {"type": "ephemeral"},
            },
            MediaPart(kind="document", media_type=PDF, data="aGk=", name="T", cache=CacheMark()),
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://a/b"}},
            MediaPart(kind="document", media_type=PDF, url="https://a/b"),
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
            MediaPart(kind="document", media_type="text/plain", text="hi"),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "hi"}]}},
            MediaPart(kind="document", media_type="text/plain", text="hi"),
        ),
    ],
)
def test_media(block: dict[str, Any], expected: MediaPart) -> None:
    """Images and documents are read from every kind of source."""
    assert [expected] == user(block).messages[0].parts


def test_documents_of_several_blocks() -> None:
    """A document that holds images comes apart, and is reported."""
    notes = Notes()
    blocks = [{"type": "text", "text": "hi"}, {"type": "image", "source": PNG}]
    block = {"type": "document", "title": "T", "source": {"type": "content", "content": blocks}}
    found = read(notes, messages=[{"role": "user", "content": [block]}]).messages[0].parts

    assert [TextPart, TextPart, MediaPart] == [type(part) for part in found]
    assert ("emulated=messages.content.document",) == notes.taken()


def test_search_results() -> None:
    """What a search of the client's found is text to all others, with its title and source, and reported."""
    notes = Notes()
    block = {
        "type": "search_result",
        "title": "T",
        "source": "https://a",
        "content": [{"type": "text", "text": "hi"}],
        "citations": {"enabled": True},
    }
    found = read(notes, messages=[{"role": "user", "content": [block]}]).messages[0].parts

    assert [TextPart(text="T\nhttps://a\nhi")] == found
    assert ("emulated=messages.content.search_result", "dropped=messages.content.citations") == notes.taken()


def test_tool_result_that_is_an_error() -> None:
    """A result says whether it is an error only when the client does."""
    found = user({"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": True})

    assert [ToolResultPart(call_id="t", content=[TextPart(text="no")], is_error=True)] == found.messages[
        0
    ].parts


def test_tool_calls_of_the_history() -> None:
    """A call keeps its arguments to the letter, and the id carries a signature of another provider's."""
    block = {"type": "tool_use", "id": "call_1__sig_c2ln", "name": "f", "input": {"b": 1, "a": [1.5]}}

    assert [ToolCallPart(id="call_1", name="f", arguments='{"b":1,"a":[1.5]}', signature="sig")] == assistant(
        block
    )
    result = {"type": "tool_result", "tool_use_id": "call_1__sig_c2ln"}
    assert [ToolResultPart(call_id="call_1")] == user(result).messages[0].parts


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            {"type": "thinking", "thinking": "hm", "signature": "s="},
            ReasoningPart(text="hm", signature="s=", origin="anthropic"),
        ),
        ({"type": "thinking", "thinking": "hm", "signature": ""}, ReasoningPart(text="hm")),
        ({"type": "redacted_thinking", "data": "x="}, ReasoningPart(sealed="x=", origin="anthropic")),
        (
            {"type": "thinking", "thinking": "hm", "signature": "openai:rs_1:seal:"},
            ReasoningPart(text="hm", sealed="seal", origin="openai", item_id="rs_1"),
        ),
    ],
)
def test_thoughts_of_the_history(block: dict[str, Any], expected: ReasoningPart) -> None:
    """Thoughts come back with what their provider wants back, whoever that is."""
    assert [expected] == assistant(block)


def test_citations_of_the_history() -> None:
    """Citations of web pages go along with their text."""
    citation = {
        "type": "web_search_result_location",
        "url": "https://a",
        "title": "A",
        "cited_text": "c",
        "encrypted_index": "e",
    }
    found = assistant(
        {"type": "text", "text": "abc"}, {"type": "text", "text": "de", "citations": [citation]}
    )

    assert {
        "type": "url_citation",
        "url_citation": {
            "url": "https://a",
            "title": "A",
            "start_index": 3,
            "end_index": 5,
            "cited_text": "c",
            "encrypted_index": "e",
        },
    } == found[1].citations[0]


@pytest.mark.parametrize("kind", ["server_tool_use", "web_search_tool_result", "mcp_tool_use"])
def test_blocks_of_server_tools(kind: str) -> None:
    """What Anthropic's own tools left in the history is dropped and reported."""
    notes = Notes()
    content = [{"type": "text", "text": "a"}, {"type": kind, "id": "x", "content": []}]
    found = read(notes, messages=[{"role": "assistant", "content": content}])

    assert [TextPart(text="a")] == found.messages[0].parts
    assert (f"dropped=messages.content.{kind}",) == notes.taken()


def test_settings() -> None:
    """Sampling, limits and stops are read, and refusals name them as this client does."""
    found = read(temperature=0.5, top_p=0.9, top_k=40, stop_sequences=["x", ""], stream=True)
    notes = Notes()
    read(notes, stop_sequences=["x"])

    assert (0.5, 0.9, 40, ["x"], 100, True) == (
        found.temperature,
        found.top_p,
        found.top_k,
        found.stop,
        found.max_tokens,
        found.include_usage,
    )
    assert "stop_sequences" == notes.name("stop")
    assert "metadata.user_id" == notes.name("user")
    assert "tool_choice.disable_parallel_tool_use" == notes.name("parallel_tool_calls")


def test_mark_of_the_whole_request() -> None:
    """A mark on the request itself stands for one on its last part."""
    found = read(cache_control={"type": "ephemeral", "ttl": "5m"}, system="s")

    assert [None, CacheMark(ttl="5m")] == [message.parts[0].cache for message in found.messages]  # type: ignore[union-attr]  # text


def test_members_without_a_place() -> None:
    """What nobody reads is kept aside, to be reported by its name; what asks for nothing is not."""
    found = read(container="c", speed="standard", betas=["b"], anthropic_version="x", mcp_servers=[])

    assert {"container": "c", "betas": ["b"]} == found.extra


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "x"}}]}]},
            "messages.0.content.0.source.type",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "a", "name": "f", "input": 1}],
                    }
                ]
            },
            "messages.0.content.0.input",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "much"}}, "thinking.type"),
        ({"output_config": {"effort": "none"}}, "output_config.effort"),
        ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [{"name": "f"}]}, "tool_choice.name"),
        ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control.ttl"),
        ({"stop_sequences": "x"}, "stop_sequences"),
    ],
)
def test_malformed_requests(members: dict[str, Any], param: str) -> None:
    """What is malformed is refused, by the name that this client gives it."""
    assert (Reason.INVALID_REQUEST, param) == refusal(**members)


def test_blocks_that_nobody_knows() -> None:
    """What the user sends and nobody can read is refused: without it the question would be another."""
    messages = [{"role": "user", "content": [{"type": "hologram"}]}]

    assert (Reason.UNSUPPORTED, "messages.0.content.0.type") == refusal(messages=messages)
