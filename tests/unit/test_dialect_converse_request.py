"""Chats of OpenAI's dialect as requests of Converse, each held to AWS's own description of the API."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.dialects.converse.request_writer import write_count_request, write_request
from services.providers.dialects.neutral.conversation import (
    Conversation,
    MediaPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.openai_chat.side import CLIENT
from tests.fakes.converse_model import problems

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_3 = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "amazon.nova-lite-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
MISTRAL = "mistral.mistral-large-2402-v1:0"
PNG = "iVBORw0KGgoAAAANSUhEUg=="
PDF = base64.b64encode(b"%PDF-1.7 x").decode()
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
}


def write(
    model: str = CLAUDE_3, *, strict: bool = False, **chat: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    notes = Notes(strict=strict)
    conversation = CLIENT.read_request(orjson.dumps({"model": "x", "messages": HELLO, **chat}), notes)
    written = write_request(conversation, model, stream=False, notes=notes)
    request: dict[str, Any] = orjson.loads(written.body)
    assert problems("Converse", request) == ""
    return request, notes.taken()


def written_of(*messages: Message, model: str = CLAUDE_3, notes: Notes | None = None) -> dict[str, Any]:
    """Write messages that no reader made."""
    conversation = Conversation(messages=[Message(role="user", parts=[TextPart(text="q")]), *messages])
    written = write_request(conversation, model, stream=False, notes=notes or Notes())
    request: dict[str, Any] = orjson.loads(written.body)
    assert problems("Converse", request) == ""
    return request


def refusal(model: str = CLAUDE_3, **chat: Any) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as caught:
        write(model, **chat)
    return caught.value.reason, caught.value.metadata["param"]


def call(name: str = "look", arguments: str = "{}", call_id: str = "c1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], content: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(content: Any, call_id: str = "c1", **members: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content, **members}


def test_a_plain_chat() -> None:
    """Texts, the system prompt and limits have their places; the model is in the path and not in the body."""
    request, notes = write(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "developer", "content": "In French."},
        ],
        max_tokens=50,
        temperature=0.5,
        top_p=0.9,
        stop=["END"],
    )

    assert (request, notes) == (
        {
            "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
            "system": [{"text": "Be brief."}, {"text": "In French."}],
            "inferenceConfig": {"maxTokens": 50, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
        },
        (),
    )


def test_results_of_tools_are_the_users() -> None:
    """Case 112: results of calls become one user message, each as text, before the text that follows."""
    request, _ = write(
        tools=[TOOL],
        messages=[
            *HELLO,
            calling(call(), call(call_id="c2")),
            result('{"a":1}'),
            result("plain", "c2", is_error=True),
            {"role": "user", "content": "And now?"},
        ],
    )

    assert request["messages"][2] == {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": "c1", "content": [{"text": '{"a":1}'}]}},
            {"toolResult": {"toolUseId": "c2", "content": [{"text": "plain"}], "status": "error"}},
            {"text": "And now?"},
        ],
    }


def test_results_may_hold_pictures_and_never_nothing() -> None:
    """Case 112: a result keeps its pictures; one without content says so, since none may be empty."""
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    request, _ = write(
        tools=[TOOL],
        messages=[*HELLO, calling(call(), call(call_id="c2")), result([shown]), result("", "c2")],
    )

    assert [block["toolResult"]["content"] for block in request["messages"][2]["content"]] == [
        [{"image": {"format": "png", "source": {"bytes": PNG}}}],
        [{"text": "(no output)"}],
    ]


def test_a_history_with_calls_defines_their_tools() -> None:
    """Case 113: tools that the history calls and the request lacks are defined, and that is reported."""
    request, notes = write(messages=[*HELLO, calling(call("old")), result("x")])

    assert [tool["toolSpec"]["name"] for tool in request["toolConfig"]["tools"]] == ["old"]
    assert notes == ("emulated=tools",)


def test_a_result_without_its_call_defines_a_tool_too() -> None:
    """Case 113: a history that holds but the result of a call gets a tool of some name."""
    request, _ = write(messages=[*HELLO, result("x", "gone")])

    assert [tool["toolSpec"]["name"] for tool in request["toolConfig"]["tools"]] == ["former_tool"]


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ("", {}),
        ("  ", {}),
        ("{}", {}),
        ('{"a":[1]}', {"a": [1]}),
        ("[1]", {"value": [1]}),
        ('"s"', {"value": "s"}),
    ],
)
def test_arguments_are_objects(arguments: str, written: object) -> None:
    """Case 114: the input of a call is an object whatever the history has."""
    request = written_of(
        Message(role="assistant", parts=[ToolCallPart(id="c", name="look", arguments=arguments)])
    )

    assert request["messages"][1]["content"][0]["toolUse"]["input"] == written


def test_arguments_that_are_no_json_are_refused() -> None:
    """Case 114: arguments in the history that are not JSON are refused by their message's name."""
    call_part = ToolCallPart(id="c", name="look", arguments="{a")
    with pytest.raises(GatewayError, match=r"messages\[1\]") as caught:
        written_of(Message(role="assistant", parts=[call_part], path="messages[1]"))

    assert caught.value.reason is Reason.INVALID_REQUEST


