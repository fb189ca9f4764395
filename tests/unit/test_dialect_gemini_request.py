"""
OpenAI chats as requests of Gemini: turns, tool calls and their results, media.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.gemini.target_side import gemini_target, wanted_media
from services.providers.dialects.neutral.conversation import MediaPart
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT

Json = dict[str, Any]

OLD, THINKING, NEW = "gemini-2.0-flash", "gemini-2.5-flash", "gemini-3-pro-preview"
USER = {"role": "user", "content": "Hello?"}
TURN = {"role": "user", "parts": [{"text": "Hello?"}]}
SKIP = "skip_thought_signature_validator"
SIGNATURE = b64encode(b"signed").decode()


def translated(
    messages: list[Any], model: str = THINKING, *, vertex: bool = False, **members: Any
) -> Translation:
    """Translate a chat; `strict=True` in strict mode."""
    strict = members.pop("strict", False)
    body = orjson.dumps({"model": "x", "messages": messages, **members})
    target = gemini_target(vertex=vertex)
    return translate_request(CLIENT, target, body, model=model, stream=False, now_s=0, strict=strict)


def written(messages: list[Any], model: str = THINKING, *, vertex: bool = False, **members: Any) -> Json:
    """Return the body that a chat becomes."""
    document: Json = orjson.loads(translated(messages, model, vertex=vertex, **members).written.body)
    return document


def refused(
    messages: list[Any], model: str = THINKING, *, vertex: bool = False, **members: Any
) -> GatewayError:
    """Return the error that a chat is refused with."""
    with pytest.raises(GatewayError) as caught:
        translated(messages, model, vertex=vertex, **members)
    return caught.value


def call(name: str, call_id: str, arguments: str = "{}", **more: Any) -> Json:
    """Write a tool call of OpenAI's."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def called(*calls: Json) -> Json:
    """Write an assistant's message with tool calls."""
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def result(call_id: str, content: Any = "ok") -> Json:
    """Write a tool's message."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def test_system_messages_become_the_instruction() -> None:
    """Case 81: System and developer messages, wherever they stand, become the instruction, in order."""
    body = written(
        [
            {"role": "system", "content": "a"},
            USER,
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        ]
    )

    assert {"systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]}, "contents": [TURN]} == body


def test_nothing_but_a_system_message() -> None:
    """Case 81: A chat of system messages alone still has a turn, and says that it was made up."""
    made = translated([{"role": "system", "content": "a"}])

    assert [{"role": "user", "parts": [{"text": " "}]}] == orjson.loads(made.written.body)["contents"]
    assert ("emulated=messages",) == made.notes


def test_models_without_an_instruction() -> None:
    """Case 81: A model that takes no instruction is told by the first thing that the user says."""
    body = written([{"role": "system", "content": "a"}, USER], "gemma-3-27b-it")

    assert {"contents": [{"role": "user", "parts": [{"text": "a"}, {"text": "Hello?"}]}]} == body


def test_turns_alternate() -> None:
    """Case 82: The assistant is called model, and messages of one role after another are one turn."""
    body = written(
        [
            USER,
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "c"},
            {"role": "assistant", "content": "d"},
            {"role": "user", "content": "e"},
        ]
    )

    assert [
        {"role": "user", "parts": [{"text": "Hello?"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
        {"role": "user", "parts": [{"text": "e"}]},
    ] == body["contents"]


def test_the_model_does_not_begin() -> None:
    """Case 82: A chat that begins with the assistant gets a user's turn before it."""
    body = written([{"role": "assistant", "content": "c"}, USER])

    assert ["user", "model", "user"] == [turn["role"] for turn in body["contents"]]


def test_a_last_turn_of_the_model_where_it_is_refused() -> None:
    """Newer models answer no turn of their own, which is said in the client's words."""
    messages = [USER, {"role": "assistant", "content": "The"}]

    assert "model" == written(messages, OLD)["contents"][-1]["role"]
    error = refused(messages, "gemini-3.6-flash")
    assert (Reason.UNSUPPORTED, "messages") == (error.reason, error.metadata["param"])


def test_results_have_the_name_of_their_tool() -> None:
    """Case 83: A result names the function, which OpenAI's does not: the call with its id tells."""
    body = written([USER, called(call("f", "c1", '{"a":1}')), result("c1")])

    assert [
        TURN,
        {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "c1", "name": "f", "response": {"output": "ok"}}}],
        },
    ] == body["contents"]


def test_a_result_of_no_call() -> None:
    """Case 83: A result whose call is not in the chat is the client's mistake, at its message."""
    error = refused([USER, called(call("f", "c1")), result("c2")])

    assert Reason.INVALID_REQUEST is error.reason
    assert "messages.2" == error.metadata["param"].replace("[", ".").replace("]", "")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain", {"output": "plain"}),
        ("", {"output": ""}),
        ('{"a": [1]}', {"a": [1]}),
        ("[1, 2]", {"output": "[1, 2]"}),
        ("7", {"output": "7"}),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], {"output": "a\nb"}),
    ],
)
def test_results_are_objects(content: Any, expected: Json) -> None:
    """Case 84: A result is an object: JSON objects as they are, anything else wrapped in one."""
    body = written([USER, called(call("f", "c1")), result("c1", content)])

    assert expected == body["contents"][2]["parts"][0]["functionResponse"]["response"]


