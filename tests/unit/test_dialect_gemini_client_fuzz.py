"""
No request makes the reader of generateContent fall over.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.gemini.client_side import CLIENT
from services.providers.dialects.neutral.notes import Notes
from tests.fakes.odd_json import bent, odd_values

BLOB = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
SCHEMA = {
    "type": "OBJECT",
    "nullable": True,
    "properties": {"a": {"anyOf": [{"type": "STRING", "enum": ["x"]}]}, "b": {"items": {}}},
    "propertyOrdering": ["b"],
    "minProperties": "1",
}
GOOD: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "s"}]},
    "contents": [
        {"role": "user", "parts": [{"text": "a"}, BLOB, {"fileData": {"fileUri": "gs://a/b.png"}}]},
        {
            "role": "model",
            "parts": [
                {"text": "t", "thought": True, "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "f"}},
                {"executableCode": {}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c", "name": "f", "response": {"output": "x"}, "parts": [BLOB]}},
                {"functionResponse": {"name": "f", "response": {"error": "x"}}},
            ],
        },
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}], "googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "maxOutputTokens": 5,
        "temperature": 1,
        "stopSequences": ["x"],
        "responseMimeType": "application/json",
        "responseSchema": SCHEMA,
        "responseFormat": [{"text": {"mimeType": "application/json", "schema": SCHEMA}}],
        "thinkingConfig": {"thinkingBudget": 5, "thinkingLevel": "LOW", "includeThoughts": True},
        "speechConfig": {},
    },
    "safetySettings": [{}],
    "serviceTier": "flex",
}
WORDS = [
    *GOOD,
    *GOOD["generationConfig"],
    *("parts", "text", "role", "user", "model", "inline_data", "mime_type", "data", "function_call", "name"),
    *("args", "functionResponse", "response", "type", "OBJECT", "properties", "items", "anyOf", "nullable"),
]
REFUSALS = {None, Reason.INVALID_REQUEST, Reason.UNSUPPORTED}


def outcome(body: bytes) -> Reason | None:
    """Read a body; None: it was read. A refusal names what it is about."""
    try:
        CLIENT.read_request(body, Notes())
    except GatewayError as error:
        return error.reason if error.metadata["param"] else Reason.INTERNAL
    return None


def test_the_good_request_is_one() -> None:
    """What the others are bent from is read without a fault."""
    assert None is outcome(orjson.dumps(GOOD))


@given(bent(GOOD, WORDS))
def test_bent_requests(body: dict[str, Any]) -> None:
    """A request with something wrong in it is read, or refused by a name."""
    assert outcome(orjson.dumps(body)) in REFUSALS


@given(odd_values(WORDS))
def test_any_json(body: Any) -> None:
    """Any JSON at all is read or refused."""
    assert outcome(orjson.dumps(body)) in REFUSALS


@given(st.binary(max_size=40))
def test_any_bytes(body: bytes) -> None:
    """Bytes that are no JSON are refused."""
    assert Reason.INVALID_REQUEST is outcome(body)


@pytest.mark.parametrize("depth", [50, 300, 900])
@pytest.mark.parametrize("name", ["items", "args"])
def test_deep_nesting(name: str, depth: int) -> None:
    """What nests beyond what can be written or followed is refused, not fallen over."""
    deep = b'{"%s":' % name.encode() * depth + b"{}" + b"}" * depth
    call = b'{"role":"model","parts":[{"functionCall":{"name":"f","args":%b}}]}' % deep
    tool = b'{"functionDeclarations":[{"name":"f","parameters":%b}]}' % deep
    member = b'"tools":[%b]' % tool if name == "items" else b'"a":0'
    content = b'{"parts":[{"text":"a"}]}' if name == "items" else call

    assert (depth < 60) == (outcome(b'{"contents":[%b],%b}' % (content, member)) is None)