def test_names_of_tools_are_fitted_everywhere_alike() -> None:
    """Case 115: a name that does not fit is another, the same one everywhere, and comes back as it was."""
    name = "files.read/" + "x" * 70
    notes = Notes()
    chat = {
        "model": "m",
        "messages": [*HELLO, calling(call(name)), result("x")],
        "tools": [{"type": "function", "function": {"name": name}}],
        "tool_choice": {"type": "function", "function": {"name": name}},
    }
    written = write_request(
        CLIENT.read_request(orjson.dumps(chat), notes), CLAUDE_3, stream=False, notes=notes
    )
    request = orjson.loads(written.body)

    assert problems("Converse", request) == ""
    sent = request["toolConfig"]["tools"][0]["toolSpec"]["name"]
    assert request["toolConfig"]["toolChoice"] == {"tool": {"name": sent}}
    assert request["messages"][1]["content"][0]["toolUse"]["name"] == sent
    assert written.restore.tool_names == {sent: name}


def test_ids_of_calls_are_fitted() -> None:
    """Case 115: an id that another provider made is fitted the same way in call and result."""
    long = "call|" + "z" * 80
    request, _ = write(tools=[TOOL], messages=[*HELLO, calling(call(call_id=long)), result("x", long)])
    used = request["messages"][1]["content"][0]["toolUse"]["toolUseId"]

    assert request["messages"][2]["content"][0]["toolResult"]["toolUseId"] == used


NAMED = {"type": "function", "function": {"name": "look"}}


@pytest.mark.parametrize(
    ("model", "choice", "sent", "notes"),
    [
        (CLAUDE_3, "auto", None, ()),
        (CLAUDE_3, "required", {"any": {}}, ()),
        (CLAUDE_3, NAMED, {"tool": {"name": "look"}}, ()),
        (NOVA, NAMED, {"tool": {"name": "look"}}, ()),
        (MISTRAL, "required", {"any": {}}, ()),
        (MISTRAL, NAMED, {"any": {}}, ("emulated=tool_choice",)),
        (LLAMA, "required", None, ("clamped=tool_choice:auto",)),
        (LLAMA, NAMED, None, ("clamped=tool_choice:auto",)),
    ],
)
def test_choice_of_tools(model: str, choice: Any, sent: object, notes: tuple[str, ...]) -> None:
    """Case 116: required is `any`; only some families can be forced to one tool, which is alone elsewhere."""
    other = {"type": "function", "function": {"name": "other"}}
    request, taken = write(model, tools=[TOOL, other], tool_choice=choice)
    offered = [tool["toolSpec"]["name"] for tool in request["toolConfig"]["tools"]]

    assert (request["toolConfig"].get("toolChoice"), taken) == (sent, notes)
    # Where the choice itself cannot name the tool, the others are left out.
    assert offered == (
        ["look"] if choice == NAMED and sent != {"tool": {"name": "look"}} else ["look", "other"]
    )


def test_no_tools_may_be_called() -> None:
    """Case 116: there is no word for `none`, so the tools are left out."""
    request, notes = write(tools=[TOOL], tool_choice="none")

    assert ("toolConfig" in request, notes) == (False, ("emulated=tool_choice",))


