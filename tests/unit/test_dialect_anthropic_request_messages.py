from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT

OLD = "claude-sonnet-4-5"
NEW = "claude-opus-4-8"
PNG = "data:image/png;base64," + base64.b64encode(b"png").decode()
PDF_DATA = base64.b64encode(b"%PDF").decode()
USER = {"role": "user", "content": "Hi"}


def translate(messages: Any, model: str = OLD, *, strict: bool = False, **members: Any) -> Translation:
    body = orjson.dumps({"messages": messages, "max_tokens": 100, **members})
    return translate_request(
        CLIENT, anthropic_target(), body, model=model, stream=False, now_s=1, strict=strict
    )


def sent(messages: list[dict[str, Any]], model: str = OLD, **members: Any) -> dict[str, Any]:
    found = orjson.loads(translate(messages, model, **members).written.body)
    assert isinstance(found, dict)
    return found


def notes(messages: list[dict[str, Any]], model: str = OLD, **members: Any) -> tuple[str, ...]:
    return translate(messages, model, **members).notes


def refusal(messages: Any, model: str = OLD, *, strict: bool = False, **members: Any) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as caught:
        translate(messages, model, strict=strict, **members)
    assert caught.value.metadata["param"] in caught.value.message
    return caught.value.reason, caught.value.metadata["param"]


def call(name: str = "f", arguments: str = "{}", call_id: str = "c1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def test_system_and_developer_are_hoisted() -> None:
    """Case 3: system and developer messages, wherever they stand, are joined in order at the top."""
    found = sent(
        [{"role": "system", "content": "A"}, USER, {"role": "developer", "content": [text("B"), text("C")]}]
    )

    assert "A\n\nB\n\nC" == found["system"]
    assert [{"role": "user", "content": [text("Hi")]}] == found["messages"]


def test_system_with_cache_mark_keeps_its_blocks() -> None:
    """Cases 3 and 35: a system part that is marked for caching stays a block of its own."""
    marked = {**text("B"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    found = sent([{"role": "system", "content": "A"}, {"role": "system", "content": [marked]}, USER])

    assert [text("A"), marked] == found["system"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "A"}],
        [{"role": "assistant", "content": "Hello"}, USER],
        [{"role": "user", "content": "  "}],
    ],
)
def test_missing_user_turn_is_put_in(messages: list[dict[str, Any]]) -> None:
    """Case 4: a conversation never starts without the user's turn, and what was put in is reported."""
    found = sent(messages)

    assert {"role": "user", "content": [text(".")]} == found["messages"][0]
    assert ("emulated=messages.user",) == notes(messages)
    assert (Reason.UNSUPPORTED, "messages.user") == refusal(messages, strict=True)


def test_same_roles_are_merged() -> None:
    """Case 5: consecutive messages of one role become one turn."""
    found = sent([USER, {"role": "user", "content": "there"}, {"role": "assistant", "content": "A"}, USER])

    assert ["user", "assistant", "user"] == [turn["role"] for turn in found["messages"]]
    assert [text("Hi"), text("there")] == found["messages"][0]["content"]


