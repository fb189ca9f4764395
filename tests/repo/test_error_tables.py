"""Every reason to fail has its place in each table, and its row in the documentation."""

from __future__ import annotations

import re
from typing import Any

import orjson

from headrace.common.v1 import error_reason_pb2, http_pb2
from kit.errors import GatewayError, Reason
from kit.rpc.status import CODES
from services.edge.wire.errors import HTTP, body
from tests.repo.tree import ROOT

PAGE = ROOT / "docs" / "errors.md"
PROTO = ROOT / "proto" / "headrace" / "common" / "v1" / "error_reason.proto"
_PREFIX = "ERROR_REASON_"
_ROW = re.compile(
    r"^\| `([A-Z_]+)` \| (\d{3}) \| (\d+) \| `([a-z_]+)` \| `([A-Z_]+)` \| (.+) \|$", re.MULTILINE
)
_EXAMPLE = re.compile(r"```json\n(.*?)```", re.DOTALL)


def test_reasons_are_the_protos() -> None:
    """Python's list of reasons is the proto's."""
    names = {name.removeprefix(_PREFIX) for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 - no dict

    assert names - {"UNSPECIFIED"} == {reason.value for reason in Reason}
    assert {reason.name for reason in Reason} == {reason.value for reason in Reason}


def test_tables_are_total() -> None:
    """Each reason has a gRPC code and an HTTP status."""
    assert set(Reason) == set(CODES)
    assert set(Reason) == set(HTTP)


def test_each_reason_has_an_example() -> None:
    """The proto shows for each reason the `ErrorInfo` that carries it."""
    text = PROTO.read_text()

    assert [] == [reason for reason in Reason if f'{{"reason": "{reason}", "domain": "headrace"' not in text]


def test_page_says_what_the_tables_say() -> None:
    """The documentation's table has a row for each reason, with its status, code, type and gRPC code."""
    documented = {row[0]: row[1:5] for row in _ROW.findall(PAGE.read_text())}
    expected = {
        reason.value: (str(http.status), str(http.code), http.kind, CODES[reason].name)
        for reason, http in HTTP.items()
    }

    assert expected == documented


def test_page_shows_real_bodies() -> None:
    """The bodies on the page are those that the edge writes."""
    error = GatewayError(Reason.UNAUTHENTICATED, "Unauthorized")
    dialects = (
        http_pb2.DIALECT_OPENAI_CHAT,
        http_pb2.DIALECT_NATIVE,
        http_pb2.DIALECT_ANTHROPIC_MESSAGES,
        http_pb2.DIALECT_GEMINI,
    )
    shown = [orjson.loads(example) for example in _EXAMPLE.findall(PAGE.read_text())]

    assert [] == [dialect for dialect in dialects if orjson.loads(body(error, dialect)) not in shown]


def test_page_shows_each_reason() -> None:
    """The examples have one for each reason, as the edge writes it for a chat client."""
    shown = [
        orjson.loads(example) for example in _EXAMPLE.findall(PAGE.read_text().partition("## Examples")[2])
    ]
    errors = [example["error"] for example in shown]
    written = [
        orjson.loads(body(_error(error), http_pb2.DIALECT_OPENAI_CHAT))["error"]
        for error in errors
        if error["code"].upper() in Reason.__members__
    ]

    assert [reason.lower() for reason in Reason] == [error["code"] for error in errors]
    assert written == errors


def _error(shown: dict[str, Any]) -> GatewayError:
    metadata = {} if shown["param"] is None else {"param": shown["param"]}
    return GatewayError(Reason(shown["code"].upper()), shown["message"], **metadata)
