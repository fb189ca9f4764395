"""Ways around a limit that are none: other spellings of a model, models named beside it, and native calls."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.headers import RequestHeaders
from services.edge.pipeline.estimate import asked_models, estimate
from services.edge.pipeline.exchange import Exchange
from services.router.core.documents import Documents, checked_documents
from services.router.core.limits import Asked, applying, compile_limits
from services.router.core.settings import GatewaySettings

COST = {"id": "c", "limitType": "cost", "limit": 1, "window": 60}
HARD = {**COST, "mode": "hard"}
ALIASES = {"google": "google-ai-studio", "azure": "azure-openai"}
PARTITION = {"mode": "partition"}


GEMINI = "gemini-2.5-pro"


def _filter(*values: str) -> dict[str, Any]:
    return {"mode": "filter", "values": list(values)}


def _keys(rule: dict[str, Any], **asked: Any) -> list[str]:
    text = json.dumps({"enabled": True, "rules": [rule]})
    limits = compile_limits(GatewaySettings(), checked_documents(Documents(spend_limits=text)), ALIASES)
    usual: dict[str, Any] = {"provider": "openai", "model": "o3", "tokens": 1, "nano_usd": 1}
    wanted = Asked(**usual | asked)
    return [bucket.key for _, bucket in applying(limits, wanted)]


@pytest.mark.parametrize(
    ("dimension", "asked"),
    [
        ({"model": _filter(f"google/{GEMINI}")}, {"provider": "google-ai-studio", "model": GEMINI}),
        ({"model": _filter(f"google/{GEMINI}")}, {"provider": "openrouter", "model": f"google/{GEMINI}"}),
        ({"model": _filter("openai/o3")}, {"model": "O3"}),
        ({"model": _filter("OpenAI/O3")}, {}),
        ({"model": _filter("openai/o3")}, {"model": "nothing", "other_models": ("gpt-4o", "o3")}),
        ({"provider": _filter("OpenAI")}, {}),
        ({"provider": _filter("Azure")}, {"provider": "azure-openai"}),
    ],
)  # fmt: skip
def test_a_model_is_known_by_each_of_its_names(dimension: dict[str, Any], asked: dict[str, Any]) -> None:
    """Whoever writes it otherwise, or names it to be fallen back to, is limited all the same."""
    assert _keys({**COST, **dimension}, **asked)


def test_a_model_that_is_written_otherwise_has_no_counter_of_its_own() -> None:
    """Providers that do not look at case would give each spelling a limit of its own."""
    assert _keys({**COST, "model": PARTITION}, model="gpt-4o") == _keys(
        {**COST, "model": PARTITION}, model="GPT-4o"
    )


@pytest.mark.parametrize(
    ("dimension", "refused"),
    [
        ({"model": _filter("openai/o3")}, True),
        ({"model": _filter("o3")}, True),
        ({"model": PARTITION}, True),
        ({"model": _filter("anthropic/claude-opus-4-1")}, False),
        ({"model": _filter("o3"), "provider": _filter("anthropic")}, False),
        ({"model": _filter("o3"), "token": PARTITION}, False),
    ],
)
def test_a_hard_limit_of_a_model_lets_nothing_through_that_may_be_that_model(
    dimension: dict[str, Any], *, refused: bool
) -> None:
    """A native call whose model is not known could be it, and would not be counted."""
    found = None
    try:
        assert not _keys({**HARD, **dimension}, model="", nano_usd=None)
    except GatewayError as error:
        found = error.reason

    assert (Reason.SPEND_LIMITED if refused else None) == found


def test_a_soft_limit_of_a_model_is_not_for_what_is_not_known() -> None:
    """As documented: calls of no model at all go on."""
    assert [] == _keys({**COST, "model": _filter("o3")}, model="", nano_usd=None)


def _native(path: str, body: bytes, provider: str = "openai") -> Exchange:
    return Exchange(
        account_id="a", gateway_id="g", token="", dialect=http_pb2.DIALECT_NATIVE, endpoint="e",
        provider=provider, body=body, headers=RequestHeaders(),
        native=provider_service_pb2.NativeTarget(method="POST", path=path, query="model=cheap"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "path", "body", "expected"),
    [
        ("openai", "v1/chat/completions", b'{"messages":[{"model":"x"}],"model":"o3"}', ("o3",)),
        ("openai", "v1/chat/completions", b'{"model":"cheap","\\u006dodel":"o3"}', ("o3",)),
        ("openrouter", "v1/chat/completions", b'{"model":"a","models":["b",7,"c"]}', ("a", "b", "c")),
        ("openai", "models/chat/completions", b'{"model":"o3"}', ("o3",)),
        ("google-ai-studio", f"v1beta/models/{GEMINI}:generateContent", b'{"model":"x"}', (GEMINI,)),
        ("google-ai-studio", f"v1beta/models/{GEMINI}%3AgenerateContent", b'{"model":"x"}', (GEMINI,)),
        ("google-vertex-ai", f"publishers/google/models/{GEMINI}:rawPredict", b"{}", (f"google/{GEMINI}",)),
        ("google-ai-studio", "v1beta/models", b"", ()),
        ("aws-bedrock", "model/us.anthropic.claude%3A0/converse", b"{}", ("us.anthropic.claude:0",)),
        ("aws-bedrock", "model/us.anthropic.claude:0/converse-stream", b"{}", ("us.anthropic.claude:0",)),
        ("aws-bedrock", "model/arn%3Aaws%3Ax%2Fy/invoke", b"{}", ("arn:aws:x/y",)),
        ("openai", "v1/models/o3", b"", ()),
        ("openai", "v1/files", b"\x00\x01", ()),
        ("openai", "v1/x", b'["model"]', ()),
        ("openai", "v1/x", b'{"model":5}', ()),
    ],
)  # fmt: skip
def test_a_native_call_names_its_model_in_its_path_or_its_body(
    provider: str, path: str, body: bytes, expected: tuple[str, ...]
) -> None:
    """As the provider reads it: the last of two members of one name, and nothing within others."""
    assert expected == asked_models(_native(path, body, provider), "")


def test_a_model_that_is_known_is_not_looked_for() -> None:
    """The step's own, and what the provider falls back to by itself."""
    exchange = Exchange(
        account_id="a", gateway_id="g", token="", dialect=http_pb2.DIALECT_OPENAI_CHAT, endpoint="e",
        body=b'{"model":"x/y"}', other_models=("b",), headers=RequestHeaders(),
    )  # fmt: skip

    assert ("y", "b") == asked_models(exchange, "y")


@pytest.mark.parametrize("written", ["1e5", "1.0E+5", "100000.0", "0.1e6", "100000000000e-6"])
def test_a_bound_in_another_notation_is_no_smaller_one(written: str) -> None:
    """JSON has many ways to write a number, and what is estimated too low is what a hard limit is over by."""
    exchange = _native("v1/chat/completions", b'{"model":"o3","max_tokens": %s}' % written.encode())

    assert 100_000 == estimate(exchange, usual_output_tokens=10)[1]


@pytest.mark.parametrize(("written", "expected"), [("9" * 400, 10**9), ("1e999", 10**9), ("-5", 10)])
def test_a_bound_that_is_no_sensible_number_is_bounded(written: str, expected: int) -> None:
    """It is read, and never more than amounts can be."""
    assert (
        expected == estimate(_native("x", b'{"max_tokens":%s}' % written.encode()), usual_output_tokens=10)[1]
    )


def test_the_last_member_of_a_name_is_the_model() -> None:
    """`orjson` reads doubled names as providers do."""
    assert {"a": 2} == orjson.loads(b'{"a":1,"a":2}')
