"""Realtime APIs: where each is, where its clients put keys, and what its frames tell of usage."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from yarl import URL

from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.credentials import brings_key
from services.providers.dialects.usage import UsageCounts
from services.providers.realtime.meters import meter_of
from services.providers.realtime.places import asked, moved
from services.providers.registry import PROVIDERS
from tests.fakes.realtime import gemini_turn, openai_response

LIVE = "ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
KEY = "k-1+/="
QUOTED = "k-1%2B/%3D"


def call(path: str, headers: list[tuple[str, bytes]] | None = None) -> Call:
    path, _, query = path.partition("?")
    return Call(
        model="",
        dialect=ClientDialect.NATIVE,
        body=b"",
        stream=False,
        headers=headers or [],
        native=NativeTarget(method="GET", path=path, query=query),
    )


@pytest.mark.parametrize(
    ("slug", "path", "expected", "model"),
    [
        ("openai", "?model=gpt-realtime", "realtime?model=gpt-realtime", "gpt-realtime"),
        ("openai", "v1/?model=m", "realtime?model=m", "m"),
        ("openai", "v1/realtime?model=m&x=%20", "v1/realtime?model=m&x=%20", "m"),
        ("openai", "realtime?intent=transcription", "realtime?intent=transcription", ""),
        ("azure-openai", "r/openai/realtime?deployment=d", "r/openai/realtime?deployment=d", "d"),
        ("google-ai-studio", f"?api_key={QUOTED}", LIVE, ""),
        ("google-ai-studio", f"{LIVE}?alt=json&key={QUOTED}", f"{LIVE}?alt=json", ""),
        ("cartesia", f"?cartesia_version=2024-06-10&api_key={QUOTED}",
         "tts/websocket?cartesia_version=2024-06-10", ""),
        ("cartesia", "stt/websocket?model=ink-whisper", "stt/websocket?model=ink-whisper", "ink-whisper"),
        ("elevenlabs", "?agent_id=a", "v1/convai/conversation?agent_id=a", ""),
        ("elevenlabs", "v1/text-to-speech/v/stream-input?model_id=m",
         "v1/text-to-speech/v/stream-input?model_id=m", "m"),
        ("fal", "fal-ai/fast-lcm-diffusion", "fal-ai/fast-lcm-diffusion", "fal-ai/fast-lcm-diffusion"),
        ("deepgram", "?model=nova-3&punctuate=true", "v1/listen?model=nova-3&punctuate=true", "nova-3"),
        ("deepgram", "v1/speak?model=aura-2", "v1/speak?model=aura-2", "aura-2"),
        ("workers-ai", "?model=@cf/deepgram/nova-3&encoding=linear16&sample_rate=16000",
         "run/@cf/deepgram/nova-3?encoding=linear16&sample_rate=16000", "@cf/deepgram/nova-3"),
        ("workers-ai", "?model=..%2F..%2Fadmin%3Fx", "run/../../admin%3Fx?", "../../admin?x"),
        ("groq", "v1/any?key=mine", "v1/any?key=mine", ""),
    ],
)  # fmt: skip
def test_places(slug: str, path: str, expected: str, model: str) -> None:
    """The root is the realtime API, a path is itself, and no query holds a key that has another place."""
    found = asked(call(path), PROVIDERS[slug], ())

    assert found.call.native is not None
    target = found.call.native
    assert expected.rstrip("?") == f"{target.path}?{target.query}".rstrip("?")
    assert (model, "GET") == (found.model, target.method)


@pytest.mark.parametrize(
    ("slug", "path", "offers", "header", "kept"),
    [
        ("openai", "", ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"],
         ("authorization", f"Bearer {KEY}"), ["realtime", "openai-beta.realtime-v1"]),
        ("azure-openai", f"x?api-key={QUOTED}", [], ("api-key", KEY), []),
        ("google-ai-studio", f"?api_key={QUOTED}", [], ("x-goog-api-key", KEY), []),
        ("google-ai-studio", f"?key={QUOTED}", [], ("x-goog-api-key", KEY), []),
        ("google-ai-studio", "?access_token=t", [], ("authorization", "Token t"), []),
        ("cartesia", f"?api_key={QUOTED}", [], ("x-api-key", KEY), []),
        ("cartesia", "?access_token=t", [], ("authorization", "Bearer t"), []),
        ("elevenlabs", "", [f"xi-api-key.{KEY}", "convai"], ("xi-api-key", KEY), ["convai"]),
        ("fal", "m", [f"fal-api-key.{KEY}"], ("authorization", f"Key {KEY}"), []),
        ("deepgram", "", ["token", KEY], ("authorization", f"Token {KEY}"), []),
        ("deepgram", "", ["bearer", "jwt"], ("authorization", "Bearer jwt"), []),
    ],
)  # fmt: skip
def test_keys(slug: str, path: str, offers: list[str], header: tuple[str, str], kept: list[str]) -> None:
    """A key that a client could not put into a header is put there, and is then the request's own."""
    found = asked(call(path), PROVIDERS[slug], offers)

    assert [header] == [(name, value.decode()) for name, value in found.call.headers]
    assert tuple(kept) == found.subprotocols
    assert brings_key(found.call, PROVIDERS[slug].auth)


