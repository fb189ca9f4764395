"""
The same dialect in and out keeps every byte: a corpus of bodies with all that a careless gateway changes.

`corpus/` holds a body of each kind, in which `"odd":0` stands for a member that no API has. One by one the
lines of `odd_members.txt` are put in its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
import pytest

from services.providers.dialects import openai_embeddings, openai_other
from services.providers.dialects.anthropic import same as anthropic
from services.providers.dialects.anthropic.same import MessagesStream
from services.providers.dialects.gemini import same as gemini
from services.providers.dialects.gemini.same import GeminiStream
from services.providers.dialects.openai_chat import same as openai_chat
from services.providers.dialects.openai_chat.same_stream import OpenAIStream
from services.providers.dialects.openai_responses import same as openai_responses
from services.providers.dialects.openai_responses.same import ResponsesStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.answer import Answer
    from services.providers.dialects.stream import AnswerStream

FOLDER = Path(__file__).parent / "corpus"
PLACE: Final = b'"odd":0'
ODD: Final = (FOLDER / "odd_members.txt").read_bytes().splitlines(keepends=False)
ASKED: Final = (b'"asked/model"', b'"asked\\/model"')
MODEL = "sent-model"
INJECTED: Final = b',"stream_options":{"include_usage":true}'

READERS: Final[dict[str, Callable[[bytes], Answer]]] = {
    "anthropic": anthropic.read_answer,
    "gemini": gemini.read_answer,
    "openai_chat": openai_chat.read_answer,
    "openai_embeddings": openai_embeddings.read_answer,
    "openai_other": openai_other.read_answer,
    "openai_responses": openai_responses.read_answer,
}
STREAMS: Final[dict[str, Callable[[], AnswerStream]]] = {
    "anthropic": MessagesStream,
    "gemini": GeminiStream,
    "openai_chat": OpenAIStream,
    "openai_responses": ResponsesStream,
}


def kinds(ending: str) -> list[str]:
    return sorted(path.name.removesuffix(ending) for path in FOLDER.glob("*" + ending))


def bodies(dialect: str, ending: str) -> list[bytes]:
    """Give the bodies of a kind: with each odd member, and as a body may come from a careful printer."""
    body = (FOLDER / (dialect + ending)).read_bytes()
    found = [body.replace(PLACE, odd) for odd in ODD]
    if ending.endswith(".json"):
        found += [b"\r\n " + body.replace(b"\n", b"\r\n") + b"\t\n", body.replace(b'":', b'" : ')]
    return found


def with_model(body: bytes) -> bytes:
    for asked in ASKED:
        body = body.replace(asked, orjson.dumps(MODEL), 1)
    return body


def learnt(stream: AnswerStream) -> tuple[object, ...]:
    return stream.usage, stream.finish_reason, stream.served_model, stream.failure, stream.done


def test_corpus_is_large_enough() -> None:
    """There are more than a hundred bodies, in both directions, and no two are alike."""
    endings = (".request.json", ".stream_request.json", ".answer.json", ".stream.sse")
    found = [body for ending in endings for dialect in kinds(ending) for body in bodies(dialect, ending)]

    assert len(found) > 300
    assert len(found) == len(set(found))


@pytest.mark.parametrize("dialect", kinds(".request.json"))
def test_requests(dialect: str) -> None:
    """Cases 139 and 140: a request to a provider of its own dialect changes by the model and nothing else."""
    for body in bodies(dialect, ".request.json"):
        assert orjson.loads(body)["model"] == "asked/model"
        assert with_model(body) == openai_chat.put_model(body, MODEL)
        assert with_model(body) == openai_other.prepare_request(body, "application/json", MODEL)


def test_chat_requests() -> None:
    """Cases 139 and 140: a chat changes by the model alone, and a stream by the request for usage."""
    for body in bodies("openai_chat", ".request.json"):
        expected = with_model(body)
        end = expected.rindex(b"}")

        assert expected == openai_chat.prepare_request(body, MODEL, stream=False).body
        assert (
            expected[:end] + INJECTED + expected[end:]
            == openai_chat.prepare_request(body, MODEL, stream=True).body
        )
        assert expected == openai_chat.prepare_request(body, MODEL, stream=True, meter_usage=False).body


def test_streamed_chat_requests() -> None:
    """Case 148: a request that asks for usage itself changes by the model alone."""
    for body in bodies("openai_chat", ".stream_request.json"):
        prepared = openai_chat.prepare_request(body, MODEL, stream=True)

        assert (with_model(body), False) == (prepared.body, prepared.injected_usage)


@pytest.mark.parametrize("dialect", kinds(".answer.json"))
def test_answers(dialect: str) -> None:
    """Case 141: a whole answer comes back to the byte, with members that nobody knows, and is metered."""
    for body in bodies(dialect, ".answer.json"):
        answer = READERS[dialect](body)

        assert (body, "m-1", None) == (answer.body, answer.served_model, answer.failure)
        assert answer.usage is not None
        assert 9 == answer.usage.input_tokens


@pytest.mark.parametrize("dialect", kinds(".stream.sse"))
def test_streams(dialect: str) -> None:
    """Cases 141 and 149: a stream comes back to the byte, wherever it is cut, and is metered alike."""
    for data in bodies(dialect, ".stream.sse"):
        whole = STREAMS[dialect]()
        assert data == whole.feed(data) + whole.finish()
        assert (None, "stop") == (whole.failure, whole.finish_reason)
        assert whole.usage is not None
        assert (9, 2) == (whole.usage.input_tokens, whole.usage.output_tokens)
        single = STREAMS[dialect]()
        pieces = [single.feed(data[at : at + 1]) for at in range(len(data))]
        assert data == b"".join(pieces) + single.finish()
        assert learnt(whole) == learnt(single)


@pytest.mark.parametrize("dialect", kinds(".stream.sse"))
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_streams_cut_at_every_byte(dialect: str, end: bytes) -> None:
    """Cases 141 and 149: a stream cut in two at any byte comes back to the byte, with either end of lines."""
    data = (FOLDER / f"{dialect}.stream.sse").read_bytes().replace(b"\n", end)
    for at in range(len(data) + 1):
        stream = STREAMS[dialect]()
        assert data == stream.feed(data[:at]) + stream.feed(data[at:]) + stream.finish()
        assert stream.failure is None


def test_injected_usage_is_taken_out() -> None:
    """Case 148: usage that only the gateway asked for is taken out, and every other byte stays."""
    for data in bodies("openai_chat", ".stream.sse"):
        start = data.index(b'data: {"usage":')
        end = data.index(b"\n\n", start) + 2
        stream = OpenAIStream(injected_usage=True)

        assert data[:start] + data[end:] == stream.feed(data) + stream.finish()
        assert stream.usage is not None


def test_every_line_is_a_member() -> None:
    """Each odd line is a member of a JSON object, so that a mistake in the corpus cannot pass unnoticed."""
    for odd in ODD:
        assert orjson.loads(b"{" + odd + b"}")
