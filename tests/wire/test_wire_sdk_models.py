"""The samples and what we make of them, against the providers' own published models."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from kit.sse import parse_events

TRANSLATED = Path(__file__).parent / "openai_to_anthropic"
EVENTS: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def files(ending: str) -> list[str]:
    return sorted(path.name for path in TRANSLATED.glob("*" + ending))


@pytest.mark.parametrize("name", files(".answer.json"))
def test_sample_answers_are_messages(name: str) -> None:
    """A sample of an answer is one that Anthropic's own model takes."""
    Message.model_validate(orjson.loads((TRANSLATED / name).read_bytes()))


@pytest.mark.parametrize("name", [name for name in files(".answer.json") if not name.startswith("error")])
def test_translated_answers_are_completions(name: str) -> None:
    """A translated answer is one that OpenAI's own model takes."""
    client = TRANSLATED / name.replace(".answer.", ".client.")

    ChatCompletion.model_validate(orjson.loads(client.read_bytes()), strict=True)


@pytest.mark.parametrize("name", files(".answer.sse"))
def test_streams_are_made_of_known_events(name: str) -> None:
    """Sample events are Anthropic's, translated chunks are OpenAI's, by the providers' own models."""
    for event, data in parse_events((TRANSLATED / name).read_bytes()):
        if event not in {"ping", "error"} and data.endswith(b"}"):
            EVENTS.validate_json(data)
    for _, data in parse_events((TRANSLATED / name.replace(".answer.", ".client.")).read_bytes()):
        if data != b"[DONE]" and not data.startswith(b'{"error"'):
            ChatCompletionChunk.model_validate(orjson.loads(data), strict=True)