def test_a_failed_result_says_so() -> None:
    """Case 84: The error of a tool is told as one."""
    body = written([USER, called(call("f", "c1")), {**result("c1", "no"), "is_error": True}])

    assert {"error": "no"} == body["contents"][2]["parts"][0]["functionResponse"]["response"]


def test_results_stand_alone_and_in_order() -> None:
    """Case 85: Results are a turn of nothing else, in the order of the calls and not of the messages."""
    body = written(
        [
            USER,
            called(call("f", "c1"), call("g", "c2")),
            result("c2"),
            {"role": "user", "content": "And?"},
            result("c1"),
        ]
    )

    turns = body["contents"][2:]
    assert ["c1", "c2"] == [part["functionResponse"]["id"] for part in turns[0]["parts"]]
    assert [{"role": "user", "parts": [{"text": "And?"}]}] == turns[1:]


def test_vertex_has_no_ids() -> None:
    """Case 85: For Vertex AI neither calls nor results have an id."""
    body = written([USER, called(call("f", "c1")), result("c1")], vertex=True)

    parts = [turn["parts"][0] for turn in body["contents"][1:]]
    assert {"functionCall": {"name": "f", "args": {}}} == parts[0]
    assert {"functionResponse": {"name": "f", "response": {"output": "ok"}}} == parts[1]


def test_signatures_go_back_with_their_calls() -> None:
    """Case 87: A call's signature comes back in the extension in which it was handed out."""
    signed = call("f", "c1", extra_content={"google": {"thought_signature": SIGNATURE}})

    parts = written([USER, called(signed, call("g", "c2")), result("c1"), result("c2")], NEW)["contents"][1][
        "parts"
    ]

    assert [SIGNATURE, None] == [part.get("thoughtSignature") for part in parts]


def test_calls_without_a_signature_get_the_stand_in() -> None:
    """Case 87: The first call of each turn bears Google's stand-in where the client lost the signature."""
    messages = [
        USER,
        called(call("f", "c1"), call("g", "c2")),
        result("c1"),
        result("c2"),
        called(call("f", "c3")),
    ]

    turns = written([*messages, result("c3")], NEW)["contents"]

    signatures = [
        [part.get("thoughtSignature") for part in turn["parts"]] for turn in turns if turn["role"] == "model"
    ]
    assert [[SKIP, None], [SKIP]] == signatures
    assert "thoughtSignature" not in orjson.dumps(written([*messages, result("c3")], THINKING)).decode()


@pytest.mark.parametrize("signature", ["not base64!", "abcde", "=", "ünsigned"])
def test_signatures_that_are_none(signature: str) -> None:
    """Case 88: A signature that Google would refuse is dropped and reported, and never a crash."""
    signed = call("f", "c1", extra_content={"google": {"thought_signature": signature}})

    made = translated([USER, called(signed), result("c1")], NEW)

    part = orjson.loads(made.written.body)["contents"][1]["parts"][0]
    assert SKIP == part["thoughtSignature"]
    assert any(note.startswith("dropped=messages") for note in made.notes)


def test_thoughts_of_others_are_dropped() -> None:
    """Case 88: A signature of another provider's model means nothing here."""
    block = {"type": "thinking", "thinking": "hm", "signature": SIGNATURE, "origin": "anthropic"}
    made = translated(
        [
            USER,
            {"role": "assistant", "content": "a", "thinking_blocks": [block]},
            {"role": "user", "content": "b"},
        ]
    )

    assert [{"text": "a"}] == orjson.loads(made.written.body)["contents"][1]["parts"]
    assert made.notes


@pytest.mark.parametrize("arguments", ["", "{}", "  "])
def test_empty_arguments(arguments: str) -> None:
    """A call without arguments has an empty object for them."""
    part = written([USER, called(call("f", "c1", arguments)), result("c1")])["contents"][1]["parts"][0]

    assert {} == part["functionCall"]["args"]


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", "1" * 5000])
def test_arguments_that_are_none(arguments: str) -> None:
    """Arguments in the history that are no object are the client's mistake."""
    error = refused([USER, called(call("f", "c1", arguments)), result("c1")])

    assert Reason.INVALID_REQUEST is error.reason


