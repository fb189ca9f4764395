"""A stream that breaks is gone on with by another, and its client cannot tell: in every dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.edge.splice.joiner import Joiner
from services.edge.splice.verdict import Joined, Mode, Spent, Verdict
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.events import (
    Finished,
    ReasoningClosed,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.usage import UsageCounts
from tests.fakes import shapes_gemini, upstream_shapes
from tests.fakes.splice_wires import WIRES, context, stream_of

if TYPE_CHECKING:
    from services.edge.splice.sent import Sent
    from tests.fakes.splice_wires import Wire

TEXT = "Hello, \n world"
PIECES = ["Hel", "lo, ", "\n wor", "ld"]
OTHERS = ["He", "llo, \n", " w", "orld"]
STOP = Finished(Finish.STOP)
USAGE = UsageReport(UsageCounts(input_tokens=9, output_tokens=4))
CALL = (ToolCallStarted(0, "call_1", "look"), ToolCallDelta(0, '{"a":1}'), ToolCallClosed(0))
CALLED = Finished(Finish.TOOL_CALLS)
EACH_WIRE = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
EACH_MODE = pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.name.lower())


def sent_of(wire: Wire, data: bytes) -> tuple[Sent, bytes]:
    """Send bytes to a client; return what it has."""
    sent = wire.sent()
    return sent, sent.pass_on(data)


def said(wire: Wire, events: list[bytes], text: str) -> tuple[Sent, bytes]:
    """Send events until the client has this text; return what it has."""
    sent, passed = wire.sent(), b""
    for event in events:
        passed += sent.pass_on(event)
        if sent.started and sent.text == text:
            break
    return sent, passed


def fed(joiner: Joiner, *pieces: bytes) -> Joined:
    """Feed a whole stream."""
    out = []
    for piece in pieces:
        joined = joiner.feed(piece)
        assert b"" == joined.data or joined.verdict in {Verdict.GOING, Verdict.WHOLE, Verdict.BROKEN}
        out.append(joined.data)
    last = joiner.finish()
    return Joined(data=b"".join([*out, last.data]), verdict=last.verdict)


def rest_of(
    wire: Wire, mode: Mode, sent: Sent, text: str = TEXT, pieces: list[str] | None = None
) -> list[bytes]:
    """Write the stream of a fallback that gives the same answer, or goes on to it."""
    if mode is Mode.SPLICE:
        return stream_of(wire, pieces or [text], of="two")
    left = text[len(sent.text.rstrip()) :]
    return stream_of(wire, [left[:3], left[3:]], of="two")


def assert_one_answer(wire: Wire, data: bytes, text: str, *, of: str = "one") -> None:
    found = wire.read(data)
    assert (text, f"model-{of}") == (found.text, found.model)
    assert found.id.endswith(f"id_{of}")


@EACH_MODE
@EACH_WIRE
@pytest.mark.parametrize("more", ["", " and more"])
def test_cut_at_every_event(wire: Wire, mode: Mode, more: str) -> None:
    """Wherever the first stream ends, the client gets one whole answer, with one beginning and one end."""
    first = stream_of(wire, PIECES)
    joins = 0
    for cut in range(1, len(first)):
        sent, passed = sent_of(wire, b"".join(first[:cut]))
        assert b"".join(first[:cut]) == passed
        if not sent.continuable:
            assert sent.whole
            continue
        joins += 1
        pieces = [*OTHERS, more] if more else OTHERS
        joined = fed(Joiner(sent, mode), *rest_of(wire, mode, sent, text=TEXT + more, pieces=pieces))

        assert Verdict.WHOLE is joined.verdict
        assert_one_answer(wire, passed + joined.data, TEXT + more)
        assert (TEXT + more, True, True) == (sent.text, sent.whole, not sent.continuable)
    assert joins >= len(PIECES)


@EACH_MODE
@EACH_WIRE
def test_first_stream_cut_at_every_byte(wire: Wire, mode: Mode) -> None:
    """Of an event that was cut the client gets nothing, so that what follows is whole."""
    first = b"".join(stream_of(wire, PIECES))
    seen: set[bytes] = set()
    for cut in range(len(first)):
        sent = wire.sent()
        passed = sent.pass_on(first[: cut // 2]) + sent.pass_on(first[cut // 2 : cut])
        assert first.startswith(passed)
        if passed in seen or not sent.continuable:
            continue
        seen.add(passed)
        joined = fed(Joiner(sent, mode), *rest_of(wire, mode, sent))

        assert_one_answer(wire, passed + joined.data, TEXT, of="one" if passed.strip() else "two")
    assert len(seen) > len(PIECES)


@EACH_MODE
@EACH_WIRE
def test_fallback_split_at_every_byte(wire: Wire, mode: Mode) -> None:
    """How the fallback's bytes are cut makes no difference."""
    first = stream_of(wire, PIECES)
    begun = b"".join(first[: len(first) // 2])
    whole = b"".join(rest_of(wire, mode, sent_of(wire, begun)[0], pieces=OTHERS))
    expected = fed(Joiner(sent_of(wire, begun)[0], mode), whole)
    assert Verdict.WHOLE is expected.verdict
    cuts = [(whole[:at], whole[at:]) for at in range(len(whole))]
    for pieces in (*cuts, [whole[at : at + 1] for at in range(len(whole))]):
        joined = fed(Joiner(sent_of(wire, begun)[0], mode), *pieces)
        # Space between the elements of an array is passed on as it comes.
        assert expected.data.replace(b"\n", b"") == joined.data.replace(b"\n", b"")
        assert Verdict.WHOLE is joined.verdict


@st.composite
def cut_texts(draw: st.DrawFn) -> tuple[str, int, list[int]]:
    """Make a text, where it is cut, and how it comes in pieces."""
    alphabet = st.characters(exclude_categories=["Cs"]) | st.sampled_from(' \n\tab\\"é😀')
    text = draw(st.text(alphabet, min_size=1, max_size=60))
    return text, draw(st.integers(0, len(text))), draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))


