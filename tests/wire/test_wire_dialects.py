from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import pytest

from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.failures import classify, error_message
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat import same as openai_chat
from services.providers.dialects.openai_chat.same_stream import OpenAIStream
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.retry_after import parse_retry_after

if TYPE_CHECKING:
    from services.providers.dialects.stream import AnswerStream

FOLDER = Path(__file__).parent
TRANSLATED = FOLDER / "openai_to_anthropic"
SAME = FOLDER / "openai"
NOW_S = 1_700_000_000
MAX_EVENT_BYTES = 1 << 20


class Goldens(Protocol):
    """What `conftest.py` gives."""

    def check(self, path: Path, found: bytes) -> None: ...


def names(folder: Path, ending: str) -> list[str]:
    return sorted(path.name.removesuffix(ending) for path in folder.glob("*" + ending))


def shown(value: Any) -> bytes:
    """Write a document for readers; the order of its members is kept."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def translation(name: str) -> Translation:
    body = (TRANSLATED / f"{name}.request.json").read_bytes()
    request = orjson.loads(body)
    model = request["model"].removeprefix("anthropic/")
    return translate_request(
        CLIENT,
        anthropic_target(),
        body,
        model=model,
        stream=request.get("stream", False),
        now_s=NOW_S,
        strict=False,
    )


def drive(stream: AnswerStream, pieces: list[bytes]) -> bytes:
    return b"".join(stream.feed(piece) for piece in pieces) + stream.finish()


def content(data: bytes) -> bytes:
    """Leave out what only says that the provider is still there: how often depends on the cuts."""
    return data.replace(b": keep-alive\n\n", b"")


def learnt(stream: AnswerStream) -> tuple[Any, ...]:
    return stream.usage, stream.finish_reason, stream.served_model, stream.failure, stream.done


@pytest.mark.parametrize("name", names(TRANSLATED, ".request.json"))
def test_request_out(name: str, goldens: Goldens) -> None:
    """An OpenAI request becomes exactly this Anthropic request, with these notes."""
    found = translation(name)
    written = found.written
    golden = {"notes": found.notes, "headers": written.headers, "body": orjson.loads(written.body)}

    goldens.check(TRANSLATED / f"{name}.upstream.json", shown(golden))


@pytest.mark.parametrize("name", names(TRANSLATED, ".answer.json"))
def test_answer_back(name: str, goldens: Goldens) -> None:
    """An Anthropic answer becomes exactly this OpenAI answer."""
    body = (TRANSLATED / f"{name}.answer.json").read_bytes()
    answer = translation(name).read_answer(body)

    goldens.check(TRANSLATED / f"{name}.client.json", shown(orjson.loads(answer.body)))


@pytest.mark.parametrize("name", names(TRANSLATED, ".error.json"))
def test_error_back(name: str, goldens: Goldens) -> None:
    """An Anthropic error becomes exactly this OpenAI error."""
    error = orjson.loads((TRANSLATED / f"{name}.error.json").read_bytes())
    text = error["body"] if isinstance(error["body"], str) else json.dumps(error["body"])
    status, body = error["status"], text.encode()
    failure_class = classify(status, body)
    golden = {
        "status": status,
        "failure_class": failure_class,
        "retry_after_s": parse_retry_after(error["headers"], now_s=NOW_S),
        "body": orjson.loads(CLIENT.write_error(status, failure_class, error_message(status, body))),
    }

    goldens.check(TRANSLATED / f"{name}.client.json", shown(golden))


@pytest.mark.parametrize("name", names(TRANSLATED, ".answer.sse"))
def test_stream_back(name: str, goldens: Goldens) -> None:
    """An Anthropic stream becomes exactly this OpenAI stream, however it is cut."""
    data = (TRANSLATED / f"{name}.answer.sse").read_bytes()
    found = translation(name)
    whole = found.stream(max_event_bytes=MAX_EVENT_BYTES)
    expected = content(drive(whole, [data]))

    goldens.check(TRANSLATED / f"{name}.client.sse", expected)
    splits = [[data[:at], data[at:]] for at in range(len(data) + 1)]
    for pieces in [*splits, [data[at : at + 1] for at in range(len(data))]]:
        stream = found.stream(max_event_bytes=MAX_EVENT_BYTES)
        assert expected == content(drive(stream, pieces))
        assert learnt(whole) == learnt(stream)


@pytest.mark.parametrize("name", names(SAME, ".request.json"))
def test_same_dialect_request_out(name: str, goldens: Goldens) -> None:
    """An OpenAI request to OpenAI keeps its bytes but for what must change."""
    body = (SAME / f"{name}.request.json").read_bytes()
    stream = bool(orjson.loads(body).get("stream"))

    goldens.check(
        SAME / f"{name}.upstream.json", openai_chat.prepare_request(body, "gpt-5.4", stream=stream).body
    )


@pytest.mark.parametrize("name", names(SAME, ".answer.json"))
def test_same_dialect_answer_back(name: str, goldens: Goldens) -> None:
    """An OpenAI answer to an OpenAI client keeps its bytes."""
    body = (SAME / f"{name}.answer.json").read_bytes()

    assert body == openai_chat.read_answer(body).body
    goldens.check(SAME / f"{name}.client.json", openai_chat.read_answer(body).body)


@pytest.mark.parametrize("name", names(SAME, ".answer.sse"))
def test_same_dialect_stream_back(name: str, goldens: Goldens) -> None:
    """An OpenAI stream to an OpenAI client keeps its bytes, but for a usage chunk of ours."""
    data = (SAME / f"{name}.answer.sse").read_bytes()
    request = (SAME / f"{name}.request.json").read_bytes()
    prepared = openai_chat.prepare_request(request, "gpt-5.4", stream=True)
    whole = OpenAIStream(injected_usage=prepared.injected_usage)
    expected = drive(whole, [data])

    goldens.check(SAME / f"{name}.client.sse", expected)
    splits = [[data[:at], data[at:]] for at in range(len(data) + 1)]
    for pieces in [*splits, [data[at : at + 1] for at in range(len(data))]]:
        stream = OpenAIStream(injected_usage=prepared.injected_usage)
        assert expected == drive(stream, pieces)
        assert learnt(whole) == learnt(stream)


@pytest.mark.parametrize("folder", [TRANSLATED, SAME])
def test_every_file_belongs_to_a_case(folder: Path) -> None:
    """No file lies about unused, so a misspelt case cannot pass unnoticed."""
    cases = set(names(folder, ".request.json")) | set(names(folder, ".error.json"))
    strays = [path.name for path in folder.iterdir() if path.name.partition(".")[0] not in cases]

    assert [] == strays