def test_tool_results_come_first_in_one_turn() -> None:
    """Case 6: consecutive tool messages become one turn, results before text."""
    found = sent(
        [
            USER,
            {"role": "assistant", "tool_calls": [call(call_id="c1"), call(call_id="c2")]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "user", "content": "and?"},
            {"role": "tool", "tool_call_id": "c2", "content": "two"},
        ]
    )

    assert [
        {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
        {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
        text("and?"),
    ] == found["messages"][2]["content"]


def test_tool_result_of_parts() -> None:
    """Case 7: a tool's content may be parts, images too."""
    parts = [text("see"), {"type": "image_url", "image_url": {"url": PNG}}]
    found = sent(
        [
            USER,
            {"role": "assistant", "tool_calls": [call()]},
            {"role": "tool", "tool_call_id": "c1", "content": parts},
        ]
    )

    assert ["text", "image"] == [part["type"] for part in found["messages"][2]["content"][0]["content"]]


@pytest.mark.parametrize(
    ("given", "expected"), [({"is_error": True}, True), ({"is_error": False}, None), ({}, None)]
)
def test_tool_error_only_when_said(given: dict[str, Any], expected: object) -> None:
    """Case 8: a result is an error when the client says so, whatever the content reads like."""
    result = {"role": "tool", "tool_call_id": "c1", "content": "Error: no", **given}
    found = sent([USER, {"role": "assistant", "tool_calls": [call()]}, result])

    assert expected == found["messages"][2]["content"][0].get("is_error")


@pytest.mark.parametrize("content", [None, "", "  ", [], [text("")]])
def test_call_without_text_has_no_empty_block(content: Any) -> None:
    """Case 9: a message that only calls tools has no empty text block."""
    result = {"role": "tool", "tool_call_id": "c1", "content": ""}
    found = sent([USER, {"role": "assistant", "content": content, "tool_calls": [call()]}, result])

    assert ["tool_use"] == [block["type"] for block in found["messages"][1]["content"]]
    assert [{"type": "tool_result", "tool_use_id": "c1"}] == found["messages"][2]["content"]


def test_whitespace_is_stripped_from_the_prefill() -> None:
    """Case 10: whitespace at the end of the last assistant turn goes; elsewhere it stays."""
    found = sent(
        [USER, {"role": "assistant", "content": "A "}, USER, {"role": "assistant", "content": "B \n"}]
    )

    assert [text("A ")] == found["messages"][1]["content"]
    assert [text("B")] == found["messages"][3]["content"]


@pytest.mark.parametrize(("arguments", "expected"), [("", {}), (" ", {}), ('{"a":1}', {"a": 1})])
def test_arguments(arguments: str, expected: dict[str, Any]) -> None:
    """Case 11: empty arguments are an empty object."""
    found = sent([USER, {"role": "assistant", "tool_calls": [call(arguments=arguments)]}, USER])

    assert expected == found["messages"][1]["content"][0]["input"]


@pytest.mark.parametrize("arguments", ['{"a":', "[]", "7", "null"])
def test_broken_arguments_are_named(arguments: str) -> None:
    """Case 11: arguments that are no JSON object are the client's error, with the place named."""
    messages = [USER, {"role": "assistant", "tool_calls": [call(), call(arguments=arguments)]}]

    assert (Reason.INVALID_REQUEST, "messages[1].tool_calls[1].function.arguments") == refusal(messages)


def test_signed_thinking_is_replayed_first() -> None:
    """Case 29: thinking goes back with its signature, redacted as it is, in order, before all else."""
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "thinking", "thinking": "", "signature": "t"},
    ]
    message = {"role": "assistant", "content": "A", "reasoning_content": "hm", "thinking_blocks": blocks}

    found = sent([USER, {"role": "assistant", "content": "Z"}, message, USER])

    assert [*blocks, text("Z"), text("A")] == found["messages"][1]["content"]
    assert () == notes([USER, message, USER])


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        ({"reasoning_content": "hm"}, "dropped=messages.reasoning_content"),
        (
            {"thinking_blocks": [{"type": "thinking", "thinking": "hm"}]},
            "dropped=messages.reasoning_content",
        ),
    ],
)
def test_unsigned_thinking_is_dropped(extra: dict[str, Any], note: str) -> None:
    """Case 29: thinking without a signature cannot go back, and that is reported."""
    messages = [USER, {"role": "assistant", "content": "A", **extra}, USER]

    assert [text("A")] == sent(messages)["messages"][1]["content"]
    assert (note,) == notes(messages)
    assert (Reason.UNSUPPORTED, note.removeprefix("dropped=")) == refusal(messages, strict=True)


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "image/gif", "image/webp", "image/jpg"])
def test_image_in_a_data_uri(media_type: str) -> None:
    """Case 32: an image in the request becomes a base64 source."""
    part = {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,cG5n"}}
    source = sent([{"role": "user", "content": [part]}])["messages"][0]["content"][0]["source"]

    assert {"type": "base64", "media_type": media_type.replace("jpg", "jpeg"), "data": "cG5n"} == source


def test_image_by_url() -> None:
    """Case 32: a remote image becomes a URL source; `detail` is reported when it asked for something."""
    part = {"type": "image_url", "image_url": {"url": "https://x.test/a.png?b=1", "detail": "high"}}
    messages = [{"role": "user", "content": [part]}]

    source = {"type": "url", "url": "https://x.test/a.png?b=1"}
    assert [{"type": "image", "source": source}] == sent(messages)["messages"][0]["content"]
    assert ("dropped=messages.content.image_url.detail",) == notes(messages)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/bmp;base64,cG5n", Reason.UNSUPPORTED),
        ("data:image/svg+xml;utf8,<svg/>", Reason.INVALID_REQUEST),
        ("data:image/png;base64,", Reason.INVALID_REQUEST),
        ("data:image/png;base64,?", Reason.INVALID_REQUEST),
        ("gs://bucket/a.png", Reason.UNSUPPORTED),
        ("a.png", Reason.INVALID_REQUEST),
        ("http://[", Reason.INVALID_REQUEST),
    ],
)
def test_other_images_are_refused(url: str, reason: Reason) -> None:
    """Case 32: any other image is refused, naming the part."""
    messages = [{"role": "user", "content": [text("x"), {"type": "image_url", "image_url": url}]}]

    assert (reason, "messages[0].content[1].image_url") == refusal(messages)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (
            {"type": "image_url", "image_url": f"data:application/pdf;base64,{PDF_DATA}"},
            {"type": "base64", "media_type": "application/pdf", "data": PDF_DATA},
        ),
        (
            {"type": "image_url", "image_url": "https://x.test/a.PDF?x"},
            {"type": "url", "url": "https://x.test/a.PDF?x"},
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF_DATA}"}},
            {"type": "base64", "media_type": "application/pdf", "data": PDF_DATA},
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk="}},
            {"type": "text", "media_type": "text/plain", "data": "Hi"},
        ),
    ],
)
def test_documents(part: dict[str, Any], source: dict[str, Any]) -> None:
    """Case 33: PDFs and text files become documents."""
    blocks = sent([{"role": "user", "content": [part]}])["messages"][0]["content"]

    assert [{"type": "document", "source": source}] == blocks