def in_pieces(text: str, sizes: list[int]) -> list[str]:
    pieces, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        pieces.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


@EACH_MODE
@EACH_WIRE
@given(made=cut_texts(), size=st.integers(1, 400))
@example(made=("ab" * 30, 31, [3]), size=50)
@example(made=("  \n x", 2, [1]), size=50)
@example(made=("   ", 2, [1]), size=50)
def test_any_text_once(wire: Wire, mode: Mode, made: tuple[str, int, list[int]], size: int) -> None:
    """For any text, any cut and any pieces, the client has the text once, to the character."""
    text, cut, sizes = made
    events = stream_of(wire, in_pieces(text[:cut], sizes) or [""])
    sent, passed = said(wire, events, text[:cut])
    if sent.whole:
        return
    left = text if mode is Mode.SPLICE else text[len(sent.text.rstrip()) :]
    whole = b"".join(stream_of(wire, in_pieces(left, sizes[::-1]) or [""], of="two"))
    joined = fed(Joiner(sent, mode), *(whole[at : at + size] for at in range(0, len(whole), size)))

    assert Verdict.WHOLE is joined.verdict
    assert_one_answer(wire, passed + joined.data, text)


@EACH_WIRE
@pytest.mark.parametrize("pieces", [["Hello; and"], ["Help"], ["x"], ["Hel", "lo"], [""]])
def test_other_text_is_a_mismatch(wire: Wire, pieces: list[str]) -> None:
    """A fallback that says something else, or less, writes nothing, so that another can go on."""
    sent, passed = said(wire, stream_of(wire, PIECES), "Hello, ")
    joined = fed(Joiner(sent, Mode.SPLICE), *stream_of(wire, pieces, of="two"))

    assert Joined(data=b"", verdict=Verdict.MISMATCH) == joined
    again = fed(Joiner(sent, Mode.CONTINUE), *stream_of(wire, ["there"], of="two"))
    assert_one_answer(wire, passed + again.data, "Hello, there")


