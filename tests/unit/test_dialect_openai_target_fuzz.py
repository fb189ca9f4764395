"""
Chat completions as a target: what can be said survives the way out and back, and nothing crashes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.neutral.conversation import (
    Conversation,
    FunctionTool,
    MediaPart,
    Message,
    ReasoningOptions,
    RefusalPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from services.providers.dialects.neutral.events import Ended, Failed, Finished, KeepAlive, Started
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.openai_chat import hosts
from services.providers.dialects.openai_chat.answer_reader import read_answer
from services.providers.dialects.openai_chat.quirks import EFFORTS, ChatQuirks
from services.providers.dialects.openai_chat.request_reader import read_request
from services.providers.dialects.openai_chat.stream_reader import ChatStreamReader
from services.providers.dialects.openai_chat.target_side import chat_target

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from services.providers.dialects.neutral.events import Event
    from services.providers.dialects.neutral.sides import Written

# A host that takes all that there is.
OPEN = ChatQuirks(
    lacks=frozenset(),
    takes=frozenset({"store", "prompt_cache_key"}),
    efforts=EFFORTS,
    developer=True,
    refusals=True,
    cache_marks=True,
    signatures=True,
    files="file",
    audio="object",
    video=True,
    prefill="plain",
    custom_tools=True,
    allowed_tools=True,
    strict=True,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
NAME = st.text("aZ0_-", min_size=1, max_size=4)
SCHEMA = st.dictionaries(NAME, st.none() | st.booleans() | st.integers(-9, 9) | TEXT, min_size=1, max_size=3)
ARGUMENTS = SCHEMA.map(lambda value: orjson.dumps(value).decode())
MAYBE = st.none() | st.booleans()
MEDIA = st.one_of(
    st.builds(
        MediaPart,
        kind=st.just("image"),
        media_type=st.just("image/png"),
        data=st.just("aGk="),
        detail=st.sampled_from(["", "low", "high"]),
    ),
    st.builds(MediaPart, kind=st.just("image"), url=st.just("https://example.com/a.png")),
    st.builds(
        MediaPart,
        kind=st.just("document"),
        media_type=st.just("application/pdf"),
        data=st.just("aGk="),
        name=NAME,
    ),
    st.builds(MediaPart, kind=st.just("document"), file_id=NAME),
    st.builds(MediaPart, kind=st.just("audio"), media_type=st.just("audio/wav"), data=st.just("aGk=")),
    st.builds(MediaPart, kind=st.just("video"), url=st.just("https://example.com/a.mp4")),
)
SAID = st.builds(TextPart, text=TEXT)


FORMATS = st.builds(
    ResponseFormat,
    kind=st.just("json_schema"),
    name=NAME,
    description=st.just("") | TEXT,
    schema=SCHEMA,
    strict=MAYBE,
)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "response_format": FORMATS,
        "reasoning": st.builds(ReasoningOptions, effort=st.sampled_from(EFFORTS)),
        "max_tokens": st.integers(1, 99),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 9),
        "stop": st.lists(TEXT, max_size=3),
        "seed": st.integers(-9, 9),
        "n": st.integers(2, 4),
        "presence_penalty": st.floats(0.1, 2),
        "frequency_penalty": st.floats(-2, -0.1),
        "logit_bias": st.just({"1": -3}),
        "logprobs": st.sampled_from([True]),
        "top_logprobs": st.integers(1, 9),
        "user": TEXT,
        "metadata": st.just({"a": "b"}),
        "service_tier": st.sampled_from(["auto", "flex"]),
        "verbosity": st.just("low"),
        "extra": st.just({"store": True, "prompt_cache_key": "k"}),
    },
)


@st.composite
def rounds(draw: DrawFn, number: int) -> list[Message]:
    """Make what a user says, what the model answers, and what its tools give."""
    talk: list[Any] = [*draw(st.lists(SAID, min_size=1, max_size=2)), *draw(st.lists(MEDIA, max_size=2))]
    found = [Message(role="user", parts=talk, name=draw(st.just("") | NAME))]
    answer: list[Any] = draw(st.lists(st.builds(TextPart, text=TEXT), max_size=1))
    answer += draw(st.lists(st.builds(RefusalPart, text=TEXT), max_size=1))
    calls = [
        ToolCallPart(
            id=f"call_{number}_{index}",
            name=draw(NAME),
            arguments=draw(TEXT if custom else ARGUMENTS),
            signature="" if custom else draw(st.sampled_from(["", "c2ln"])),
            custom=custom,
        )
        for index, custom in enumerate(draw(st.lists(st.booleans(), max_size=2)))
    ]
    if answer or calls:
        found.append(Message(role="assistant", parts=[*answer, *calls]))
    for call in calls:
        said: list[Any] = draw(st.lists(SAID, min_size=1, max_size=2))
        result = ToolResultPart(call_id=call.id, content=said, custom=call.custom)
        found.append(Message(role="tool", parts=[result]))
    return found


@st.composite
def conversations(draw: DrawFn) -> Conversation:
    """Make a conversation of which chat completions can say everything."""
    roles: list[Any] = draw(st.lists(st.sampled_from(["system", "developer"]), max_size=2))
    messages = [Message(role=role, parts=[draw(SAID)]) for role in roles]
    for number in range(draw(st.integers(1, 2))):
        messages += draw(rounds(number))
    for index, message in enumerate(messages):
        message.path = f"messages[{index}]"
    names = draw(st.lists(NAME, max_size=3, unique=True))
    tools = [_tool(draw, name, index) for index, name in enumerate(names)]
    options: dict[str, Any] = draw(OPTIONS)
    choices: list[Any] = [st.none()]
    if names:
        choices += [
            st.builds(ToolChoice, mode=st.sampled_from(["auto", "none", "required"])),
            st.builds(ToolChoice, mode=st.just("required"), name=st.sampled_from(names)),
            st.builds(ToolChoice, mode=st.sampled_from(["auto", "required"]), allowed=st.just(tuple(names))),
        ]
    return Conversation(
        messages=messages,
        tools=list(tools),
        tool_choice=draw(st.one_of(choices)),
        parallel_tool_calls=draw(MAYBE) if names else None,
        include_usage=True,
        **options,
    )


def _tool(draw: DrawFn, name: str, index: int) -> FunctionTool:
    path, description = f"tools[{index}]", draw(st.just("") | TEXT)
    if draw(st.booleans()):
        grammar = draw(st.none() | st.just({"type": "grammar", "grammar": {"syntax": "regex"}}))
        return FunctionTool(name=name, description=description, custom=True, grammar=grammar, path=path)
    return FunctionTool(
        name=name,
        description=description,
        parameters=draw(st.none() | SCHEMA),
        strict=draw(MAYBE),
        path=path,
    )


def write(conversation: Conversation, quirks: ChatQuirks, notes: Notes) -> Written:
    stream = True
    return chat_target(quirks).write_request(conversation, "gpt-5.4", stream, notes)


# A conversation takes long to make up.
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(conversations())
def test_nothing_is_lost_on_the_way(conversation: Conversation) -> None:
    """What chat completions can say is the same conversation when read again, and nothing is reported."""
    notes = Notes()
    extra = dict(conversation.extra)
    body = write(conversation, OPEN, notes).body
    conversation.extra = extra

    assert () == notes.taken()
    assert conversation == read_request(body, Notes())


@FEW
@given(conversations(), st.sampled_from([getattr(hosts, name) for name in hosts.__all__]))
def test_every_host_gets_a_request(conversation: Conversation, quirks: ChatQuirks) -> None:
    """Every host gets a request, or the client a refusal that names a parameter."""
    refused: GatewayError | None = None
    try:
        body = write(conversation, quirks, Notes()).body
    except GatewayError as error:
        refused, body = error, b"{}"

    assert refused is None or refused.metadata["param"]
    assert isinstance(orjson.loads(body), dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_DELTA = [
    "annotations",
    "audio",
    "content",
    "custom",
    "extra_content",
    "function",
    "function_call",
    "id",
    "image_url",
    "images",
    "index",
    "name",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "role",
    "signature",
    "text",
    "thinking",
    "thinking_blocks",
    "tool_calls",
    "type",
]


def _shaped(inner: Any) -> Any:
    """Nest values below the members that are read."""
    return st.dictionaries(st.sampled_from(_DELTA), inner | st.lists(inner, max_size=2), max_size=4)


SHAPED = _shaped(_shaped(JSON) | JSON)
CHUNKS = st.builds(
    lambda delta, finish, rest: {
        "choices": [{"delta": delta, "message": delta, "finish_reason": finish, **rest}],
        **rest,
    },
    SHAPED,
    st.none() | st.sampled_from(["stop", "error", "x"]) | JSON,
    st.dictionaries(
        st.sampled_from(
            ["citations", "error", "index", "logprobs", "model", "search_results", "usage", "x_groq"]
        ),
        JSON,
        max_size=2,
    ),
)


def dumped(value: Any) -> bytes | None:
    try:
        return orjson.dumps(value)
    except TypeError:
        return None


def drive(data: bytes, size: int) -> list[Event]:
    reader = ChatStreamReader()
    found: list[Event] = []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    found += reader.finish()
    assert [] == reader.feed(data) + reader.finish()
    return [one for one in found if not isinstance(one, KeepAlive)]


@given(st.lists(CHUNKS | JSON, max_size=4), st.integers(1, 40))
def test_no_stream_crashes_the_reader(documents: list[Any], size: int) -> None:
    """Whatever a host streams, the events keep their order and do not depend on how the bytes are split."""
    events = [text for one in documents if (text := dumped(one)) is not None]
    data = b"".join(b"data: " + text + b"\n\n" for text in events)
    found = drive(data, 1 << 20)

    assert found == drive(data, size)
    assert isinstance(found[-1], Ended | Failed)
    assert not any(isinstance(one, Ended | Failed) for one in found[:-1])
    started = [at for at, one in enumerate(found) if isinstance(one, Started)]
    assert started in ([], [0])
    ended = [one.choice for one in found if isinstance(one, Finished)]
    assert len(ended) == len(set(ended))


@given(CHUNKS | JSON)
def test_no_answer_crashes_the_reader(document: Any) -> None:
    """Whatever a host answers is an answer, an error, or malformed."""
    text = dumped(document)
    reason, message, choices = None, "", 0
    try:
        choices = len(read_answer(text).choices) if text is not None else 1
    except GatewayError as error:
        reason = error.reason
    except InBandError as error:
        message = error.message

    assert choices or message or reason is Reason.UPSTREAM_MALFORMED


@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_crash_the_reader(data: bytes, size: int) -> None:
    """Bytes of any kind end in a failure, the same however they are split."""
    assert drive(data, 1 << 20) == drive(data, size)