def test_document_keeps_its_name() -> None:
    """Case 33: a file's name is the document's title."""
    part = {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF_DATA}"},
    }

    assert "a.pdf" == sent([{"role": "user", "content": [part]}])["messages"][0]["content"][0]["title"]


@pytest.mark.parametrize(
    ("part", "param", "reason"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id", Reason.UNSUPPORTED),
        (
            {"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}},
            "file.file_data",
            Reason.UNSUPPORTED,
        ),
        ({"type": "file", "file": {}}, "file.file_data", Reason.INVALID_REQUEST),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
            "input_audio",
            Reason.UNSUPPORTED,
        ),
        ({"type": "video"}, "type", Reason.INVALID_REQUEST),
    ],
)
def test_other_parts_are_refused(part: dict[str, Any], param: str, reason: Reason) -> None:
    """Cases 33 and 34: file ids, audio and unknown parts are refused, not silently dropped."""
    assert (reason, f"messages[0].content[0].{param}") == refusal([{"role": "user", "content": [part]}])


def test_cache_marks_are_kept() -> None:
    """Case 35: cache marks on parts and messages stay where they were put."""
    mark = {"cache_control": {"type": "ephemeral"}}
    image = {"type": "image_url", "image_url": {"url": PNG}, **mark}
    found = sent(
        [
            {"role": "user", "content": [{**text("A"), **mark}, image]},
            {"role": "user", "content": "B", **mark},
        ]
    )

    assert [mark["cache_control"]] * 3 == [
        block["cache_control"] for block in found["messages"][0]["content"]
    ]


def test_refusal_is_text() -> None:
    """Case 36: a refusal in the history is text."""
    part = {"type": "refusal", "refusal": "No."}
    found = sent(
        [USER, {"role": "assistant", "content": [part]}, {"role": "assistant", "refusal": "Never."}, USER]
    )

    assert [text("No."), text("Never.")] == found["messages"][1]["content"]


def test_prefill() -> None:
    """Case 37: older models take a prefill; newer ones do not, and the client is told."""
    messages = [USER, {"role": "assistant", "content": "The answer is"}]

    assert "assistant" == sent(messages)["messages"][-1]["role"]
    assert (Reason.UNSUPPORTED, "messages") == refusal(messages, NEW)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ({}, "messages"),
        (["x"], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([USER, {"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
        ([USER, {"role": "assistant", "tool_calls": {}}], "messages[1].tool_calls"),
        ([USER, {"role": "assistant", "tool_calls": [{}]}], "messages[1].tool_calls[0].function"),
        (
            [USER, {"role": "assistant", "thinking_blocks": [{"type": "x"}]}],
            "messages[1].thinking_blocks[0].type",
        ),
        ([{"role": "system", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
    ],
)
def test_malformed_messages_are_named(messages: Any, param: str) -> None:
    """A malformed message is the client's error, with the place named."""
    assert (Reason.INVALID_REQUEST, param) == refusal(messages)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "name": "f", "content": "x"}, "messages[1].role"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages[1].function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[1].audio"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "mcp"}]},
            "messages[1].tool_calls[0].type",
        ),
    ],
)
def test_messages_without_counterpart_are_named(message: dict[str, Any], param: str) -> None:
    """A message that the target has no form for is refused, with the place named."""
    found = refusal([USER, message], strict=False)

    assert param == found[1]


def test_participant_names_are_reported() -> None:
    """A participant's name has no counterpart, and that is reported."""
    assert ("dropped=messages.name",) == notes([{**USER, "name": "ann"}])


def test_call_ids_fit_anthropics_alphabet() -> None:
    """Ids that another provider made are fitted alike in call and result."""
    found = sent(
        [
            USER,
            {"role": "assistant", "tool_calls": [call(call_id="a:1|x")]},
            {"role": "tool", "tool_call_id": "a:1|x", "content": "r"},
        ]
    )

    assert (
        "a_1_x"
        == found["messages"][1]["content"][0]["id"]
        == found["messages"][2]["content"][0]["tool_use_id"]
    )