def test_marks_of_the_cache_stand_behind_what_they_mark() -> None:
    """Case 117: a cache point is an element of its own after the block, in system, messages and tools."""
    mark = {"cache_control": {"type": "ephemeral"}}
    request, _ = write(
        tools=[{**TOOL, **mark}],
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "Long.", **mark}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a", **mark}, {"type": "text", "text": "b"}],
            },
            calling({**call(), **mark}),
            {**result("x"), "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
    )
    point = {"cachePoint": {"type": "default"}}

    assert request["system"] == [{"text": "Long."}, point]
    assert request["messages"][0]["content"] == [{"text": "a"}, point, {"text": "b"}]
    assert request["messages"][2]["content"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert request["toolConfig"]["tools"][1] == point


@pytest.mark.parametrize(("model", "places"), [(NOVA, 1), (LLAMA, 0)])
def test_marks_that_a_model_does_not_take_are_reported(model: str, places: int) -> None:
    """Case 117: a mark where the family has no cache is dropped, and said so."""
    mark = {"cache_control": {"type": "ephemeral"}}
    request, notes = write(
        model,
        tools=[{**TOOL, **mark}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "a", **mark}]}],
    )

    assert orjson.dumps(request).count(b"cachePoint") == places
    assert "dropped=cache_control" in notes


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_pictures_are_bytes(kind: str) -> None:
    """Case 118: a picture in the request goes on as bytes with its format."""
    request, _ = write(
        messages=[
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,AAAA"}}],
            }
        ]
    )

    assert request["messages"][0]["content"] == [{"image": {"format": kind, "source": {"bytes": "AAAA"}}}]


@pytest.mark.parametrize("url", ["https://host/a.png", "data:image/bmp;base64,AAAA"])
def test_pictures_that_converse_cannot_take_are_refused(url: str) -> None:
    """Case 118: a picture that is an address, or of another format, is refused by its message's name."""
    content = [{"type": "image_url", "image_url": {"url": url}}]

    assert refusal(messages=[{"role": "user", "content": content}]) == (Reason.UNSUPPORTED, "messages[0]")


def test_pictures_in_s3_stay_there() -> None:
    """Case 118: an address in S3 is one that Converse reads itself."""
    part = {"type": "image_url", "image_url": {"url": "s3://bucket/a.png"}}
    request, _ = write(messages=[{"role": "user", "content": [part]}])

    assert request["messages"][0]["content"] == [
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}}
    ]


def document(name: str, data: str = PDF) -> dict[str, Any]:
    return {"type": "file", "file": {"filename": name, "file_data": f"data:application/pdf;base64,{data}"}}


def test_documents_have_names_of_their_own_and_text_beside_them() -> None:
    """Case 119: names hold what is allowed, no two are alike, and documents alone get a text beside them."""
    request, _ = write(
        messages=[{"role": "user", "content": [document("a_b: ä.pdf"), document("a/b: ö.pdf")]}]
    )
    blocks = request["messages"][0]["content"]

    assert [block["document"]["name"] for block in blocks[:2]] == ["a b pdf", "b pdf"]
    assert blocks[2:] == [{"text": "See the attached document."}]

    request, _ = write(
        messages=[{"role": "user", "content": [document("x.pdf"), document("x.pdf"), document("")]}]
    )
    assert [block["document"]["name"] for block in request["messages"][0]["content"][:3]] == [
        "x pdf",
        "x pdf (2)",
        "document",
    ]


def test_too_many_documents_are_refused() -> None:
    """Case 119: the sixth document of a request is refused."""
    content = [document(f"{number}.pdf") for number in range(6)]

    assert refusal(messages=[{"role": "user", "content": content}]) == (Reason.UNSUPPORTED, "messages[0]")


def test_too_large_documents_are_refused() -> None:
    """Case 119: a document beyond the limit is refused; PDFs are the provider's to judge."""
    text = base64.b64encode(b"a" * 4_600_000).decode()
    too_large = {"type": "file", "file": {"filename": "a.csv", "file_data": f"data:text/csv;base64,{text}"}}

    assert refusal(messages=[{"role": "user", "content": [too_large]}]) == (Reason.UNSUPPORTED, "messages[0]")
    write(messages=[{"role": "user", "content": [document("a.pdf", text)]}])