def test_a_header_wins() -> None:
    """A key in the provider's own header is not doubled by one elsewhere."""
    own = [("authorization", b"Bearer sk-own")]

    assert own == asked(call("", own), PROVIDERS["openai"], ["openai-insecure-api-key.k"]).call.headers


def test_no_key_is_none() -> None:
    """What only begins like a key's place holds none."""
    found = asked(call("?api_key="), PROVIDERS["google-ai-studio"], ("x",))

    assert ([], ("x",)) == (list(found.call.headers), found.subprotocols)


@pytest.mark.parametrize(
    ("slug", "url", "expected"),
    [
        ("fal", "https://fal.run/fal-ai/flux/dev", "https://ws.fal.run/fal-ai/flux/dev"),
        ("fal", "https://fal.run/m/realtime", "https://fal.run/m/realtime"),
        ("fal", "http://127.0.0.1:9/m", "http://127.0.0.1:9/m"),
        ("deepgram", "https://api.deepgram.com/v1/listen?x=1", "https://api.deepgram.com/v1/listen?x=1"),
        ("deepgram", "https://api.deepgram.com/v1/agent/converse",
         "https://agent.deepgram.com/v1/agent/converse"),
        ("openai", "https://api.openai.com/v1/realtime", "https://api.openai.com/v1/realtime"),
    ],
)  # fmt: skip
def test_other_hosts(slug: str, url: str, expected: str) -> None:
    """Some WebSockets are at a host of their own, unless the operator says where the provider is."""
    assert URL(expected) == moved(URL(url, encoded=True), PROVIDERS[slug])


def test_openai_usage_adds_up() -> None:
    """Each response of a session tells its own usage; other frames are not even parsed."""
    meter = meter_of("/v1/realtime")
    audio = b'{"type":"response.output_audio.delta","delta":"' + b"A" * 5000 + b'"response.done"'

    assert [False, True, False, True] == [
        meter.received(each)
        for each in (
            audio,
            orjson.dumps(openai_response(10, 20, 3, 4, cached=5)),
            b'{"type":"response.done","response":{"usage":null}}',
            orjson.dumps(openai_response(1, 2, 3, 4)),
        )
    ]
    assert (
        UsageCounts(
            input_tokens=33,
            output_tokens=14,
            cache_read_tokens=5,
            input_audio_tokens=22,
            output_audio_tokens=8,
        )
        == meter.usage
    )


def test_gemini_usage_adds_turns_up() -> None:
    """Within a turn a later count replaces an earlier one, and turns are added up."""
    meter = meter_of(f"/{LIVE}")
    messages: tuple[Any, ...] = (
        gemini_turn(10, 1, complete=False),
        gemini_turn(10, 5),
        {"serverContent": {"modelTurn": {}}},
        gemini_turn(30, 2, complete=False),
        {"serverContent": {"turnComplete": True}},
        gemini_turn(50, 7),
    )
    for each in messages:
        meter.received(orjson.dumps(each))

    assert meter.usage is not None
    assert (90, 14) == (meter.usage.input_tokens, meter.usage.output_tokens)
    assert (87, 14) == (meter.usage.input_audio_tokens, meter.usage.output_audio_tokens)


def test_gemini_model() -> None:
    """The first message of a client's names the model."""
    meter = meter_of(f"/{LIVE}")
    sent: list[Any] = [
        {"x": 1},
        {"setup": {"model": "models/gemini-live-2.5-flash-preview"}},
        {"setup": {"model": "n"}},
    ]

    assert [False, True, False] == [meter.sent(orjson.dumps(each)) for each in sent]
    assert "gemini-live-2.5-flash-preview" == meter.model


@pytest.mark.parametrize(
    "frame", [b"", b"\xff", b"[]", b'"response.done"', b'{"type":"response.done"}', b'{"usageMetadata":3}',
              b'{"usageMetadata":{"promptTokenCount":"x"}}', b'{"setup":[]}', b'{"setup":{"model":1}}']
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/realtime", f"/{LIVE}", "/v1/listen"])
def test_no_frame_disturbs(path: str, frame: bytes) -> None:
    """Frames that are not what they look like are relayed all the same, and count nothing."""
    meter = meter_of(path)
    meter.received(frame)
    meter.sent(frame)

    assert "" == meter.model
    assert meter.usage is None or meter.usage == UsageCounts()