@EACH_WIRE
def test_fallbacks_that_break(wire: Wire) -> None:
    """A fallback that breaks may be gone on with by the next one, whatever it wrote by then."""
    second = stream_of(wire, OTHERS, of="two")
    for cut in range(len(second)):
        sent, passed = said(wire, stream_of(wire, PIECES), "Hel")
        broken = fed(Joiner(sent, Mode.SPLICE), *second[:cut], second[cut][:-5])
        if broken.verdict is Verdict.WHOLE:
            continue
        assert Verdict.BROKEN is broken.verdict
        assert sent.continuable
        left = TEXT[len(sent.text.rstrip()) :]
        joined = fed(Joiner(sent, Mode.CONTINUE), *stream_of(wire, [left], of="three"))

        assert_one_answer(wire, passed + broken.data + joined.data, TEXT)


@EACH_WIRE
@pytest.mark.parametrize("mode", list(Mode))
def test_errors_of_fallbacks(wire: Wire, mode: Mode) -> None:
    """A fallback's error is never the client's: it breaks the join, before and after text was written."""
    for pieces in (["He"], ["Hello, there"], ["He", "llo, ", "there"]):
        sent, _ = said(wire, stream_of(wire, PIECES), "Hello, ")
        writer = wire.client.stream_writer(context("two"))
        data = writer.write([Started("id_two", "x"), *(TextDelta(piece) for piece in pieces)])
        error = writer.fail(503, FailureClass.SERVER, "Too much.")
        joined = fed(Joiner(sent, mode), data + error)

        assert Verdict.BROKEN is joined.verdict
        assert b"Too much." not in joined.data
        assert sent.continuable


@EACH_WIRE
def test_errors_of_the_first_stream_are_withheld(wire: Wire) -> None:
    """The error that the first stream ends with waits until it is known whether a fallback helps."""
    writer = wire.client.stream_writer(context("one"))
    good = writer.write([Started("id_one", "model-one"), TextDelta("Hel"), TextDelta("lo, ")])
    error = writer.fail(503, FailureClass.SERVER, "Too much.")
    sent, passed = wire.sent(), b""
    for split in range(len(error)):
        sent = wire.sent()
        passed = sent.pass_on(good + error[:split]) + sent.pass_on(error[split:])
        assert good == passed
        assert (True, error) == (sent.failed, sent.withheld)
    joined = fed(Joiner(sent, Mode.SPLICE), *stream_of(wire, OTHERS, of="two"))

    assert_one_answer(wire, passed + joined.data, TEXT)


@EACH_WIRE
def test_errors_in_place_of_an_answer(wire: Wire) -> None:
    """Where the first stream said nothing but an error, the fallback's answer is the client's, as it is."""
    sent = wire.sent()
    error = wire.client.stream_writer(context("one")).fail(503, FailureClass.SERVER, "Too much.")
    assert b"" == sent.pass_on(error)
    joined = fed(Joiner(sent, Mode.SPLICE), *stream_of(wire, PIECES, of="two"))

    assert_one_answer(wire, joined.data, TEXT, of="two")


@EACH_WIRE
@pytest.mark.parametrize(
    ("mode", "before", "expected"),
    [
        (Mode.SPLICE, None, (10, 5)),
        (Mode.SPLICE, Spent(input_tokens=7, output_tokens=3), (10, 5)),
        (Mode.CONTINUE, Spent(output_tokens=3), (10, 8)),
        (Mode.CONTINUE, Spent(input_tokens=7, output_tokens=3), (7, 8)),
    ],
)
def test_usage_is_of_one_answer(
    wire: Wire, mode: Mode, before: Spent | None, expected: tuple[int, int]
) -> None:
    """A fallback that was spliced wrote all there is; one that went on adds to what was known."""
    sent, passed = said(wire, stream_of(wire, PIECES), "Hello, ")
    joined = fed(Joiner(sent, mode, before), *rest_of(wire, mode, sent))

    assert expected == wire.read(passed + joined.data).usage