def test_a_budget_of_thinking_takes_sampling_away() -> None:
    """Case 122: thinking goes into the model's own fields, and sampling beside it is dropped and reported."""
    request, notes = write(
        CLAUDE,
        thinking={"type": "enabled", "budget_tokens": 2000},
        max_tokens=4000,
        temperature=0.2,
        top_k=5,
        top_p=0.5,
    )

    assert request["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    assert request["inferenceConfig"] == {"maxTokens": 4000}
    assert sorted(notes) == ["dropped=temperature", "dropped=top_k", "dropped=top_p"]


def thoughts(*parts: Any) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    notes = Notes()
    request = written_of(
        Message(role="assistant", parts=[*parts, ToolCallPart(id="c", name="look")]),
        Message(role="tool", parts=[ToolResultPart(call_id="c", content=[TextPart(text="r")])]),
        model=CLAUDE,
        notes=notes,
    )
    content: list[dict[str, Any]] = request["messages"][1]["content"]
    return content[:-1], notes.taken()


def test_thoughts_go_back_with_their_signature_or_not_at_all() -> None:
    """Case 122: signed and sealed thoughts are replayed; unsigned ones, and those of others, are dropped."""
    signed = ReasoningPart(text="t", signature="s", origin="anthropic")
    sealed = ReasoningPart(sealed="AAAA", origin="anthropic")
    dropped = ("dropped=messages.reasoning", "emulated=tools")

    assert thoughts(signed, sealed) == (
        [
            {"reasoningContent": {"reasoningText": {"text": "t", "signature": "s"}}},
            {"reasoningContent": {"redactedContent": "AAAA"}},
        ],
        ("emulated=tools",),
    )
    assert thoughts(ReasoningPart(text="t")) == ([], dropped)
    assert thoughts(ReasoningPart(text="t", signature="s", origin="gemini")) == ([], dropped)
    assert thoughts(ReasoningPart(sealed="not base64!", origin="anthropic")) == ([], dropped)


def test_thoughts_between_calls_stay_between_them() -> None:
    """Case 122: thoughts that came between text and calls are not moved: their signatures cover the order."""
    first = ReasoningPart(text="1", signature="a", origin="anthropic")
    second = ReasoningPart(text="2", signature="b", origin="anthropic")

    content, _ = thoughts(first, TextPart(text="said"), second)

    assert [next(iter(block)) for block in content] == ["reasoningContent", "text", "reasoningContent"]


def test_empty_messages_go_and_their_neighbours_merge() -> None:
    """Case 126: an assistant's message that says nothing is left out, and the user's around it become one."""
    request, _ = write(
        messages=[
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": " \n"},
            {"role": "user", "content": "b"},
        ]
    )

    assert request["messages"] == [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]


def test_a_conversation_begins_with_the_user() -> None:
    """A first message of the assistant's, or none of the user's at all, gets a small one before it."""
    request, notes = write(messages=[{"role": "assistant", "content": "Hi"}, *HELLO])

    assert (request["messages"][0], notes) == (
        {"role": "user", "content": [{"text": "."}]},
        ("emulated=messages.user",),
    )


def test_what_converse_has_no_word_for_is_reported() -> None:
    """Every parameter that gets lost is reported, zero as a seed too, and refused in strict mode."""
    chat: dict[str, Any] = {
        "seed": 0,
        "logit_bias": {"1": 2},
        "user": "me",
        "presence_penalty": 1,
        "temperature": 1.7,
        "parallel_tool_calls": False,
        "tools": [TOOL],
        "made_up": 1,
    }
    _, notes = write(**chat)

    assert set(notes) >= {
        "dropped=seed",
        "dropped=logit_bias",
        "dropped=user",
        "dropped=presence_penalty",
        "dropped=parallel_tool_calls",
        "clamped=temperature:1",
    }
    assert refusal(strict=True, seed=0) == (Reason.UNSUPPORTED, "seed")


def test_several_answers_are_refused() -> None:
    """More than one answer cannot be dropped to one: it is refused."""
    assert refusal(n=2) == (Reason.UNSUPPORTED, "n")


SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


def test_the_shape_of_the_answer_by_the_models_own_means() -> None:
    """A model that can be held to a schema gets it as text, without what its decoder refuses."""
    request, notes = write(CLAUDE, response_format=FORMAT)
    definition = request["outputConfig"]["textFormat"]["structure"]["jsonSchema"]

    assert orjson.loads(definition["schema"]) == {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert notes == ("clamped=response_format.json_schema:minLength",)


def test_the_shape_of_the_answer_by_a_tool() -> None:
    """Another model must call a tool whose arguments are the answer."""
    request, notes = write(CLAUDE_3, response_format=FORMAT)

    assert request["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "json_answer",
                    "description": "Gives the answer to the user.",
                    "inputSchema": {"json": SCHEMA},
                }
            }
        ],
        "toolChoice": {"tool": {"name": "json_answer"}},
    }
    assert notes == ("emulated=response_format",)


