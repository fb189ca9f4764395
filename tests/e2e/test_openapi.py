"""The running management API against its own OpenAPI document: nothing but what it says."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING, Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.edge.management.api import operations_of
from tests.e2e.test_management_python import ELEMENTS, SETTINGS
from tests.fakes.stack import Setup, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.edge.management.operation import Operation
    from services.edge.management.peers import Peers

ACCOUNT = "local"
GATEWAY = "looked-at"
BASE = f"/accounts/{ACCOUNT}/ai-gateway"
OPERATIONS = operations_of(cast("Peers", None))
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 4
# What fits every operation, and what does not fit those that take something.
SENT = [
    *(pytest.param(each, GenerationMode.POSITIVE, id=f"{each.id}-fits") for each in OPERATIONS),
    *(
        pytest.param(each, GenerationMode.NEGATIVE, id=f"{each.id}-does not")
        for each in OPERATIONS
        if each.body or each.query
    ),
]

pytestmark = pytest.mark.timeout(300)


class Target:
    """A running system with one thing of each kind, and the document that it gives of itself."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.schema = schemathesis.openapi.from_url(f"{stack.base_url}/openapi.json")
        self.ids: dict[str, str] = {}

    @property
    def token(self) -> str:
        """Return a token that may do everything."""
        return self._stack.token

    def fill(self) -> None:
        """Make one thing of each kind, so that paths lead somewhere."""
        self._send("POST", f"{BASE}/gateways", {"id": GATEWAY, **SETTINGS})
        route = self._send("POST", f"{BASE}/gateways/{GATEWAY}/routes", {"name": "r", "elements": ELEMENTS})
        key = self._send(
            "POST",
            f"{BASE}/gateways/{GATEWAY}/provider_configs",
            {
                "provider_slug": "openai",
                "alias": "a",
                "default_config": True,
                "secret": "sk-0123456789abcdef",
            },
        )
        own = self._send(
            "POST",
            f"{BASE}/custom-providers",
            {"name": "Own", "slug": "own", "base_url": "https://ai.example/v1"},
        )
        self.ids = {
            "/routes/{id}": route["id"],
            "/versions/{version_id}": route["version"]["version_id"],
            "/provider_configs/{id}": key["id"],
            "/custom-providers/{id}": own["id"],
        }

    def _send(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # an address of this machine
            f"{self._stack.base_url}/client/v4{path}",
            method=method,
            data=json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.token}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # as above
            result: dict[str, Any] = json.load(response)["result"]
        return result


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Start a system of the module's own: what is called here deletes what it finds."""
    stack = Stack(Setup(topology="inline"), tmp_path_factory.mktemp("openapi"))
    try:
        stack.start()
        target = Target(stack)
        target.fill()
        yield target
    finally:
        stopped = stack.stop()
    stopped.assert_clean()
    assert [] == stack.errors()


def test_the_document_holds_every_operation(target: Target) -> None:
    """The document that is served has each row's method and path, once."""
    raw: Any = target.schema.raw_schema
    told = {(method.upper(), path) for path, methods in raw["paths"].items() for method in methods}
    assert {(each.method, each.path) for each in OPERATIONS} == told
    assert len(OPERATIONS) == len({each.id for each in OPERATIONS})


@pytest.mark.parametrize(("operation", "mode"), SENT)
def test_answers_are_as_the_document_says(target: Target, operation: Operation, mode: GenerationMode) -> None:
    """Whatever is sent, the answer has a status, type and shape that the document names, and is no 5xx."""
    described = target.schema[operation.path][operation.method]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=described.as_strategy(generation_mode=mode), known=st.booleans())
    def send(case: Any, known: bool) -> None:  # noqa: FBT001  # drawn
        _lead(case, operation, target.ids, known=known)
        response = case.call(headers={"authorization": f"Bearer {target.token}"})
        case.validate_response(response, checks=CHECKS)

    send()


def test_without_a_token_nothing_is_told(target: Target) -> None:
    """Each operation answers 401 without a token, whatever its path leads to."""
    for operation in OPERATIONS:
        case = target.schema[operation.path][operation.method].Case(
            path_parameters=dict.fromkeys(re.findall(r"\{(\w+)\}", operation.path), "x")
        )
        response = case.call()
        assert 401 == response.status_code, operation.id
        case.validate_response(response, checks=CHECKS)


def _lead(case: Any, operation: Operation, ids: dict[str, str], *, known: bool) -> None:
    """Let a path lead into the account of the token, and half of the time to something that is there."""
    parameters = case.path_parameters or {}
    if "account_id" in parameters:
        parameters["account_id"] = ACCOUNT
    if known and "gateway_id" in parameters:
        parameters["gateway_id"] = GATEWAY
    if known and operation.method != "DELETE":
        for place, found in ids.items():
            if place in operation.path:
                parameters[place.partition("{")[2].rstrip("}")] = found
    case.path_parameters = parameters