@EACH_WIRE
def test_thoughts_before_the_text_are_told_once(wire: Wire) -> None:
    """Thoughts that are over do no harm, and the fallback's stay away; open ones cannot be gone on with."""
    thoughts = ReasoningDelta("Let me see."), ReasoningClosed("c2ln", "", "anthropic")
    events = *thoughts, TextDelta("Hel"), TextDelta("lo"), STOP, USAGE
    first = wire.events(*events)
    sent, _ = sent_of(wire, first[0] + first[1])
    assert not sent.started or not sent.other or not sent.continuable
    sent, passed = said(wire, first, "Hel")
    assert sent.continuable
    joined = fed(Joiner(sent, Mode.SPLICE), *wire.events(*events, of="two"))

    assert_one_answer(wire, passed + joined.data, "Hello")
    assert "Let me see." == wire.read(passed + joined.data).thoughts


@EACH_MODE
@EACH_WIRE
def test_calls_after_the_text(wire: Wire, mode: Mode) -> None:
    """What the fallback adds beside text has its place after what was sent, and makes the end its own."""
    sent, passed = said(wire, stream_of(wire, PIECES), "Hello, ")
    text = "Hello, " if mode is Mode.SPLICE else ""
    events = wire.events(*([TextDelta(text)] if text else []), *CALL, CALLED, USAGE, of="two")
    joined = fed(Joiner(sent, mode), *events)
    found = wire.read(passed + joined.data)

    assert ("Hello, ", ("look",)) == (found.text, found.calls)
    assert found.finish in {"tool_calls", "tool_use", "completed", "STOP"}


@EACH_WIRE
def test_calls_in_place_of_the_text_are_a_mismatch(wire: Wire) -> None:
    """A call is no text that was sent already."""
    sent, _ = said(wire, stream_of(wire, PIECES), "Hello, ")
    joined = fed(Joiner(sent, Mode.SPLICE), *wire.events(*CALL, CALLED, USAGE, of="two"))

    assert Joined(data=b"", verdict=Verdict.MISMATCH) == joined


@EACH_WIRE
def test_text_that_is_whole_but_for_its_end(wire: Wire) -> None:
    """A fallback that says exactly what was sent, or nothing more, only ends the answer."""
    for mode, pieces in ((Mode.SPLICE, OTHERS), (Mode.CONTINUE, [""])):
        sent, passed = said(wire, stream_of(wire, PIECES), TEXT)
        joined = fed(Joiner(sent, mode), *stream_of(wire, pieces, of="two"))

        assert_one_answer(wire, passed + joined.data, TEXT)


@EACH_WIRE
def test_signs_of_life_go_through(wire: Wire) -> None:
    """Keep-alives reach the client at once, but for those that come before a join is decided."""
    sign = b"\n" if wire.name.startswith("gemini") else b": keep-alive\n\n"
    sent, _ = said(wire, stream_of(wire, PIECES), "Hel")
    assert sign == sent.pass_on(sign)
    joiner = Joiner(sent, Mode.SPLICE)
    assert b"" == joiner.feed(sign).data
    joiner.feed(b"".join(said(wire, stream_of(wire, ["Hello"], of="two"), "Hello")[1:]))

    assert Joined(data=sign, verdict=Verdict.GOING) == joiner.feed(sign)


def native(name: str, text: str) -> list[bytes]:
    """Write an answer as the provider itself does."""
    steer = {"text": text}
    if name == "gemini":
        return list(shapes_gemini.stream_events("gem", {"contents": []}, steer))
    if name == "messages":
        return upstream_shapes.stream_events("messages", {"model": "claude"}, steer)
    request = {"model": "gpt", "stream_options": {"include_usage": True}}
    return upstream_shapes.stream_events("chat/completions", request, steer)


@EACH_MODE
@pytest.mark.parametrize("name", ["chat", "messages", "gemini"])
def test_providers_own_streams(name: str, mode: Mode) -> None:
    """Streams as providers write them, with CRLF, pings and further members, are joined alike."""
    wire, text = WIRES[name], "Hello from the fake upstream."
    first = native(name, text)
    for cut in range(1, len(first)):
        sent, passed = sent_of(wire, b"".join(first[:cut]))
        if not sent.continuable:
            continue
        left = text if mode is Mode.SPLICE else text[len(sent.text.rstrip()) :]
        joined = fed(Joiner(sent, mode), *native(name, left))

        assert (text, Verdict.WHOLE) == (wire.read(passed + joined.data).text, joined.verdict)