def _image(url: str, **more: Any) -> Json:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, **more}}]}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64,eA==", {"inlineData": {"mimeType": "image/png", "data": "eA=="}}),
        ("gs://b/a.webp", {"fileData": {"mimeType": "image/webp", "fileUri": "gs://b/a.webp"}}),
        ("gs://b/a", {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://b/a"}}),
        ("gs://b/A.PNG?x=1", {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/A.PNG?x=1"}}),
        ("https://h/a.png", {"fileData": {"mimeType": "image/png", "fileUri": "https://h/a.png"}}),
        (
            "https://youtu.be/abc",
            {"fileData": {"mimeType": "video/*", "fileUri": "https://youtu.be/abc"}},
        ),
    ],
)
def test_images(url: str, expected: Json) -> None:
    """Case 94: Data goes inline, and an address with a type: from the name, else the likeliest."""
    assert [expected] == written([_image(url)], vertex=url.startswith("gs:"))["contents"][0]["parts"]


@pytest.mark.parametrize(
    ("url", "model", "vertex", "wanted"),
    [
        ("https://h/a.png", THINKING, False, False),
        ("https://h/a.png", OLD, False, True),
        ("https://h/a.png", OLD, True, False),
        ("https://h/a.heic", THINKING, False, True),
        ("https://h/a.heic", THINKING, True, False),
        ("https://h/a", THINKING, False, True),
        ("https://h/a", THINKING, True, True),
        ("http://h/a.png", THINKING, True, True),
        ("https://www.youtube.com/watch?v=1", OLD, False, False),
        ("https://generativelanguage.googleapis.com/v1beta/files/1", OLD, False, False),
    ],
)
def test_what_has_to_be_fetched(url: str, model: str, vertex: object, wanted: object) -> None:
    """Case 94: What Google does not fetch, or cannot be told the type of, is wanted as bytes."""
    assert wanted == wanted_media(model, vertex=bool(vertex))(MediaPart(kind="image", url=url))


@pytest.mark.parametrize("url", ["https://h/a.png", "http://h/a.png"])
def test_images_that_cannot_be_had(url: str) -> None:
    """Case 94: An address that the model does not fetch, and nobody did before, is refused."""
    error = refused([_image(url)], OLD)

    assert Reason.UNSUPPORTED is error.reason
    assert error.metadata["param"].startswith("messages")


@pytest.mark.parametrize(
    ("model", "detail", "level", "notes"),
    [
        (NEW, "low", "MEDIA_RESOLUTION_LOW", ()),
        (NEW, "high", "MEDIA_RESOLUTION_HIGH", ()),
        (NEW, "auto", None, ()),
        (THINKING, "high", None, ("dropped=messages.content.image_url.detail",)),
    ],
)
def test_detail(model: str, detail: str, level: str | None, notes: tuple[str, ...]) -> None:
    """Case 95: How closely to look is a setting of each picture from version 3 on, else reported dropped."""
    made = translated([_image("data:image/png;base64,eA==", detail=detail)], model)

    part = orjson.loads(made.written.body)["contents"][0]["parts"][0]
    assert (level, notes) == (part.get("mediaResolution", {}).get("level"), made.notes)


def test_a_turn_of_pictures_alone() -> None:
    """Case 96: Older models want a text beside a picture; newer ones get only what the client wrote."""
    image = {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
    message = _image("data:image/png;base64,eA==")

    assert [image, {"text": " "}] == written([message], OLD)["contents"][0]["parts"]
    assert [image] == written([message], THINKING)["contents"][0]["parts"]


def test_pictures_of_tools() -> None:
    """What a tool gives back beside text goes into its result where the model takes that, else behind it."""
    content = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
    ]
    messages = [USER, called(call("f", "c1")), result("c1", content)]
    image = {"inlineData": {"mimeType": "image/png", "data": "eA=="}}

    new, old = (written(messages, model)["contents"][2:] for model in (NEW, THINKING))

    assert [image] == new[0]["parts"][0]["functionResponse"]["parts"]
    assert [{"role": "user", "parts": [image]}] == old[1:]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "input_audio", "file", "refusal"])},
    optional={
        "text": json_values,
        "image_url": st.fixed_dictionaries({"url": st.sampled_from(["gs://a", "data:,x", "x", ""])})
        | json_values,
        "file": json_values,
    },
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
    optional={
        "content": st.text(max_size=6) | st.lists(parts, max_size=3) | json_values,
        "tool_call_id": st.sampled_from(["c1", "c2"]) | json_values,
        "tool_calls": st.lists(
            st.builds(
                call, st.text(max_size=5), st.sampled_from(["c1", "c2"]), st.sampled_from(["", "{}", "x"])
            ),
            max_size=2,
        )
        | json_values,
        "name": json_values,
    },
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(messages, max_size=5),
    st.dictionaries(
        st.sampled_from(["n", "stop", "tools", "tool_choice", "response_format", "seed"]), json_values
    ),
    st.sampled_from([OLD, THINKING, NEW, "gemma-3-4b-it", ""]),
    st.booleans(),
)
def test_no_request_crashes(chat: list[Any], members: Json, model: str, vertex: object) -> None:
    """Whatever the client sends is translated or refused; what is translated has turns of user and model."""
    try:
        body = written(chat, model, vertex=bool(vertex), **members)
    except GatewayError as error:
        wrong = error
    else:
        assert "user" == body["contents"][0]["role"]
        assert all(turn["parts"] for turn in body["contents"])
        return
    assert wrong.reason in {Reason.INVALID_REQUEST, Reason.UNSUPPORTED}
    assert wrong.metadata["param"]