def test_the_shape_of_the_answer_by_words() -> None:
    """Where no call can be forced either, the system prompt says it."""
    request, _ = write(LLAMA, response_format=FORMAT)

    assert "matches this JSON schema" in request["system"][0]["text"]


def test_members_of_converse_itself_pass() -> None:
    """A client that knows Converse may send its own members beside OpenAI's."""
    guard = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    request, notes = write(
        guardrailConfig=guard,
        additionalModelRequestFields={"custom": 1},
        additionalModelResponseFieldPaths=["/x"],
        metadata={"team": "a"},
        service_tier="flex",
    )

    assert (request["guardrailConfig"], request["additionalModelRequestFields"], notes) == (
        guard,
        {"custom": 1},
        (),
    )
    assert (request["additionalModelResponseFieldPaths"], request["requestMetadata"]) == (
        ["/x"],
        {"team": "a"},
    )
    assert request["serviceTier"] == {"type": "flex"}


def test_sound_in_a_result_is_refused() -> None:
    """Converse's results have no sound, so it is not dropped but refused."""
    sound = MediaPart(kind="audio", media_type="audio/wav", data="AAAA")
    result_part = ToolResultPart(call_id="c", content=[sound])

    with pytest.raises(GatewayError, match=r"messages\[0\]"):
        written_of(Message(role="tool", parts=[result_part], path="messages[0]"))


def test_a_request_that_counts() -> None:
    """What counts tokens is what would be sent, without what tokens do not depend on."""
    notes = Notes()
    chat = {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, *HELLO],
        "max_tokens": 9,
        "tools": [TOOL],
    }
    body = write_count_request(
        CLIENT.read_request(orjson.dumps(chat), notes), CLAUDE_3, stream=False, notes=notes
    ).body
    counted = orjson.loads(body)

    assert (problems("CountTokens", counted), sorted(counted["input"]["converse"])) == (
        "",
        ["messages", "system", "toolConfig"],
    )


def test_tools_that_take_free_text() -> None:
    """A tool for free text takes it in an object, with its grammar told, and its calls are written alike."""
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    custom = {"type": "custom", "custom": {"name": "sh", "description": "Runs.", "format": grammar}}
    ran = {"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    request, notes = write(
        tools=[custom], messages=[*HELLO, {"role": "assistant", "tool_calls": [ran]}, result("x")]
    )
    spec = request["toolConfig"]["tools"][0]["toolSpec"]

    assert "start: A" in spec["description"]
    assert spec["inputSchema"]["json"]["required"] == ["input"]
    assert request["messages"][1]["content"][0]["toolUse"]["input"] == {"input": "ls"}
    assert any(note.startswith("emulated=tools") for note in notes)


def test_tools_of_another_provider() -> None:
    """Tools that a provider runs itself are dropped and reported, and the choice with the last of them."""
    tool = {"type": "web_search_20250305", "name": "web_search"}
    request, notes = write(tools=[tool], tool_choice="required")

    assert ("toolConfig" in request, "dropped=tool_choice" in notes, len(notes)) == (False, True, 2)