def test_members_of_a_chunk_survive() -> None:
    """Members that only the fallback knows stay; those that all chunks have alike are the first stream's."""
    wire = WIRES["chat"]
    sent, _ = said(wire, stream_of(wire, PIECES), "Hel")
    sent_head = {"id": "x", "created": 1, "model": "y", "system_fingerprint": "fp_2", "service_tier": "flex"}
    choice = {"index": 0, "delta": {"content": "Hello"}, "extra": 1}
    chunk = orjson.dumps({**sent_head, "provider": "two", "choices": [choice]})
    joined = Joiner(sent, Mode.SPLICE).feed(b"data: " + chunk + b"\n\n")
    found: dict[str, Any] = orjson.loads(joined.data[6:])

    assert ("id_one", "model-one", 3, None) == tuple(
        found[name] for name in ("id", "model", "created", "system_fingerprint")
    )
    assert ("two", {"content": "lo"}, 1) == (
        found["provider"],
        found["choices"][0]["delta"],
        found["choices"][0]["extra"],
    )
    assert "service_tier" not in found


def test_an_end_that_is_missing_is_written() -> None:
    """A fallback that says why it stopped but leaves out the dialect's mark of the end is whole."""
    for name, mark in (("chat", b"data: [DONE]\n\n"), ("messages", b'{"type":"message_stop"}\n\n')):
        wire = WIRES[name]
        sent, _ = said(wire, stream_of(wire, PIECES), "Hel")
        joined = fed(Joiner(sent, Mode.SPLICE), *stream_of(wire, OTHERS, of="two")[:-1])

        assert Verdict.WHOLE is joined.verdict
        assert joined.data.endswith(mark)


@EACH_WIRE
def test_thoughts_are_told_once_before_any_text(wire: Wire) -> None:
    """Where the client has thoughts and no text yet, it gets the fallback's text, but not its thoughts."""
    first = wire.events(ReasoningDelta("Hm."), ReasoningClosed("c2ln", "", "anthropic"), *CALL, CALLED, USAGE)
    for cut in range(1, len(first)):
        sent, passed = sent_of(wire, b"".join(first[:cut]))
        if sent.continuable and sent.other:
            events = wire.events(ReasoningDelta("Hm."), TextDelta("Hello"), STOP, USAGE, of="two")
            joined = fed(Joiner(sent, Mode.SPLICE), *events)

            assert ("Hello", "Hm.") == (
                wire.read(passed + joined.data).text,
                wire.read(passed + joined.data).thoughts,
            )


def test_text_after_a_part_that_was_told_whole() -> None:
    """Once the whole text of a part was told, more text stands in a part of its own."""
    wire = WIRES["responses"]
    first = stream_of(wire, PIECES)
    at = next(at for at, event in enumerate(first) if b"output_text.done" in event)
    sent, passed = sent_of(wire, b"".join(first[: at + 1]))
    joined = fed(Joiner(sent, Mode.CONTINUE), *stream_of(wire, [" more"], of="two"))

    assert_one_answer(wire, passed + joined.data, f"{TEXT} more")
    assert 2 == (passed + joined.data).count(b"event: response.content_part.added")


def test_several_texts_in_one_response() -> None:
    """What is new of several parts of text in one response of Gemini's is told once."""
    wire = WIRES["gemini"]
    sent, _ = said(wire, stream_of(wire, PIECES), "Hel")
    parts = [{"text": "He"}, {"text": "ll"}, {"text": "o"}]
    document = {"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}]}
    joined = Joiner(sent, Mode.SPLICE).feed(b"data: " + orjson.dumps(document) + b"\n\n")
    found: dict[str, Any] = orjson.loads(joined.data[6:])

    assert [{"text": "lo"}] == found["candidates"][0]["content"]["parts"]


def test_thoughts_between_texts_that_are_alike() -> None:
    """Thoughts are over when text comes again, also where it is read by the shortest way."""
    wire = WIRES["chat"]
    writer = wire.client.stream_writer(context("one"))
    data = writer.write([TextDelta("a"), TextDelta("bc"), ReasoningDelta("Hm."), TextDelta("de")])
    sent, _ = sent_of(wire, data)

    assert ("abcde", True) == (sent.text, sent.continuable)
